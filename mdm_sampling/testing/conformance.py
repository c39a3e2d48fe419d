"""The rules of each kind of part, and checking one after the other instead of stopping at the first breach."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from ..at_work import printed_apart
from . import backend, cache, draft_shape, planner, processor, schedule, task, token_sampler
from .rules import ConformanceError, Rule, check_rule
from .rules import breach as broken
from .watchdog import TooLong, limited

RULES: dict[str, tuple[Rule, ...]] = {
    "backends": backend.RULES,
    "caches": cache.RULES,
    "planners": planner.RULES,
    "draft_shapes": draft_shape.RULES,
    "token_samplers": token_sampler.RULES,
    "schedules": schedule.RULES,
    "processors": processor.RULES,
    "tasks": task.RULES,
}
"""Rules by the kind of part, in the registry's words."""


@dataclass(frozen=True)
class _Outcome:
    """What became of one rule.

    Attributes:
        title: the rule in a few words.
        breach: what was expected, what came and the smallest case; None if the rule is kept.
        seconds: how long it took.
    """

    title: str
    breach: str | None
    seconds: float


def outcomes(
    kind: str,
    part: Any,
    examples: int,
    seconds: float = 600.0,
    tell: Callable[[str], None] = lambda text: None,
) -> Iterator[_Outcome]:
    """Check a part against every rule of its kind.

    Args:
        kind: such as "planners"; for "backends" the part is a loaded model.
        examples: cases that each rule draws.
        seconds: how long a rule may take.
        tell: called now and then with the rule that is at work and how long it has taken.
    """
    for rule in RULES[kind]:
        began, breach = perf_counter(), None
        try:
            told = limited(seconds, lambda taken, title=rule.title: tell(f"{title}: {taken}"))  # type: ignore[misc]
            with printed_apart(), told:
                check_rule(rule, part, examples)
        except ConformanceError as error:
            breach = str(error)
        except TooLong:
            breach = broken(part, f"an end within {seconds:g} s", "it was still at work, and was interrupted")
        yield _Outcome(rule.title, breach, perf_counter() - began)


def notes(kind: str, part: Any) -> list[str]:
    """What a part does in vain, in sentences. No rule forbids it."""
    with printed_apart():
        return planner.notes(part) if kind == "planners" else []
