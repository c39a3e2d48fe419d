"""What is compared: planners, caches, tokens a step and block lengths, in all combinations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from itertools import combinations, product
from typing import Any

from ..at_work import at_work
from ..caches import CacheStrategy
from ..canvas import Span
from ..contract import needs_of
from ..errors import SpecError, repr_of, require
from ..planners.base import PositionPlanner
from ..planners.scores import Confidence, Entropy, Margin
from ..registry.specs import Spec, build, default_of, describe
from ..sampler import Sampler
from ..schedules import Constant

_GREEDY = (Confidence, Margin, Entropy)  # the baselines that the others are measured against
KEY = ("planner", "cache", "tokens_per_step", "block_size")  # what tells settings apart, in this order


_PROBED = 64  # forwards in which caches that are not the same differ


@dataclass(frozen=True)
class Setting:
    """One way to decode.

    Args:
        planner: which positions a step fills.
        cache: what is not recomputed.
        tokens_per_step: positions that a step fills; a planner with a bypass may fill more. None for a planner that
            chooses their number whatever it is asked.
        block_size: positions of a block; None for the whole body as one block.
    """

    planner: PositionPlanner
    cache: CacheStrategy
    tokens_per_step: int | None
    block_size: int | None

    @cached_property
    def key(self) -> dict[str, Any]:
        """The setting as JSON-able values, named as in `KEY`; equal settings have equal keys."""
        values = (text_of_part(self.planner), text_of_part(self.cache), self.tokens_per_step, self.block_size)
        return dict(zip(KEY, values, strict=True))

    @property
    def conditions(self) -> tuple[Any, ...]:
        """The key without the planner: planners are compared with each other where these are equal."""
        return tuple(value for name, value in self.key.items() if name != "planner")

    @cached_property
    def family(self) -> str:
        """The planner without its numbers: settings that differ in numbers alone are points of one curve."""
        return _family_of(self.planner)

    @cached_property
    def dials(self) -> str:
        """K and the numbers that the family leaves out, if they are not at their defaults; the planner if none is."""
        kept = [f"K={self.tokens_per_step}"] if self.tokens_per_step is not None else []
        return ", ".join([*kept, *_dials_of(self.planner)]) or self.key["planner"]

    @property
    def surroundings(self) -> tuple[str, int | None]:
        """The cache and the block size."""
        return self.key["cache"], self.block_size

    @property
    def is_greedy(self) -> bool:
        return isinstance(self.planner, _GREEDY)

    def lines(self, lines: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Those of the results that were decoded this way."""
        return [line for line in lines if all(line[name] == value for name, value in self.key.items())]

    def applied_to(self, base: Sampler, longest: int) -> Sampler:
        """The sampler that decodes bodies of up to `longest` positions this way."""
        return replace(
            base,
            planner=self.planner,
            cache=self.cache,
            schedule=Constant(self.tokens_per_step or 1),
            block_size=self.block_size or longest,
            steps=longest,
        )


def grid(
    planners: Sequence[str | PositionPlanner],
    *,
    caches: Sequence[str | CacheStrategy] = ("none",),
    tokens_per_step: Sequence[int] = (1, 2, 4),
    block_sizes: Sequence[int | None] = (None,),
) -> list[Setting]:
    """Every combination, without repetitions. Parts are specs or objects.

    A planner that chooses its own number of positions has one setting for all `tokens_per_step`; these stand last.
    """
    for name, values in (("planners", planners), ("caches", caches), ("tokens_per_step", tokens_per_step)):
        require(len(values) > 0, f"a comparison needs {name}, got none")
    for number in (*tokens_per_step, *(length for length in block_sizes if length is not None)):
        require(number >= 1, f"tokens_per_step and block_sizes must be at least 1, got {number}")
    planner_parts = [build("planners", p) if isinstance(p, str) else p for p in planners]
    cache_parts = [build("caches", c) if isinstance(c, str) else c for c in caches]
    combinations = product(tokens_per_step, block_sizes, cache_parts, planner_parts)
    settings = [
        Setting(planner, cache, k if needs_of(planner).quota else None, block)
        for k, block, cache, planner in combinations
    ]
    settings.sort(key=lambda setting: setting.tokens_per_step is None)
    return list({str(setting.key): setting for setting in settings}.values())


def decoded_twice(settings: Sequence[Setting], longest: int | None) -> list[tuple[str, str]]:
    """Pairs of caches that are compared and recompute the same, since the whole body is one block.

    Args:
        settings: what is compared.
        longest: positions of a body, if that is known; a block of `None` is the whole body at any length.
    """
    pairs: dict[tuple[str, str], None] = {}
    alone = [s for s in settings if s.block_size is None or (longest is not None and s.block_size >= longest)]
    for one, other in combinations(alone, 2):
        same = one.tokens_per_step == other.tokens_per_step and one.key["planner"] == other.key["planner"]
        if same and one.key["cache"] != other.key["cache"] and spans(one.cache) == spans(other.cache):
            pairs[one.key["cache"], other.key["cache"]] = None
    return list(pairs)


def spans(cache: CacheStrategy) -> list[Any]:
    """What a cache recomputes, forward by forward, where a prompt is followed by one block."""
    with at_work("cache", cache):
        return [cache.reads_slots, *(cache.span(Span(2, 6), 6, step) for step in range(_PROBED))]


def _family_of(part: Any) -> str:
    """A part's spec without its numbers. Words stay, and the parts inside it: with others it is another rule."""
    changed = _changed(part)
    if not changed:
        return text_of_part(part)
    try:
        name = Spec.parse(describe(part)).name
    except SpecError:
        name = type(part).__name__
    words = {key: value for key, value in changed.items() if not _is_dial(value)}
    texts = [f"{key}=({_family_of(v)})" if is_dataclass(v) else f"{key}={v}" for key, v in words.items()]
    return name + (":" + ",".join(texts) if texts else "")


def _dials_of(part: Any) -> list[str]:
    """The numbers of a part, and of those inside it, that are not at their defaults."""
    found: list[str] = []
    for name, value in _changed(part).items():
        found += [f"{name}={value}"] if _is_dial(value) else _dials_of(value)
    return found


def _is_dial(value: Any) -> bool:
    """Whether a parameter is a number, `inf` among them."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _changed(part: Any) -> dict[str, Any]:
    """The parameters of a part that are not at their defaults."""
    if not is_dataclass(part):
        return {}
    return {f.name: getattr(part, f.name) for f in fields(part) if getattr(part, f.name) != default_of(f)}


def text_of_part(part: Any) -> str:
    """A part's spec; for one that is not registered, how Python writes it."""
    try:
        return describe(part)
    except SpecError:
        return repr_of(part)
