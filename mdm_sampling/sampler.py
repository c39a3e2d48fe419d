"""The loop: the only file that knows the order of things.

For each block, until no row has a mask in it: forward over the cache strategy's span, tokens from the token sampler,
places from the planner, commit. The loop, not the planner, keeps the promises: only masked places of the block are
filled, the mask token is never written, every unfinished row advances, and no mask is left at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Literal, Protocol, final

import torch
from torch import Tensor

from .caches.prefix import PrefixCache
from .collector import Collector
from .contract import check_plan, check_span
from .errors import CanvasError, require
from .interfaces import (
    CacheStrategy,
    ModelBackend,
    PositionPlanner,
    Processor,
    Prompt,
    Schedule,
    Scope,
    Slots,
    Step,
    TokenSampler,
)
from .planners.bypass import Bypass
from .planners.info_gain import InfoGain
from .prediction import Head, Prediction
from .randomness import RowNoise
from .records import Canvas, Plan, Result, Span, StepRecord, check_row
from .schedules.uniform import Uniform
from .token_samplers.greedy import Greedy

Seeds = int | Sequence[int]
Rows = Sequence[tuple[Sequence[int], Sequence[int]]]


class Observer(Protocol):
    """Watches a run from outside, batch by batch and step by step: a progress bar, a trace, a live view."""

    def begin(self, canvas: Canvas, seeds: list[int]) -> None:
        """A batch begins."""

    def add(self, record: StepRecord) -> None:
        """A step was taken."""


@final
@dataclass(frozen=True)
class Sampler:
    """A model and the parts that decode it. Swap a part with `dataclasses.replace`.

    Args:
        backend: the model.
        planner: which places a step fills.
        cache: which places a forward recomputes.
        token_sampler: what a place would be filled with.
        schedule: how many places a step fills.
        processors: change logits before anything reads them.
        gen_length: places to generate after a prompt.
        block_length: places of a block; blocks are filled one after the other, the last may be shorter.
        steps: steps for the whole body, shared out over its blocks by their masks; at least one for each block.
        eos: "off", or "finish" to end a row as soon as everything before its first new end token is final; the
            places after it are then filled with the end token, without a forward.
        lookahead_batch: most candidates in one forward; None for all at once. Lower it to save memory.
    """

    backend: ModelBackend
    planner: PositionPlanner = field(default_factory=lambda: Bypass(0.9, InfoGain()))
    cache: CacheStrategy = field(default_factory=PrefixCache)
    token_sampler: TokenSampler = field(default_factory=Greedy)
    schedule: Schedule = field(default_factory=Uniform)
    processors: tuple[Processor, ...] = ()
    gen_length: int = 128
    block_length: int = 32
    steps: int = 512
    eos: Literal["off", "finish"] = "off"
    lookahead_batch: int | None = None

    def __post_init__(self) -> None:
        for name in ("gen_length", "block_length", "steps"):
            require(1 <= getattr(self, name) < 2**31, f"{name} must be at least 1, got {getattr(self, name)}")
        require(self.eos in ("off", "finish"), f"eos must be 'off' or 'finish', got {self.eos!r}")
        require(self.eos == "off" or bool(self.backend.eos_ids), "eos='finish' needs a model with end tokens")
        require(
            self.lookahead_batch is None or self.lookahead_batch >= 1,
            f"lookahead_batch must be at least 1, got {self.lookahead_batch}",
        )

    def generate(
        self,
        prompts: str | Sequence[Prompt],
        seed: Seeds = 0,
        *,
        chat: bool | None = None,
        batch_size: int = 8,
        observers: Sequence[Observer] = (),
    ) -> Result:
        """Continue prompts by `gen_length` tokens each.

        Args:
            prompts: one text, or several texts or lists of chat messages.
            seed: one seed for every row, or one for each. A row's tokens depend on its prompt and its seed alone.
            chat: whether to apply the chat template; None applies it if the model has one.
            batch_size: prompts decoded together; their lengths may differ.
            observers: told of every step.
        """
        prompts = [prompts] if isinstance(prompts, str) else prompts
        rows = self.prompt_rows(prompts, chat)
        return self.fill(rows, seed, batch_size=batch_size, observers=observers, until_eos=True)

    def infill(
        self,
        texts: str | Sequence[str],
        seed: Seeds = 0,
        *,
        batch_size: int = 8,
        observers: Sequence[Observer] = (),
    ) -> Result:
        """Fill the masks of texts: `[MASK]` is one masked token, `[MASK:5]` five. Nothing is generated after them."""
        texts = [texts] if isinstance(texts, str) else texts
        return self.fill(self.masked_rows(texts), seed, batch_size=batch_size, observers=observers)

    def fill(
        self,
        rows: Rows,
        seed: Seeds = 0,
        *,
        batch_size: int = 8,
        observers: Sequence[Observer] = (),
        until_eos: bool = False,
    ) -> Result:
        """Fill the masks of token ids, each row a (prefix, body); blocks are counted from the body's start.

        Args:
            until_eos: cut the result's texts, not its sequences, at their first end token.
        """
        require(batch_size >= 1, f"batch_size must be at least 1, got {batch_size}")
        seeds = row_seeds(seed, len(rows))
        self.check(rows)
        collector = Collector(self.backend, until_eos)
        for first in range(0, len(rows), batch_size):
            part = slice(first, first + batch_size)
            canvas = self.canvas(rows[part])
            for observer in (collector, *observers):
                observer.begin(canvas, seeds[part])
            for record in self.iterate(canvas, seeds[part]):
                for observer in (collector, *observers):
                    observer.add(record)
        return collector.result(self.spec())

    def prompt_rows(self, prompts: Sequence[Prompt], chat: bool | None = None) -> Rows:
        """Prompts as (prefix, body) token ids, the body being `gen_length` masks."""
        return [(self._codec.encode(prompt, chat), [self.backend.mask_id] * self.gen_length) for prompt in prompts]

    def masked_rows(self, texts: Sequence[str]) -> Rows:
        """Texts with `[MASK]` as (prefix, body) token ids."""
        return [self._codec.encode_masked(text) for text in texts]

    def check(self, rows: Rows) -> None:
        """Raise `CanvasError`, naming the row, for one that cannot be sampled: so no other is decoded in vain."""
        limit, vocabulary = self.backend.max_length, self.backend.vocab_size
        if not rows:
            raise CanvasError("there is no row to sample: the list of prompts is empty")
        for i, (prefix, body) in enumerate(rows):
            if limit is not None and len(prefix) + len(body) > limit:
                raise CanvasError(
                    f"row {i}: a prompt of {len(prefix)} tokens and {len(body)} places after it exceed the model's "
                    f"context of {limit}; shorten one of them"
                )
            wrong = next((token for token in (*prefix, *body) if not 0 <= token < vocabulary), None)
            if wrong is not None:
                raise CanvasError(f"row {i}: token ids must be in [0, {vocabulary}), got {wrong}")
            check_row(i, prefix, body, self.backend.mask_id)

    def canvas(self, rows: Rows) -> Canvas:
        """A batch of (prefix, body) token ids as a canvas for `iterate`."""
        self.check(rows)
        backend = self.backend
        return Canvas.from_rows(rows, mask_id=backend.mask_id, pad_id=backend.pad_id, device=backend.device)

    @torch.no_grad()
    def iterate(self, canvas: Canvas, seed: Seeds = 0) -> Iterator[StepRecord]:
        """Fill a canvas step by step; each record holds what was filled and the canvas after it."""
        seeds = row_seeds(seed, canvas.batch)
        run = _Run(self, canvas, seeds)
        for start in range(canvas.start, canvas.length, self.block_length):
            yield from run.fill_block(Span(start, min(start + self.block_length, canvas.length)))

    def spec(self) -> dict[str, Any]:
        """The settings that rebuild this sampler, see `from_spec`; the parts as text."""
        from .specs import sampler_spec

        return sampler_spec(self)

    @property
    def _codec(self) -> Any:
        if self.backend.codec is None:
            raise CanvasError("this model has no tokenizer; pass token ids to `fill`, or a tokenizer to the backend")
        return self.backend.codec


def row_seeds(seed: Seeds, rows: int) -> list[int]:
    """One seed a row. Raises `CanvasError` when the number of seeds differs from that of rows."""
    seeds = [seed] * rows if isinstance(seed, int) else list(seed)
    if len(seeds) != rows:
        raise CanvasError(f"{rows} rows need one seed or {rows} seeds, got {len(seeds)}")
    return seeds


class _Run:
    """The state of one run: the canvas, the rows' seeds and the steps they have left."""

    def __init__(self, sampler: Sampler, canvas: Canvas, seeds: list[int]) -> None:
        self.sampler = sampler
        self.backend = sampler.backend
        self.canvas = canvas
        self.seeds = seeds
        self.step = 0
        self.fillable = canvas.masked
        self.steps_left = torch.full((canvas.batch,), sampler.steps, device=canvas.tokens.device)
        processors = tuple(processor.build(sampler.backend) for processor in sampler.processors)
        self.head = Head(self.backend.head, processors, canvas.mask_id, self.backend.vocab_size)

    def fill_block(self, block: Span) -> Iterator[StepRecord]:
        """Fill one block of all rows that have masks in it; rows leave as they finish."""
        steps = self._block_steps(block)
        rows = self.canvas.masked[:, block.places].any(1).nonzero()[:, 0]
        work = _BlockWork(self, block, rows)
        for taken in count():
            work.drop_finished_rows()
            if not len(work.rows):
                return
            yield work.step(taken, steps[work.rows])
            self.step += 1

    def _block_steps(self, block: Span) -> Tensor:
        """Steps of each row for this block, [b]: its share of the steps left by masks, at least one."""
        masked = self.canvas.masked
        here, left = masked[:, block.places].sum(1), masked[:, block.start :].sum(1)
        share = (self.steps_left * here / left.clamp(min=1)).round().long()
        self.steps_left = (self.steps_left - share).clamp(min=0)
        return share.clamp(min=1)


class _BlockWork:
    """The unfinished rows of one block, with their slots, their memory and the prediction that is due."""

    def __init__(self, run: _Run, block: Span, rows: Tensor) -> None:
        self.run = run
        self.block = block
        self.rows = rows
        self.canvas = run.canvas.select(rows)
        self.slots: Slots | None = run.backend.allocate() if run.sampler.cache.reads_slots else None
        self.seeds = [run.seeds[row] for row in rows.tolist()]
        self.memory: dict[str, Tensor] = {}
        self.ahead: Prediction | None = None
        self.forwards = 0
        self.spent = torch.zeros(2, len(rows), dtype=torch.long, device=rows.device)

    def drop_finished_rows(self) -> None:
        """Keep only the rows that have a mask left in the block."""
        unfinished = self.canvas.masked[:, self.block.places].any(1)
        if bool(unfinished.all()):
            return
        keep = unfinished.nonzero()[:, 0]
        self.rows = self.rows[keep]
        self.canvas = self.canvas.select(keep)
        self.slots = None if self.slots is None else self.slots.select(keep)
        self.seeds = [self.seeds[row] for row in keep.tolist()]
        self.memory = {name: tensor[keep] for name, tensor in self.memory.items()}
        self.ahead = None if self.ahead is None else self.ahead.select(keep)

    def step(self, taken: int, steps: Tensor) -> StepRecord:
        """Predict, propose, plan and commit once."""
        sampler = self.run.sampler
        self.spent = torch.zeros(2, len(self.rows), dtype=torch.long, device=self.rows.device)
        prediction = self._prediction()
        noise = RowNoise.from_seeds(self.seeds, self.run.backend.device, self.block.start - self.canvas.start, taken)
        proposal = sampler.token_sampler.propose(prediction, noise, 1)
        plan = sampler.planner.plan(
            Step(
                prediction=prediction,
                masked=prediction.masked,
                fixed=torch.zeros_like(prediction.masked),
                proposal=proposal,
                quota=self._quota(taken, steps),
                memory=self.memory,
                noise=noise,
                width=sampler.block_length,
                eos_ids=self.run.backend.eos_ids,
                propose=lambda n: sampler.token_sampler.propose(prediction, noise, n),
                lookahead=self._lookahead,
            )
        )
        tokens = proposal.tokens[0] if plan.tokens is None else plan.tokens
        check_plan(sampler.planner, plan, tokens, prediction.masked, self.run.head)
        confidence = self._confidence(prediction, plan, proposal.tokens[0], proposal.confidence[0])
        return self._commit(plan, tokens, confidence, prediction.entropy)

    def _quota(self, taken: int, steps: Tensor) -> Tensor:
        """Places to fill in each row, [b]: at least one, and all that are left at a row's last step."""
        left = self.canvas.masked[:, self.block.places].sum(1)
        asked = self.run.sampler.schedule.quota(left, taken, steps)
        return torch.where(steps - taken <= 1, left, torch.minimum(asked.clamp(min=1), left))

    def _prediction(self) -> Prediction:
        """The block's prediction: the winner's lookahead if it was computed for this very canvas, else a forward."""
        if self._reusable():
            assert self.ahead is not None
            self.forwards += 1
            return self.ahead
        span = self._span(self.forwards)
        self.forwards += 1
        hidden = self.run.backend.trunk(self.canvas, span, self.slots)
        self._count(torch.ones_like(self.rows), span)
        return self._predict(hidden, self.canvas, span, self.block)

    def _reusable(self) -> bool:
        if self.ahead is None or not torch.equal(self.ahead.context, self._context(self.canvas)):
            return False
        # A lookahead writes no slots. Skipping this forward is exact only if nobody reads what it would have written.
        span, following = self._span(self.forwards), self._span(self.forwards + 1)
        return following.covers(span) or not self.run.sampler.cache.reads_slots

    def _span(self, forward: int) -> Span:
        cache = self.run.sampler.cache
        span = cache.span(self.block, self.canvas.length, forward)
        check_span(cache, span, self.block, self.canvas.length, forward)
        return span

    def _lookahead(self, rows: Tensor, unmask: Tensor, tokens: Tensor, scope: Scope = "block") -> Prediction:
        """See `interfaces.Lookahead`: the forward that the next step would do, for each move."""
        span = self._span(self.forwards)
        seen = span if scope == "canvas" else self.block
        size = self.run.sampler.lookahead_batch or len(rows)
        futures = self.canvas.fork(rows, self.block, unmask, tokens)
        hidden = []
        for first in range(0, len(rows), size):
            part = futures.slice(first, first + size)
            states = self.run.backend.trunk(part, span, self.slots, rows[first : first + size])
            hidden.append(states[:, seen.start - span.start : seen.stop - span.start])
        self._count(torch.bincount(rows, minlength=len(self.rows)), span)
        return self._predict(torch.cat(hidden), futures, seen, seen)

    def _predict(self, hidden: Tensor, canvas: Canvas, span: Span, seen: Span) -> Prediction:
        """A prediction of the places `seen` from hidden states over `span`."""
        states = hidden[:, seen.start - span.start : seen.stop - span.start].to(canvas.tokens.device)
        return Prediction(states, canvas.masked[:, seen.places], self.run.head, self._context(canvas))

    def _context(self, canvas: Canvas) -> Tensor:
        """Canvas tokens for processors, [b t]; padding shows as masks, so that no processor counts it."""
        return canvas.tokens.masked_fill(~canvas.valid, canvas.mask_id) if canvas.padded else canvas.tokens

    def _count(self, forwards: Tensor, span: Span) -> None:
        self.spent += torch.stack([forwards, forwards * self.run.backend.places_computed(span, self.canvas.length)])

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

    def _commit(self, plan: Plan, tokens: Tensor, confidence: Tensor, entropy: Tensor) -> StepRecord:
        """Write the plan to the canvas and report it. The entropies reported here are the cumulative entropy."""
        run = self.run
        self.canvas = self.canvas.commit(self.block, plan.unmask, tokens)
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
            entropy=torch.where(plan.unmask, entropy, 0),
            candidates=plan.candidates,
            forwards=self.spent[0],
            token_forwards=self.spent[1],
            finished=~self.canvas.masked.any(1),
            canvas=run.canvas,
        )

    def _next(self, plan: Plan) -> Prediction | None:
        """The plan's prediction of the next step, cut to the block."""
        if plan.next is None or plan.next.masked.shape[1] == len(self.block):
            return plan.next
        first = self.block.start - self._span(self.forwards).start
        return plan.next.narrow(first, len(self.block))

    def _finish(self, canvas: Canvas, fillable: Tensor) -> Canvas:
        """Fill what follows a row's first new end token with end tokens, once nothing before it is masked."""
        eos_ids = torch.tensor(self.run.backend.eos_ids, device=canvas.tokens.device)
        ended = (fillable & torch.isin(canvas.tokens, eos_ids)).cummax(1).values
        before = (canvas.masked & ~ended).any(1, keepdim=True)
        tokens = torch.where(canvas.masked & ended & ~before, eos_ids[0], canvas.tokens)
        return replace(canvas, tokens=tokens)
