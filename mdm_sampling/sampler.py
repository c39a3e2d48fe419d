"""The sampler: a model, the parts that decode it, and the ways to call them. The loop itself is in `loop`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Protocol, final, get_type_hints

import torch

from .backends.base import ModelBackend
from .backends.chat import Prompts, prompts_of, with_system
from .backends.evaluation_mode import EvaluationMode
from .backends.masks import check_count
from .backends.text import TextCodec
from .caches import CacheStrategy, PrefixCache
from .canvas import Canvas, Row, Span, check_rows, whole_number
from .errors import CanvasError, SpecError, nearest, require
from .kinds import as_kind, require_kind
from .loop import Run
from .planners.base import PositionPlanner
from .planners.bypass import Bypass
from .planners.info_gain import InfoGain
from .processors import Processor
from .prompts import Prompt
from .records import StepRecord
from .registry.registry import KINDS
from .registry.specs import NOT_REGISTERED, describe
from .result import Collector, Result
from .schedules import Schedule, Uniform
from .stops import before_stops, checked_stops
from .token_samplers import Greedy, TokenSampler

_Seeds = int | Iterable[int]
Rows = Sequence[tuple[Sequence[int], Sequence[int]]]


class Observer(Protocol):
    """Watches a run from outside, batch by batch and step by step: a progress bar, a trace, a live view."""

    def begin(self, canvas: Canvas, seeds: list[int]) -> None:
        """A batch begins."""

    def add(self, record: StepRecord) -> None:
        """A step was taken."""


@final
@dataclass(frozen=True, repr=False)
class Sampler:
    """A model and the parts that decode it. `replace` makes another one with other settings.

    A part may be given as its spec: `Sampler(backend, planner="info-gain:4", cache="dual")`.

    Args:
        backend: the model.
        planner: which positions a step fills.
        cache: which positions a forward recomputes.
        token_sampler: which token is proposed for each position.
        schedule: how many positions a step fills.
        processors: change logits before anything reads them.
        max_new_tokens: number of tokens to generate after a prompt.
        block_size: positions of a block. Blocks are filled one after the other. The last may be shorter.
        steps: steps for the whole body, divided over its blocks by their masks; at least one for each block. No planner
            takes more: a block's last step fills all positions that are left.
        eos: "off", or "finish" to end a row when everything before its first new end token is filled. The positions
            after it are then filled with the end token, without a forward, and their entropy does not count.
        growing: whether the canvas ends with the present block, so that later positions do not exist yet. It costs
            less. A model with full attention then predicts other tokens. A block-causal model predicts the same, and
            its canvas grows anyway where blocks end with attention blocks.
        lookahead_batch: maximum number of candidates in one forward; None for all. Lower it to save memory.
    """

    backend: ModelBackend
    planner: PositionPlanner = field(default_factory=lambda: Bypass(0.9, InfoGain()))
    cache: CacheStrategy = field(default_factory=PrefixCache)
    token_sampler: TokenSampler = field(default_factory=Greedy)
    schedule: Schedule = field(default_factory=Uniform)
    processors: tuple[Processor, ...] = ()
    max_new_tokens: int = 128
    block_size: int = 32
    steps: int = 512
    eos: Literal["off", "finish"] = "off"
    growing: bool = False
    lookahead_batch: int | None = None

    def __post_init__(self) -> None:
        require(isinstance(self.processors, tuple | list), f"processors must be a tuple, got {self.processors!r:.80}")
        for name, hint in _KINDS_OF_FIELDS.items():
            value = as_kind(name, getattr(self, name), hint)
            object.__setattr__(self, name, value)
            if hint in (int, int | None) and value is not None:
                require(value >= 1, f"{name} must be at least 1, got {value}")
                object.__setattr__(self, name, int(value))  # specs are JSON, which has no other kind of whole number
        require(self.eos == "off" or bool(self.backend.eos_ids), "eos='finish' needs a model with end tokens")

    def replace(self, **settings: Any) -> Sampler:
        """The same sampler but for these settings: `sampler.replace(planner="margin", steps=64)`.

        Raises `SpecError` for a setting that there is not, and for a bad value.
        """
        known = [field.name for field in fields(self)]
        for name in settings:
            require(name in known, f"a sampler has no setting {name!r}; {nearest(name, known, ', '.join(known))}")
        return replace(self, **settings)

    def __repr__(self) -> str:
        own = ((each.name, getattr(self, each.name)) for each in fields(self)[1:])
        plain = Sampler(self.backend)
        changed = [f"{name}={value!r}" for name, value in own if value != getattr(plain, name)]
        return f"Sampler({', '.join([repr(self.backend), *changed])})"

    def generate(
        self,
        prompts: Prompts,
        seed: _Seeds = 0,
        *,
        chat: bool | None = None,
        system: str | None = None,
        stop: str | Sequence[str] = (),
        batch_size: int = 8,
        observers: Sequence[Observer] = (),
    ) -> Result:
        """Continue prompts by `max_new_tokens` tokens each.

        Args:
            prompts: one text or one list of chat messages, or a list of several of them.
            seed: one whole number for every row, or one for each: a list, an array or a tensor. A row's tokens depend
                only on its prompt and its seed. The limit is the rounding of the model's kernels, which may differ with
                the batch: it rarely changes tokens in float32, and sometimes in half precision.
            chat: whether to apply the chat template; None applies it if the model has one.
            system: a system message to put before each prompt. It needs a chat template, and prompts without a system
                message of their own.
            stop: a text or several. A row's text is cut before the first of them. Its tokens are not cut, and no step
                is saved.
            batch_size: prompts decoded together; their lengths may differ.
            observers: get every step.
        """
        rows = self.prompt_rows(prompts, chat, system)
        return self.fill(rows, seed, batch_size=batch_size, observers=observers, until_eos=True, stop=stop)

    def stream(
        self,
        prompt: Prompt,
        seed: int = 0,
        *,
        chat: bool | None = None,
        system: str | None = None,
        stop: str | Sequence[str] = (),
    ) -> Iterator[str]:
        """Continue one prompt, and yield the text after each step; `_` is a token that is not filled yet.

        The last text is that of `generate`. A filled token stays, and keeps its position in the text. Only a planner
        that remasks may reopen tokens of the present block. So a text is final up to its first `_`, or with such a
        planner up to the present block. The text grows in the middle, because positions are not filled from left to
        right. It is cut at the first end token and before the first stop string.

        Args:
            prompt: a text or a list of chat messages.
            seed, chat, system, stop: as `generate` takes them.
        """
        rows, codec, stops = self.prompt_rows(prompt, chat, system), self._codec, checked_stops(stop)
        if len(rows) != 1:
            raise CanvasError(f"`stream` takes one prompt, got {len(rows)}")
        steps, head = self.iterate(self.canvas(rows), seed), self.head_of_body(rows[0].prefix)
        return (before_stops(codec.decode(record.canvas.body(0)[head:]), stops) for record in steps)

    def infill(
        self,
        texts: str | Sequence[str],
        seed: _Seeds = 0,
        *,
        batch_size: int = 8,
        observers: Sequence[Observer] = (),
    ) -> Result:
        """Fill the masks of texts: `[MASK]` is one masked token, `[MASK:5]` five. Nothing is generated after them."""
        texts = [texts] if isinstance(texts, str) else _listed(texts, "texts")
        return self.fill(self.masked_rows(texts), seed, batch_size=batch_size, observers=observers)

    def fill(
        self,
        rows: Rows,
        seed: _Seeds = 0,
        *,
        batch_size: int = 8,
        observers: Sequence[Observer] = (),
        until_eos: bool = False,
        stop: str | Sequence[str] = (),
    ) -> Result:
        """Fill the masks of token ids, each row a (prefix, body); blocks are counted from the body's start.

        Raises `CanvasError`, naming the row, for one that cannot be sampled.

        Args:
            seed: one whole number for every row, or one for each: a list, an array or a tensor.
            until_eos: cut the result's texts, not its sequences, at their first end token.
            stop: cut the result's texts, not its sequences, before the first of these texts.
        """
        require_kind("batch_size", batch_size, int)
        require(batch_size >= 1, f"batch_size must be at least 1, got {batch_size}")
        observers, stops = _checked_observers(observers), checked_stops(stop)
        self.check(rows)
        seeds = _row_seeds(seed, len(rows))
        parts = [slice(first, first + batch_size) for first in range(0, len(rows), batch_size)]
        return Result.joined([self._fill_batch(rows[p], seeds[p], observers, until_eos, stops) for p in parts])

    def _fill_batch(
        self, rows: Rows, seeds: list[int], observers: Sequence[Observer], until_eos: bool, stops: Sequence[str]
    ) -> Result:
        canvas = self._laid_out(rows)
        for observer in observers:
            observer.begin(canvas, seeds)
        heads = [self.head_of_body(prefix) for prefix, _ in rows]
        collector = Collector(canvas, seeds, self.backend.codec, until_eos, stops, heads)
        for record in self.iterate(canvas, seeds):
            collector.add(record)
            for observer in observers:
                observer.add(record)
            collector.go_on()
        return collector.result(self.spec())

    def prompt_rows(self, prompts: Prompts, chat: bool | None = None, system: str | None = None) -> list[Row]:
        """Prompts, see `generate`, as (prefix, body) token ids, the body being `max_new_tokens` masks."""
        codec = self._codec
        if self.backend.max_length is not None and self.max_new_tokens > self.backend.max_length:
            raise CanvasError(
                f"{self.max_new_tokens} new tokens exceed the model's context of {self.backend.max_length}; lower "
                "max_new_tokens"
            )
        check_count(self.max_new_tokens, None)
        body = [self.backend.mask_id] * self.max_new_tokens  # one for all: rows are read and never written
        asked = prompts_of(prompts)
        if system is not None:
            codec.check_system(system, chat)
            asked = [with_system(prompt, system) for prompt in asked]
        return [Row(codec.encode(prompt, chat), body) for prompt in asked]

    @property
    def has_chat_template(self) -> bool:
        """Whether prompts are put into the model's chat template unless told otherwise."""
        return self._codec.has_chat_template

    def masked_rows(self, texts: Sequence[str]) -> list[Row]:
        """Texts with `[MASK]` as (prefix, body) token ids."""
        codec = self._codec
        return [Row(*codec.encode_masked(text, self.backend.max_length)) for text in texts]

    def check(self, rows: Rows) -> None:
        """Raise `CanvasError`, naming the row, for a row that cannot be sampled, before any row is decoded."""
        check_rows(self.backend, rows)

    def canvas(self, rows: Rows) -> Canvas:
        """A batch of (prefix, body) token ids as a canvas for `iterate`.

        In a block-causal model the last tokens of a prefix may share an attention block with the body. They become the
        first of the body, so that blocks end where attention blocks do.
        """
        self.check(rows)
        return self._laid_out(rows)

    def _laid_out(self, rows: Rows) -> Canvas:
        backend = self.backend
        heads = [self.head_of_body(prefix) for prefix, _ in rows]
        if any(heads):
            cuts = [len(prefix) - head for (prefix, _), head in zip(rows, heads, strict=True)]
            pairs = zip(rows, cuts, strict=True)
            rows = [(prefix[:cut], [*prefix[cut:], *body]) for (prefix, body), cut in pairs]
        return Canvas.from_rows(rows, mask_id=backend.mask_id, pad_id=backend.pad_id, device=backend.device)

    def head_of_body(self, prefix: Sequence[int]) -> int:
        """How many tokens of a row's prefix are the first of its canvas's body: see `canvas`."""
        blocks = self.backend.attention_blocks
        return 0 if blocks is None else blocks.head_of_body(len(prefix))

    def iterate(self, canvas: Canvas, seed: _Seeds = 0) -> Iterator[StepRecord]:
        """Fill a canvas step by step; each record holds what was filled and the canvas after it."""
        if not isinstance(canvas, Canvas):
            raise CanvasError(f"`iterate` takes what `canvas` returns, got {type(canvas).__name__}")
        if canvas.mask_id != self.backend.mask_id:
            raise CanvasError(f"the canvas's mask id is {canvas.mask_id}, the model's {self.backend.mask_id}")
        if bool(canvas.masked[:, : canvas.start].any()):
            raise CanvasError("the canvas holds masks before the start of its rows' bodies; they would not be filled")
        return self._steps(canvas, _row_seeds(seed, canvas.batch))

    @torch.no_grad()
    def _steps(self, canvas: Canvas, seeds: list[int]) -> Iterator[StepRecord]:
        run, evaluating = Run(self, canvas, seeds), EvaluationMode(self.backend)
        for start in range(canvas.start, canvas.length, self.block_size):
            steps = run.fill_block(Span(start, min(start + self.block_size, canvas.length)))
            while True:
                with evaluating:
                    record = next(steps, None)
                if record is None:
                    break
                yield record

    def spec(self) -> dict[str, Any]:
        """The settings that rebuild this sampler, see `from_spec`, as JSON-able values; the parts as text.

        A part that is not registered is named, and cannot be rebuilt.
        """
        source = self.backend.source
        settings = {name: _setting_as_json(getattr(self, name)) for name in SETTINGS}
        return {"backend": source.spec() if source else None} | settings

    @property
    def _codec(self) -> TextCodec:
        if self.backend.codec is None:
            raise CanvasError("this model has no tokenizer; pass token ids to `fill`, or a tokenizer to the backend")
        return self.backend.codec


SETTINGS = tuple(f.name for f in fields(Sampler) if f.name != "backend")
"""The names of a sampler's settings, as they stand in specs and in the options of the command line."""


_KINDS_OF_FIELDS = get_type_hints(Sampler)
_KINDS_BY_BASE = {base: kind for kind, base in KINDS.items()}
PARTS = {name: _KINDS_BY_BASE[hint] for name, hint in _KINDS_OF_FIELDS.items() if hint in _KINDS_BY_BASE}
"""The settings that are parts, each with its kind in the registry. Processors, which are several, are not here."""


def _setting_as_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_setting_as_json(each) for each in value]
    if not isinstance(value, tuple(KINDS.values())):
        return value
    try:
        return describe(value)
    except SpecError:
        return f"{NOT_REGISTERED} {type(value).__module__}.{type(value).__qualname__}"


def _row_seeds(seed: _Seeds, rows: int) -> list[int]:
    """One seed a row.

    Raises:
        SpecError: for a seed that is not a whole number of at most 64 bits.
        CanvasError: when the number of seeds differs from that of rows.
    """
    one = whole_number(seed)
    if one is not None:
        return [one] * rows
    if not isinstance(seed, Iterable) or isinstance(seed, str | bytes) or getattr(seed, "ndim", 1) != 1:
        raise SpecError(f"seed must be a whole number of at most 64 bits, or one for each row, got {seed!r:.80}")
    given = list(seed)
    seeds = [number for each in given if (number := whole_number(each)) is not None]
    if len(seeds) != len(given):
        wrong = next(each for each in given if whole_number(each) is None)
        raise SpecError(f"each seed must be a whole number of at most 64 bits, got {wrong!r:.80}")
    if len(seeds) != rows:
        raise CanvasError(f"{rows} rows need one seed or {rows} seeds, got {len(seeds)}")
    return seeds


def _listed(values: Any, name: str) -> list[Any]:
    """What an iterable holds. Raises `CanvasError` for what is none."""
    if not isinstance(values, Iterable) or isinstance(values, bytes):
        raise CanvasError(f"{name} must be a text or a list of them, got {values!r:.80}")
    return list(values)


def _checked_observers(observers: Sequence[Observer]) -> tuple[Observer, ...]:
    """The observers. Raises `SpecError` for one that cannot be told of a run."""
    require(isinstance(observers, Iterable), f"observers must be a list of observers, got {observers!r:.80}")
    found = tuple(observers)
    for each in found:
        known = all(callable(getattr(each, name, None)) for name in ("begin", "add"))
        require(known, f"an observer has the methods begin and add, got {each!r:.80}")
    return found
