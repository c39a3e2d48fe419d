"""The sampler: a model, the parts that decode it, and the ways to call them. The loop itself is in `loop`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, final

import torch

from .caches.prefix import PrefixCache
from .collector import Collector
from .errors import CanvasError, require, shown
from .interfaces import (
    CacheStrategy,
    ModelBackend,
    PositionPlanner,
    Processor,
    Prompt,
    Schedule,
    TokenSampler,
)
from .loop import Run
from .planners.bypass import Bypass
from .planners.info_gain import InfoGain
from .records import Canvas, Result, Span, StepRecord, check_row
from .schedules.uniform import Uniform
from .token_samplers.greedy import Greedy

Seeds = int | Sequence[int]
Rows = Sequence[tuple[Sequence[int], Sequence[int]]]
PART_KINDS: dict[str, type[Any]] = {
    "backend": ModelBackend,
    "planner": PositionPlanner,
    "cache": CacheStrategy,
    "token_sampler": TokenSampler,
    "schedule": Schedule,
}


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
        for name, kind in PART_KINDS.items():
            part = getattr(self, name)
            hint = "; build it with mdm_sampling.build" if isinstance(part, str) else ""
            require(isinstance(part, kind), f"{name} must be a {kind.__name__} object, got {shown(part)}{hint}")
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
            canvas = self._laid_out(rows[part])
            for observer in (collector, *observers):
                observer.begin(canvas, seeds[part])
            for record in self.iterate(canvas, seeds[part]):
                for observer in (collector, *observers):
                    observer.add(record)
                collector.go_on()
        return collector.result(self.spec())

    def prompt_rows(self, prompts: Sequence[Prompt], chat: bool | None = None) -> Rows:
        """Prompts as (prefix, body) token ids, the body being `gen_length` masks."""
        codec, limit = self._codec, self.backend.max_length
        if limit is not None and self.gen_length > limit:
            raise CanvasError(f"{self.gen_length} new tokens exceed the model's context of {limit}")
        return [(codec.encode(prompt, chat), [self.backend.mask_id] * self.gen_length) for prompt in prompts]

    def masked_rows(self, texts: Sequence[str]) -> Rows:
        """Texts with `[MASK]` as (prefix, body) token ids."""
        return [self._codec.encode_masked(text) for text in texts]

    def check(self, rows: Rows) -> None:
        """Raise `CanvasError`, naming the row, for one that cannot be sampled: so no other is decoded in vain."""
        limit, vocabulary = self.backend.max_length, self.backend.vocab_size
        if not rows:
            raise CanvasError("there is no row to sample: the list of prompts is empty")
        for i, row in enumerate(rows):
            if len(row) != 2 or not all(isinstance(part, Sequence) for part in row):
                raise CanvasError(f"row {i}: a row is a pair (prefix ids, body ids), got {row!r:.80}")
            prefix, body = row
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
        return self._laid_out(rows)

    def _laid_out(self, rows: Rows) -> Canvas:
        backend = self.backend
        return Canvas.from_rows(rows, mask_id=backend.mask_id, pad_id=backend.pad_id, device=backend.device)

    def iterate(self, canvas: Canvas, seed: Seeds = 0) -> Iterator[StepRecord]:
        """Fill a canvas step by step; each record holds what was filled and the canvas after it."""
        if canvas.mask_id != self.backend.mask_id:
            raise CanvasError(f"the canvas's mask id is {canvas.mask_id}, the model's {self.backend.mask_id}")
        if bool(canvas.masked[:, : canvas.start].any()):
            raise CanvasError("the canvas holds masks before the start of its rows' bodies; they would not be filled")
        return self._steps(canvas, row_seeds(seed, canvas.batch))

    @torch.no_grad()
    def _steps(self, canvas: Canvas, seeds: list[int]) -> Iterator[StepRecord]:
        run = Run(self, canvas, seeds)
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
    seeds = [int(s) for s in seed] if isinstance(seed, Sequence) else [int(seed)] * rows
    if len(seeds) != rows:
        raise CanvasError(f"{rows} rows need one seed or {rows} seeds, got {len(seeds)}")
    return seeds
