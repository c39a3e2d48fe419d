"""The loop: the only file that knows the order of things.

For each block, until no row has a mask in it: forward over the cache strategy's span, tokens from the token sampler,
positions from the planner, commit. The loop, not the planner, keeps the promises: only masked positions of the block
are filled, the mask token is never written, every unfinished row advances, and no mask is left at the end. A planner
that remasks may reopen positions until a row's last step of the block, so it can stretch a block to its steps and no
further.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .at_work import at_work
from .backends.base import ModelBackend
from .block_rows import BlockRows, Turn
from .canvas import Canvas, Span
from .contract import Unchanged, check_logits, check_memory, check_plan, check_proposal, check_quota, needs_of
from .forwards import BlockForwards, KeptSlots
from .planners.base import Step
from .prediction import Prediction
from .processors import Processor
from .randomness import RowNoise, StepNoise
from .records import Filled, Plan, Proposal, StepRecord

if TYPE_CHECKING:
    from .sampler import Sampler


def _built(processor: Processor, backend: ModelBackend) -> Callable[[Tensor, Tensor], Tensor]:
    """What a processor builds, with what it raises and returns checked in its name."""
    with at_work("processor", processor):
        process = processor.build(backend)

    def checked(tokens: Tensor, logits: Tensor) -> Tensor:
        with at_work("processor", processor):
            found = process(tokens, logits)
        return check_logits(processor, found, logits)

    return checked


class Run:
    """The state of one run: the canvas, the rows' seeds and the steps they have left."""

    def __init__(self, sampler: Sampler, canvas: Canvas, seeds: list[int]) -> None:
        self.sampler = sampler
        self.backend = sampler.backend
        self.canvas = canvas
        self.seeds = seeds
        self.step = 0
        self.needs = needs_of(sampler.planner)
        self.fillable = canvas.masked
        self.steps_left = torch.full((canvas.batch,), sampler.steps, device=canvas.tokens.device)
        processors = tuple(_built(processor, sampler.backend) for processor in sampler.processors)
        self.head = self.backend.distributions(processors)
        blocks = self.backend.attention_blocks
        # Then no position sees what comes after its block: it is not computed, and what was written stays true.
        self.sees_no_later_block = blocks is not None and blocks.end_with_blocks(canvas, sampler.block_size)
        self.kept: KeptSlots | None = None

    def fill_block(self, block: Span) -> Iterator[StepRecord]:
        """Fill one block of all rows that have masks in it; rows leave as they finish."""
        steps = self._block_steps(block)
        rows = self.canvas.masked[:, block.positions].any(1).nonzero()[:, 0]
        if not len(rows):
            return
        work = BlockWork(self, block, rows, steps[rows])
        self.kept = work.forwards.kept
        for record in work.records():
            yield record
            self.step += 1

    def _block_steps(self, block: Span) -> Tensor:
        """Steps of each row for this block, [b]: its share of the steps left by masks, at least one."""
        masked = self.canvas.masked
        here, left = masked[:, block.positions].sum(1), masked[:, block.start :].sum(1)
        share = (self.steps_left * here / left.clamp(min=1)).round().long()
        self.steps_left = (self.steps_left - share).clamp(min=0)
        return share.clamp(min=1)


class BlockWork:
    """One block at work: its unfinished rows, step by step, until there are none.

    A step of the loop begins with a prediction of each row's canvas. A planner that drafts has had several canvases
    looked at. While rows stand on one of those, their next steps cost no forward: they take them, each as if it were
    the only one, and then wait until all rows need a forward.
    """

    def __init__(self, run: Run, block: Span, numbers: Tensor, steps: Tensor) -> None:
        self.run = run
        self.block = block
        canvas = run.canvas.select(numbers)
        self.rows = BlockRows(
            numbers=numbers,
            canvas=canvas,
            seeds=[run.seeds[row] for row in numbers.tolist()],
            taken=[0] * len(numbers),
            steps=steps,
            memory={},
            filled=Filled.nothing(canvas.tokens[:, block.positions]),
            history=(),
        )
        alone = run.sees_no_later_block
        length = block.stop if alone or run.sampler.growing else run.canvas.length
        self.forwards = BlockForwards(run.sampler, run.head, block, length, numbers, run.kept, keeps=alone)

    @property
    def masked(self) -> Tensor:
        """The block's masked positions, bool [b l]."""
        return self.rows.canvas.masked[:, self.block.positions]

    def records(self) -> Iterator[StepRecord]:
        """Fill the block: a step that may need a forward, then those that cost none, until no row is left."""
        while True:
            self._drop_finished_rows()
            if not len(self.rows.numbers):
                return
            yield self._paid_step()
            if self.run.needs.drafts and len(self.rows.history) == self.run.needs.history:
                yield from self._free_steps()

    def _drop_finished_rows(self) -> None:
        """Keep only the rows that have a mask left in the block."""
        unfinished = self.masked.any(1)
        if not bool(unfinished.all()):
            keep = unfinished.nonzero()[:, 0]
            self.rows = self.rows.select(keep)
            self.forwards.keep_rows(keep)

    def _paid_step(self) -> StepRecord:
        """A step of all rows that may take it together, from a forward where no lookahead has computed it."""
        turn = Turn.of(self.rows, self.forwards.together(self.rows))
        prediction = self.forwards.predict(turn)
        if turn.at is None:
            self.forwards.forget()
        step = self._planner_step(turn, prediction)
        return self._commit(turn, prediction, step.proposal, self._plan(step))

    def _free_steps(self) -> Iterator[StepRecord]:
        """Steps of the rows that stand on canvases that were looked at, until each is finished or waits."""
        going = torch.ones_like(self.rows.numbers, dtype=torch.bool)
        while True:
            known, found = self.forwards.recall(self.rows)
            at = ((found >= 0) & going & self.masked.any(1)).nonzero()[:, 0]
            if known is None or not len(at):
                return
            turn, prediction = Turn.of(self.rows, at, may_wait=True), known.select(found[at])
            step = self._planner_step(turn, prediction)
            plan = self._plan(step)
            moves = plan.unmask.any(1)
            going[at[~moves]] = False
            keep = moves.nonzero()[:, 0]
            if len(keep):
                chosen = prediction.select(keep), step.proposal.select(keep), plan.select(keep)
                yield self._commit(turn.select(keep), *chosen)

    def _plan(self, step: Step) -> Plan:
        """The planner's plan, checked."""
        sampler, planner = self.run.sampler, self.run.sampler.planner
        unchanged = Unchanged(step)
        with at_work("planner", planner):
            plan = planner.plan(step)
        unchanged.check(planner)
        return check_plan(planner, plan, step, self.run.head, sampler.token_sampler)

    def _planner_step(self, turn: Turn, prediction: Prediction) -> Step:
        """What the planner may see of this step."""
        rows, taken = turn.rows, turn.rows.steps_taken
        noise = self._noise(rows)
        # Reopening ends with the last step that a row was given, so that every block comes to an end.
        reopenable = (rows.filled.at >= 0) & (rows.steps - taken > 1).unsqueeze(-1)
        return Step(
            prediction=prediction,
            masked=prediction.masked,
            fixed=torch.zeros_like(prediction.masked),
            proposal=self._proposal(prediction, noise, 1),
            quota=self._quota(prediction.masked.sum(1), taken, rows.steps),
            memory=rows.memory,
            noise=StepNoise(noise, self.run.sampler.block_size, len(self.block)),
            offset=self.block.start - rows.canvas.start,
            taken=taken,
            steps=rows.steps,
            valid=rows.canvas.valid[:, self.block.positions],
            block_tokens=rows.canvas.tokens[:, self.block.positions],
            filled=rows.filled,
            reopenable=reopenable & self.run.needs.remasking,
            history=rows.history,
            eos_ids=self.run.backend.eos_ids,
            may_wait=turn.may_wait,
            propose=lambda n: self._proposal(prediction, noise, n),
            lookahead=partial(self.forwards.lookahead, turn),
            foreseen=partial(self.forwards.foresees, rows),
            imagine=partial(self._imagined, turn, prediction),
        )

    def _imagined(self, turn: Turn, prediction: Prediction, plan: Plan, rows: Tensor) -> Step:
        """See `planners.base.Step.imagine`."""
        part, prediction, plan = turn.select(rows), prediction.select(rows), plan.select(rows)
        proposal = self._proposal(prediction, self._noise(part.rows), 1)
        tokens = plan.tokens_or(proposal.tokens[0])
        moved = self._moved(part.rows, prediction, plan, tokens, self._confidence(prediction, plan, proposal))
        masked = moved.canvas.masked[:, self.block.positions]
        return self._planner_step(replace(part, rows=moved), prediction.within(masked))

    def _noise(self, rows: BlockRows) -> RowNoise:
        """The rows' generators in the step that they take next."""
        offset = self.block.start - rows.canvas.start
        moments = [(seed, offset, taken) for seed, taken in zip(rows.seeds, rows.taken, strict=True)]
        return RowNoise.from_keys(moments, self.run.backend.device)

    def _proposal(self, prediction: Prediction, noise: RowNoise, count: int) -> Proposal:
        """`count` draws of the token sampler."""
        sampler = self.run.sampler.token_sampler
        with at_work("token sampler", sampler):
            proposal = sampler.propose(prediction, noise, count)
        return check_proposal(sampler, proposal, (count, *prediction.masked.shape))

    def _history(self, rows: BlockRows, prediction: Prediction) -> tuple[Prediction, ...]:
        """As many predictions as the planner needs; copies, which don't keep the whole span alive as views do."""
        if not self.run.needs.history:
            return ()
        kept = prediction.select(torch.arange(len(rows.numbers), device=prediction.masked.device))
        return (kept, *rows.history)[: self.run.needs.history]

    def _quota(self, left: Tensor, taken: Tensor, steps: Tensor) -> Tensor:
        """Positions to fill in each row, [b]: at least one, and all that are left at a row's last step."""
        schedule = self.run.sampler.schedule
        with at_work("schedule", schedule):
            asked = schedule.quota(left, taken, steps)
        asked = check_quota(schedule, asked, left)
        return torch.where(steps - taken <= 1, left, torch.minimum(asked.clamp(min=1), left))

    def _moved(
        self, rows: BlockRows, prediction: Prediction, plan: Plan, tokens: Tensor, confidence: Tensor
    ) -> BlockRows:
        """The rows after a step that filled these tokens, [b l], with these probabilities, [b l]."""
        canvas = rows.canvas.commit(self.block, plan.unmask, tokens)
        if plan.remask is not None:
            canvas = canvas.reopen(self.block, plan.remask)
        if self.run.sampler.eos == "finish":
            canvas = self._finish(canvas, self.run.fillable[rows.numbers])
        return replace(
            rows,
            canvas=canvas,
            taken=[taken + 1 for taken in rows.taken],
            memory=dict(plan.memory),
            filled=rows.filled.after(plan.unmask, plan.remask, confidence, rows.steps_taken),
            history=self._history(rows, prediction),
        )

    def _confidence(self, prediction: Prediction, plan: Plan, proposal: Proposal) -> Tensor:
        """The model's probability of the tokens filled, [b l]; those that were not proposed are looked up."""
        proposed, confidence = proposal.tokens[0], proposal.confidence[0]
        if plan.tokens is None:
            return confidence
        other = plan.unmask & (plan.tokens != proposed)
        if bool(other.any()):
            logits = prediction.logits(other)
            chosen = logits.gather(-1, plan.tokens[other].to(logits.device).unsqueeze(-1))[:, 0] - logits.logsumexp(-1)
            confidence = confidence.masked_scatter(other, chosen.exp().to(confidence))
        return confidence

    def _commit(self, turn: Turn, prediction: Prediction, proposal: Proposal, plan: Plan) -> StepRecord:
        """Write the plan to the rows' canvas, and that to the run's."""
        run = self.run
        tokens = plan.tokens_or(proposal.tokens[0])
        confidence = self._confidence(prediction, plan, proposal)
        rows = self._moved(turn.rows, prediction, plan, tokens, confidence)
        if turn.at is not None:
            check_memory(run.sampler.planner, self.rows.memory, plan.memory)
        self.rows = rows if turn.at is None else self.rows.updated(turn.at, rows)
        run.canvas = replace(run.canvas, tokens=run.canvas.tokens.index_copy(0, rows.numbers, rows.canvas.tokens))
        # The entropies reported here are the cumulative entropy.
        return StepRecord(
            step=run.step,
            block=self.block,
            rows=rows.numbers,
            unmask=plan.unmask,
            tokens=torch.where(plan.unmask, tokens, 0),
            confidence=torch.where(plan.unmask, confidence, 0),
            entropy=torch.where(plan.unmask, prediction.entropy, 0),
            remask=torch.zeros_like(plan.unmask) if plan.remask is None else plan.remask,
            candidates=plan.candidates,
            forwards=turn.spent[0],
            token_forwards=turn.spent[1],
            sequential_forwards=turn.spent[2],
            finished=~rows.canvas.masked.any(1),
            canvas=run.canvas,
            prediction=prediction,
        )

    def _finish(self, canvas: Canvas, fillable: Tensor) -> Canvas:
        """Fill what follows a row's first new end token with end tokens, once nothing before it is masked."""
        eos_ids = torch.tensor(self.run.backend.eos_ids, device=canvas.tokens.device)
        ended = (fillable & torch.isin(canvas.tokens, eos_ids)).cummax(1).values
        before = (canvas.masked & ~ended).any(1, keepdim=True)
        tokens = torch.where(canvas.masked & ended & ~before, eos_ids[0], canvas.tokens)
        return replace(canvas, tokens=tokens)
