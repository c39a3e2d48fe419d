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
from .randomness import RowNoise
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
            if not len(work.rows):
                return
            yield work.step(taken, steps[work.rows])
            self.step += 1

    def _block_steps(self, block: Span) -> Tensor:
        """Steps of each row for this block, [b]: its share of the steps left by masks, at least one."""
        masked = self.canvas.masked
        here, left = masked[:, block.positions].sum(1), masked[:, block.start :].sum(1)
        share = (self.steps_left * here / left.clamp(min=1)).round().long()
        self.steps_left = (self.steps_left - share).clamp(min=0)
        return share.clamp(min=1)


class BlockWork:
    """The unfinished rows of one block, with their slots, what is remembered of them and the prediction that is due."""

    def __init__(self, run: Run, block: Span, rows: Tensor) -> None:
        self.run = run
        self.block = block
        self.rows = rows
        self.canvas = run.canvas.select(rows)
        self.slots = self._allocated() if reads_slots(run.sampler.cache) else None
        self.seeds = [run.seeds[row] for row in rows.tolist()]
        self.memory: dict[str, Tensor] = {}
        self.filled = Filled.nothing(self.canvas.tokens[:, block.positions])
        self.history: tuple[Prediction, ...] = ()
        self.ahead: Prediction | None = None
        self.forwards = 0

    def _allocated(self) -> Slots:
        with at_work("model", self.run.backend):
            return self.run.backend.allocate()

    def drop_finished_rows(self) -> None:
        """Keep only the rows that have a mask left in the block."""
        unfinished = self.canvas.masked[:, self.block.positions].any(1)
        if bool(unfinished.all()):
            return
        keep = unfinished.nonzero()[:, 0]
        self.rows = self.rows[keep]
        self.canvas = self.canvas.select(keep)
        self.slots = None if self.slots is None else self.slots.select(keep)
        self.seeds = [self.seeds[row] for row in keep.tolist()]
        self.memory = {name: tensor[keep] for name, tensor in self.memory.items()}
        self.filled = self.filled.select(keep)
        self.history = tuple(prediction.select(keep) for prediction in self.history)
        self.ahead = None if self.ahead is None else self.ahead.select(keep)

    def step(self, taken: int, steps: Tensor) -> StepRecord:
        """Predict, propose, plan and commit once."""
        sampler = self.run.sampler
        self.spent = torch.zeros(2, len(self.rows), dtype=torch.long, device=self.rows.device)
        prediction = self._prediction()
        step = self._planner_step(prediction, taken, steps)
        unchanged = Unchanged(step)
        with at_work("planner", sampler.planner):
            plan = sampler.planner.plan(step)
        unchanged.check(sampler.planner)
        check_plan(sampler.planner, plan, step, self.run.head)
        tokens = step.tokens if plan.tokens is None else plan.tokens
        confidence = self._confidence(prediction, plan, step.tokens, step.confidence)
        self._remember(prediction)
        return self._commit(plan, tokens, confidence, prediction, taken)

    def _planner_step(self, prediction: Prediction, taken: int, steps: Tensor) -> Step:
        """What the planner may see of this step."""
        sampler, offset = self.run.sampler, self.block.start - self.canvas.start
        noise = RowNoise.from_seeds(self.seeds, self.run.backend.device, offset, taken)
        # Reopening ends with the last step that a row was given, so that every block comes to an end.
        reopenable = (self.filled.at >= 0) & (steps - taken > 1).unsqueeze(-1)
        return Step(
            prediction=prediction,
            masked=prediction.masked,
            fixed=torch.zeros_like(prediction.masked),
            proposal=self._proposal(prediction, noise, 1),
            quota=self._quota(taken, steps),
            memory=self.memory,
            noise=noise,
            width=sampler.block_size,
            offset=offset,
            taken=taken,
            steps=steps,
            valid=self.canvas.valid[:, self.block.positions],
            block_tokens=self.canvas.tokens[:, self.block.positions],
            filled=self.filled,
            reopenable=reopenable & self.run.needs.remasking,
            history=self.history,
            eos_ids=self.run.backend.eos_ids,
            propose=lambda n: self._proposal(prediction, noise, n),
            lookahead=self._lookahead,
        )

    def _proposal(self, prediction: Prediction, noise: RowNoise, count: int) -> Proposal:
        """`count` draws of the token sampler."""
        sampler = self.run.sampler.token_sampler
        with at_work("token sampler", sampler):
            proposal = sampler.propose(prediction, noise, count)
        return check_proposal(sampler, proposal, (count, *prediction.masked.shape))

    def _remember(self, prediction: Prediction) -> None:
        """Keep as many predictions as the planner needs; copies, which don't keep the whole span alive as views do."""
        if self.run.needs.history:
            kept = prediction.select(torch.arange(len(self.rows), device=self.rows.device))
            self.history = (kept, *self.history)[: self.run.needs.history]

    def _quota(self, taken: int, steps: Tensor) -> Tensor:
        """Positions to fill in each row, [b]: at least one, and all that are left at a row's last step."""
        left = self.canvas.masked[:, self.block.positions].sum(1)
        schedule = self.run.sampler.schedule
        with at_work("schedule", schedule):
            asked = schedule.quota(left, taken, steps)
        asked = check_quota(schedule, asked, left)
        return torch.where(steps - taken <= 1, left, torch.minimum(asked.clamp(min=1), left))

    def _prediction(self) -> Prediction:
        """The block's prediction: the winner's lookahead if it was computed for this very canvas, else a forward."""
        if self._reusable():
            assert self.ahead is not None
            self.forwards += 1
            return self.ahead
        span = self._span(self.forwards)
        self.forwards += 1
        with at_work("model", self.run.backend):
            hidden = self.run.backend.trunk(self.canvas, span, self.slots)
        self._count(torch.ones_like(self.rows), span)
        return self._predict(hidden, self.canvas, span, self.block)

    def _reusable(self) -> bool:
        if self.ahead is None or not torch.equal(self.ahead.context, self._context(self.canvas)):
            return False
        # A lookahead writes no slots. Skipping this forward is exact only if nobody reads what it would have written.
        span, following = self._span(self.forwards), self._span(self.forwards + 1)
        return following.covers(span) or not reads_slots(self.run.sampler.cache)

    def _span(self, forward: int) -> Span:
        cache = self.run.sampler.cache
        with at_work("cache", cache):
            span = cache.span(self.block, self.canvas.length, forward)
        return check_span(cache, span, self.block, self.canvas.length, forward)

    def _lookahead(self, rows: Tensor, unmask: Tensor, tokens: Tensor, scope: Scope = "block") -> Prediction:
        """See `planners.base.Lookahead`: the forward that the next step would do, for each move."""
        masked = self.canvas.masked[:, self.block.positions]
        check_moves(self.run.sampler.planner, (rows, unmask, tokens), scope, masked, self.run.head.vocab_size)
        span = self._span(self.forwards)
        seen = span if scope == "canvas" else self.block
        size = self.run.sampler.lookahead_batch or len(rows)
        futures = self.canvas.fork(rows, self.block, unmask, tokens)
        hidden = []
        for first in range(0, len(rows), size):
            part = futures.slice(first, first + size)
            with at_work("model", self.run.backend):
                states = self.run.backend.trunk(part, span, self.slots, rows[first : first + size])
            states = states[:, seen.start - span.start : seen.stop - span.start]
            hidden.append(states if seen == span else states.clone())  # a view would keep the whole span alive
        self._count(torch.bincount(rows, minlength=len(self.rows)), span)
        return self._predict(torch.cat(hidden), futures, seen, seen)

    def _predict(self, hidden: Tensor, canvas: Canvas, span: Span, seen: Span) -> Prediction:
        """A prediction of the positions `seen` from hidden states over `span`."""
        states = hidden[:, seen.start - span.start : seen.stop - span.start].to(canvas.tokens.device)
        return Prediction(states, canvas.masked[:, seen.positions], self.run.head, self._context(canvas))

    def _context(self, canvas: Canvas) -> Tensor:
        """Canvas tokens for processors, [b t]; padding shows as masks, so that no processor counts it."""
        return canvas.tokens.masked_fill(~canvas.valid, canvas.mask_id) if canvas.padded else canvas.tokens

    def _count(self, forwards: Tensor, span: Span) -> None:
        self.spent += torch.stack([forwards, forwards * self.run.backend.positions_computed(span, self.canvas.length)])

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

    def _commit(self, plan: Plan, tokens: Tensor, confidence: Tensor, prediction: Prediction, taken: int) -> StepRecord:
        """Write the plan to the canvas and report it. The entropies reported here are the cumulative entropy."""
        run = self.run
        self.canvas = self.canvas.commit(self.block, plan.unmask, tokens)
        remask = torch.zeros_like(plan.unmask)
        if plan.remask is not None:
            remask = plan.remask
            self.canvas = self.canvas.reopen(self.block, remask)
        self.filled = self.filled.after(plan.unmask, remask, confidence, taken)
        if run.sampler.eos == "finish":
            self.canvas = self._finish(self.canvas, run.fillable[self.rows])
        run.canvas = replace(run.canvas, tokens=run.canvas.tokens.index_copy(0, self.rows, self.canvas.tokens))
        self.memory = dict(plan.memory)
        self.ahead = self._next(plan)
        return StepRecord(
            step=run.step,
            block=self.block,
            rows=self.rows,
            unmask=plan.unmask,
            tokens=torch.where(plan.unmask, tokens, 0),
            confidence=torch.where(plan.unmask, confidence, 0),
            entropy=torch.where(plan.unmask, prediction.entropy, 0),
            remask=remask,
            candidates=plan.candidates,
            forwards=self.spent[0],
            token_forwards=self.spent[1],
            finished=~self.canvas.masked.any(1),
            canvas=run.canvas,
            prediction=prediction,
        )

    def _next(self, plan: Plan) -> Prediction | None:
        """The plan's prediction of the next step, cut to the block."""
        if plan.next is None:
            return None
        span = self._span(self.forwards)
        ahead = check_next(self.run.sampler.planner, plan.next, len(self.rows), self.block, span)
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
