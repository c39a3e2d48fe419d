"""Rules: what a check demands, how a breach is told, and how cases are drawn."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from traceback import extract_tb
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ..at_work import no_way_out
from ..errors import ContractError, MDMError, SpecError, repr_of
from ..registry.registry import KINDS, registry
from ..registry.specs import build, describe

_OURS = str(Path(__file__).parent.parent)
EXAMPLES = 50
"""Cases that a rule draws unless it is told otherwise."""


class ConformanceError(AssertionError):
    """A part that breaks a rule: what was expected, what came, and the smallest case that shows it."""


@dataclass(frozen=True)
class Rule:
    """Something that a part must hold.

    Attributes:
        title: the rule in a few words.
        check: raises `ConformanceError` if a part breaks it; gets the part and how many cases to draw.
    """

    title: str
    check: Callable[[Any, int], None]


def run_rules(rules: Sequence[Rule], base: type[Any], part: Any, examples: int) -> None:
    """Check a part of a kind against the kind's rules, in order.

    Raises:
        SpecError: for something that is not a part of that kind.
        ConformanceError: at the first rule that it breaks.
    """
    if not isinstance(part, base):
        hint = "; make an object of it" if isinstance(part, type) and issubclass(part, base) else ""
        raise SpecError(f"{repr_of(part)} is not a {base.__name__}{hint}")
    for rule in rules:
        check_rule(rule, part, examples)


def check_rule(rule: Rule, part: Any, examples: int) -> None:
    """Check a part against one rule. Raises `ConformanceError` if it is broken, or if the part breaks the check off."""
    with blamed(part, "a part that lets the check come to its end"):
        rule.check(part, examples)


def expect(condition: bool, part: Any, expected: str, got: str, case: object = None) -> None:
    """Raise `ConformanceError` unless the condition holds."""
    if not condition:
        raise ConformanceError(breach(part, expected, got, case))


def breach(part: Any, expected: str, got: str, case: object = None) -> str:
    """What a broken rule says."""
    lines = [f"{repr_of(part)} breaks its contract.", f"  expected: {expected}", f"  got: {got}"]
    return "\n".join([*lines, f"  smallest case: {case}"] if case is not None else lines)


@contextmanager
def blamed(part: Any, expected: str, case: object = None) -> Iterator[None]:
    """Whatever is raised inside, and whatever the part changes in itself, becomes a `ConformanceError` of the part."""
    before = _copy_of(part)
    try:
        with no_way_out():
            yield
    except (Exception, SystemExit, GeneratorExit) as error:
        found = error.__cause__ if isinstance(error, ContractError) else error
        if isinstance(found, ConformanceError):  # a guard's, told by the loop as if the part had raised it
            raise found from found.__cause__
        told = str(error) if isinstance(error, MDMError) else f"{type(error).__name__}: {error}"
        where = "" if found is None or isinstance(found, MDMError) else _place_of(found)
        raise ConformanceError(breach(part, expected, told + where, case)) from error
    if before is not None and part != before:
        raise ConformanceError(
            breach(part, "a part that stays as it is", f"it changed itself, from {repr_of(before)}", case)
        )


def _copy_of(part: Any) -> Any:
    """A copy to tell later whether a part has changed itself; None for what is not a value, which has its own rule."""
    if not is_dataclass(part):
        return None
    try:
        copy = deepcopy(part)
        return copy if copy == part else None
    except Exception:
        return None


def _place_of(error: BaseException) -> str:
    """Where the part raised it: the last line of the traceback that is neither ours nor an installed library's."""
    frames = [f for f in extract_tb(error.__traceback__) if not f.filename.startswith(_OURS) and f.lineno is not None]
    own = [frame for frame in frames if "site-packages" not in frame.filename]
    last = (own or frames)[-1:]
    return "".join(f" ({frame.filename}, line {frame.lineno})" for frame in last)


def for_all(cases: st.SearchStrategy[Any], examples: int, check: Callable[[Any], None]) -> None:
    """Run a check on drawn cases; of those that fail the smallest one raises. The same cases are drawn each time."""

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def run(case: Any) -> None:
        try:
            check(case)
        except ConformanceError as error:
            breaches.append(error)
            raise

    breaches: list[ConformanceError] = []
    try:
        run()
    except Exception:
        if not breaches:
            raise
    if breaches:
        # Hypothesis ends with the smallest. What it raises itself repeats the case as it was before the part was put
        # into it, and is another error where a part breaks the rule only now and then.
        raise ConformanceError(str(breaches[-1])) from breaches[-1].__cause__


def _check_value(part: Any, examples: int) -> None:
    """A part is a value: a frozen dataclass that is equal to its copies and survives pickling and its own spec."""
    parameters = getattr(type(part), "__dataclass_params__", None)
    frozen = is_dataclass(part) and parameters is not None and parameters.frozen
    expect(frozen, part, "a frozen dataclass", f"{type(part).__name__}, which is none")
    with blamed(part, "a part that can be hashed, so that its fields are values too"):
        hash(part)
    with blamed(part, "a part that can be pickled, for work in other processes"):
        copy = pickle.loads(pickle.dumps(part))
    with blamed(part, "a part that can be compared with its copies"):
        same = bool(copy == part)
    expect(same, part, "a part that is equal to its pickled copy", repr_of(copy))
    kind = next(kind for kind, base in KINDS.items() if isinstance(part, base))
    if registry().name_of(kind, type(part)) is None:
        return  # a part that is not registered has no spec
    with blamed(part, "a part whose parameters can stand in a spec"):
        spec = describe(part)
        again = build(kind, spec)
    expect(again == part, part, f"a part that its spec {spec!r} rebuilds", repr_of(again))


VALUE = Rule("is a value: frozen, hashable, pickled and rebuilt from its spec", _check_value)
