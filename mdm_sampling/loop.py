"""The loop: the only file that knows the order of things.

For each block, until no row has a mask in it: forward over the cache strategy's span, tokens from the token sampler,
positions from the planner, commit. The loop, not the planner, keeps the promises: only masked positions of the block
are filled, the mask token is never written, every unfinished row advances, and no mask is left at the end. A planner
that remasks may reopen positions until a row's last step of the block, so it can stretch a block to its steps and no
further.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .at_work import at_work
from .backends.base import ModelBackend, Slots
from .canvas import Canvas, Span
from .contract import (
    Unchanged,
    check_logits,
    check_moves,
    check_next,
    check_plan,
    check_proposal,
    check_quota,
    check_span,
    needs_of,
    reads_slots,
)
from .planners.base import Scope, Step
from .prediction import Prediction
from .processors import Processor
from .randomness import RowNoise, StepNoise
from .records import Filled, Plan, Proposal, StepRecord

if TYPE_CHECKING:
    from .sampler import Sampler


def built(processor: Processor, backend: ModelBackend) -> Callable[[Tensor, Tensor], Tensor]:
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
        processors = tuple(built(processor, sampler.backend) for processor in sampler.processors)
        self.head = self.backend.distributions(processors)

    def fill_block(self, block: Span) -> Iterator[StepRecord]:
        """Fill one block of all rows that have masks in it; rows leave as they finish."""
        steps = self._block_steps(block)
        rows = self.canvas.masked[:, block.positions].any(1).nonzero()[:, 0]
        work = BlockWork(self, block, rows)
        for taken in count():
            work.drop_finished_rows()
            if not len(work.rows.numbers):
                return
            yield work.step(taken, steps[work.rows.numbers])
            self.step += 1

    def _block_steps(self, block: Span) -> Tensor:
        """Steps of each row for this block, [b]: its share of the steps left by masks, at least one."""
        masked = self.canvas.masked
        here, left = masked[:, block.positions].sum(1), masked[:, block.start :].sum(1)
        share = (self.steps_left * here / left.clamp(min=1)).round().long()
        self.steps_left = (self.steps_left - share).clamp(min=0)
        return share.clamp(min=1)


@dataclass(frozen=True, eq=False)
class BlockRows:
    """The unfinished rows of one block and all that is kept of each of them. No field has a default.

    Attributes:
        numbers: which rows of the run's canvas they are, int64 [b].
        canvas: their part of it.
        slots: their keys and values; None if the cache reads none.
        seeds: one for each.
        memory: what the planner remembers of them.
        filled: when and how surely the block's positions were filled.
        history: the block's earlier predictions, the latest first; as many as the planner needs.
        ahead: the prediction that the next step may start from.
    """

    numbers: Tensor
    canvas: Canvas
    slots: Slots | None
    seeds: list[int]
    memory: Mapping[str, Tensor]
    filled: Filled
    history: tuple[Prediction, ...]
    ahead: Prediction | None

    def select(self, keep: Tensor) -> BlockRows:
        """Only the rows with the indices `keep`, [n]. Slots that were selected from are not read again."""
        return BlockRows(
            numbers=self.numbers[keep],
            canvas=self.canvas.select(keep),
            slots=None if self.slots is None else self.slots.select(keep),
            seeds=[self.seeds[row] for row in keep.tolist()],
            memory={name: tensor[keep] for name, tensor in self.memory.items()},
            filled=self.filled.select(keep),
            history=tuple(prediction.select(keep) for prediction in self.history),
            ahead=None if self.ahead is None else self.ahead.select(keep),
        )


class BlockWork:
    """One block at work: its unfinished rows, step by step, until there are none."""

    def __init__(self, run: Run, block: Span, numbers: Tensor) -> None:
        self.run = run
        self.block = block
        self.forwards = 0
        canvas = run.canvas.select(numbers)
        self.rows = BlockRows(
            numbers=numbers,
            canvas=canvas,
            slots=self._allocated() if reads_slots(run.sampler.cache) else None,
            seeds=[run.seeds[row] for row in numbers.tolist()],
            memory={},
            filled=Filled.nothing(canvas.tokens[:, block.positions]),
            history=(),
            ahead=None,
        )

    def _allocated(self) -> Slots:
        with at_work("model", self.run.backend):
            return self.run.backend.allocate()

    @property
    def masked(self) -> Tensor:
        """The block's masked positions, bool [b l]."""
        return self.rows.canvas.masked[:, self.block.positions]

    def drop_finished_rows(self) -> None:
        """Keep only the rows that have a mask left in the block."""
        unfinished = self.masked.any(1)
        if not bool(unfinished.all()):
            self.rows = self.rows.select(unfinished.nonzero()[:, 0])

    def step(self, taken: int, steps: Tensor) -> StepRecord:
        """Predict, propose, plan and commit once."""
        sampler = self.run.sampler
        spent = torch.zeros(2, len(steps), dtype=torch.long, device=steps.device)  # forwards and tokens of each row
        prediction = self._prediction(spent)
        step = self._planner_step(prediction, taken, steps, spent)
        unchanged = Unchanged(step)
        with at_work("planner", sampler.planner):
            plan = sampler.planner.plan(step)
        unchanged.check(sampler.planner)
        check_plan(sampler.planner, plan, step, self.run.head)
        tokens = step.tokens if plan.tokens is None else plan.tokens
        confidence = self._confidence(prediction, plan, step.tokens, step.confidence)
        history = self._history(prediction)
        self._commit(plan, tokens, confidence, taken)
        self.rows = replace(self.rows, history=history, memory=dict(plan.memory), ahead=self._ahead(plan))
        return self._record(plan, tokens, confidence, prediction, spent)

    def _planner_step(self, prediction: Prediction, taken: int, steps: Tensor, spent: Tensor) -> Step:
        """What the planner may see of this step."""
        rows, offset = self.rows, self.block.start - self.rows.canvas.start
        noise = RowNoise.from_seeds(rows.seeds, self.run.backend.device, offset, taken)
        # Reopening ends with the last step that a row was given, so that every block comes to an end.
        reopenable = (rows.filled.at >= 0) & (steps - taken > 1).unsqueeze(-1)
        return Step(
            prediction=prediction,
            masked=prediction.masked,
            fixed=torch.zeros_like(prediction.masked),
            proposal=self._proposal(prediction, noise, 1),
            quota=self._quota(taken, steps),
            memory=rows.memory,
            noise=StepNoise(noise, self.run.sampler.block_size, len(self.block)),
            offset=offset,
            taken=taken,
            steps=steps,
            valid=rows.canvas.valid[:, self.block.positions],
            block_tokens=rows.canvas.tokens[:, self.block.positions],
            filled=rows.filled,
            reopenable=reopenable & self.run.needs.remasking,
            history=rows.history,
            eos_ids=self.run.backend.eos_ids,
            propose=lambda n: self._proposal(prediction, noise, n),
            lookahead=partial(self._lookahead, spent),
        )

    def _proposal(self, prediction: Prediction, noise: RowNoise, count: int) -> Proposal:
        """`count` draws of the token sampler."""
        sampler = self.run.sampler.token_sampler
        with at_work("token sampler", sampler):
            proposal = sampler.propose(prediction, noise, count)
        return check_proposal(sampler, proposal, (count, *prediction.masked.shape))

    def _history(self, prediction: Prediction) -> tuple[Prediction, ...]:
        """As many predictions as the planner needs; copies, which don't keep the whole span alive as views do."""
        if not self.run.needs.history:
            return ()
        kept = prediction.select(torch.arange(len(self.rows.numbers), device=prediction.masked.device))
        return (kept, *self.rows.history)[: self.run.needs.history]

    def _quota(self, taken: int, steps: Tensor) -> Tensor:
        """Positions to fill in each row, [b]: at least one, and all that are left at a row's last step."""
        left = self.masked.sum(1)
        schedule = self.run.sampler.schedule
        with at_work("schedule", schedule):
            asked = schedule.quota(left, taken, steps)
        asked = check_quota(schedule, asked, left)
        return torch.where(steps - taken <= 1, left, torch.minimum(asked.clamp(min=1), left))

    def _prediction(self, spent: Tensor) -> Prediction:
        """The block's prediction: the winner's lookahead if it was computed for this very canvas, else a forward."""
        rows, ahead = self.rows, self.rows.ahead
        if ahead is not None and self._reusable(ahead):
            self.forwards += 1
            return ahead
        span = self._span(self.forwards)
        self.forwards += 1
        with at_work("model", self.run.backend):
            hidden = self.run.backend.trunk(rows.canvas, span, rows.slots)
        self._count(spent, torch.ones_like(rows.numbers), span)
        return self._predict(hidden, rows.canvas, span, self.block)

    def _reusable(self, ahead: Prediction) -> bool:
        if not torch.equal(ahead.context, self._context(self.rows.canvas)):
            return False
        # A lookahead writes no slots. Skipping this forward is exact only if nobody reads what it would have written.
        span, following = self._span(self.forwards), self._span(self.forwards + 1)
        return following.covers(span) or not reads_slots(self.run.sampler.cache)

    def _span(self, forward: int) -> Span:
        cache = self.run.sampler.cache
        with at_work("cache", cache):
            span = cache.span(self.block, self.run.canvas.length, forward)
        return check_span(cache, span, self.block, self.run.canvas.length, forward)

    def _count(self, spent: Tensor, forwards: Tensor, span: Span) -> None:
        """Add so many forwards of each row, [b], over a span to what a step has spent, [2 b]."""
        spent += torch.stack([forwards, forwards * self.run.backend.positions_computed(span, self.run.canvas.length)])

    def _lookahead(
        self, spent: Tensor, rows: Tensor, unmask: Tensor, tokens: Tensor, scope: Scope = "block"
    ) -> Prediction:
        """See `planners.base.Lookahead`: the forward that the next step would do, for each move."""
        check_moves(self.run.sampler.planner, (rows, unmask, tokens), scope, self.masked, self.run.head.vocab_size)
        span = self._span(self.forwards)
        seen = span if scope == "canvas" else self.block
        size = self.run.sampler.lookahead_batch or len(rows)
        futures = self.rows.canvas.fork(rows, self.block, unmask, tokens)
        hidden = []
        for first in range(0, len(rows), size):
            part = futures.slice(first, first + size)
            with at_work("model", self.run.backend):
                states = self.run.backend.trunk(part, span, self.rows.slots, rows[first : first + size])
            states = states[:, seen.start - span.start : seen.stop - span.start]
            hidden.append(states if seen == span else states.clone())  # a view would keep the whole span alive
        self._count(spent, torch.bincount(rows, minlength=len(self.rows.numbers)), span)
        return self._predict(torch.cat(hidden), futures, seen, seen)

    def _predict(self, hidden: Tensor, canvas: Canvas, span: Span, seen: Span) -> Prediction:
        """A prediction of the positions `seen` from hidden states over `span`."""
        states = hidden[:, seen.start - span.start : seen.stop - span.start].to(canvas.tokens.device)
        return Prediction(states, canvas.masked[:, seen.positions], self.run.head, self._context(canvas))

    def _context(self, canvas: Canvas) -> Tensor:
        """Canvas tokens for processors, [b t]; padding shows as masks, so that no processor counts it."""
        return canvas.tokens.masked_fill(~canvas.valid, canvas.mask_id) if canvas.padded else canvas.tokens

    def _confidence(self, prediction: Prediction, plan: Plan, proposed: Tensor, confidence: Tensor) -> Tensor:
        """The model's probability of the tokens filled, [b l]; those that were not proposed are looked up."""
        if plan.tokens is None:
            return confidence
        other = plan.unmask & (plan.tokens != proposed)
        if bool(other.any()):
            logits = prediction.logits(other)
            chosen = logits.gather(-1, plan.tokens[other].to(logits.device).unsqueeze(-1))[:, 0] - logits.logsumexp(-1)
            confidence = confidence.masked_scatter(other, chosen.exp().to(confidence))
        return confidence

    def _commit(self, plan: Plan, tokens: Tensor, confidence: Tensor, taken: int) -> None:
        """Write the plan to the rows' canvas, and that to the run's."""
        run, rows = self.run, self.rows
        canvas = rows.canvas.commit(self.block, plan.unmask, tokens)
        if plan.remask is not None:
            canvas = canvas.reopen(self.block, plan.remask)
        if run.sampler.eos == "finish":
            canvas = self._finish(canvas, run.fillable[rows.numbers])
        self.rows = replace(rows, canvas=canvas, filled=rows.filled.after(plan.unmask, plan.remask, confidence, taken))
        run.canvas = replace(run.canvas, tokens=run.canvas.tokens.index_copy(0, rows.numbers, canvas.tokens))

    def _record(
        self, plan: Plan, tokens: Tensor, confidence: Tensor, prediction: Prediction, spent: Tensor
    ) -> StepRecord:
        """What happened in a step. The entropies reported here are the cumulative entropy."""
        return StepRecord(
            step=self.run.step,
            block=self.block,
            rows=self.rows.numbers,
            unmask=plan.unmask,
            tokens=torch.where(plan.unmask, tokens, 0),
            confidence=torch.where(plan.unmask, confidence, 0),
            entropy=torch.where(plan.unmask, prediction.entropy, 0),
            remask=torch.zeros_like(plan.unmask) if plan.remask is None else plan.remask,
            candidates=plan.candidates,
            forwards=spent[0],
            token_forwards=spent[1],
            finished=~self.rows.canvas.masked.any(1),
            canvas=self.run.canvas,
            prediction=prediction,
        )

    def _ahead(self, plan: Plan) -> Prediction | None:
        """The plan's prediction of the next step, cut to the block."""
        if plan.next is None:
            return None
        span = self._span(self.forwards)
        ahead = check_next(self.run.sampler.planner, plan.next, len(self.rows.numbers), self.block, span)
        if ahead.masked.shape[1] == len(self.block):
            return ahead
        return ahead.narrow(self.block.start - span.start, len(self.block))

    def _finish(self, canvas: Canvas, fillable: Tensor) -> Canvas:
        """Fill what follows a row's first new end token with end tokens, once nothing before it is masked."""
        eos_ids = torch.tensor(self.run.backend.eos_ids, device=canvas.tokens.device)
        ended = (fillable & torch.isin(canvas.tokens, eos_ids)).cummax(1).values
        before = (canvas.masked & ~ended).any(1, keepdim=True)
        tokens = torch.where(canvas.masked & ended & ~before, eos_ids[0], canvas.tokens)
        return replace(canvas, tokens=tokens)
