"""Rules that all parts of a sampler share: the same again, and the same alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from .cases import Case, cases, decode, uneven_batches
from .models import UNTIED
from .rules import Rule, blamed, expect, for_all

_RUNS = "a run that comes to its end"


def same_again(kind: str) -> Rule:
    """Equal seeds give equal moves.

    Args:
        kind: the field of a `Case` that the part under test takes.
    """
    return _on_cases("draws the same again from the same seed", kind, cases(), _check_again)


def same_alone(kind: str) -> Rule:
    """A row gets in a batch what it gets alone.

    Args:
        kind: the field of a `Case` that the part under test takes.
    """
    batches = cases(models=UNTIED).filter(lambda case: len(case.rows) > 1)
    return _on_cases("treats each row as if it were alone", kind, batches, _check_alone, tuple(uneven_batches()))


def _on_cases(
    title: str,
    kind: str,
    drawn: st.SearchStrategy[Case],
    check: Callable[[Any, Case], None],
    fixed: Sequence[Case] = (),
) -> Rule:
    """A rule that decodes cases, some that are fixed and then drawn ones, with the part in its place."""

    def check_part(part: Any, examples: int) -> None:
        for case in fixed:
            check(part, replace(case, **{kind: part}))
        for_all(drawn, examples, lambda case: check(part, replace(case, **{kind: part})))

    return Rule(title, check_part)


def _check_again(part: Any, case: Case) -> None:
    with blamed(part, _RUNS, case):
        first, second = decode(case), decode(case)
    got = f"moves {first.moves}, and the second time {second.moves}"
    expect(first == second, part, "the same moves for the same seed", got, case)


def _check_alone(part: Any, case: Case) -> None:
    with blamed(part, _RUNS, case):
        together = decode(case)
        singles = [decode(replace(case, rows=[row])) for row in case.rows]
    for i, alone in enumerate(singles):
        got = f"row {i}: {together.moves[i]}, and alone {alone.moves[0]} (positions, tokens, positions reopened)"
        same = together.moves[i] == alone.moves[0]
        expect(same, part, "a row's moves that don't depend on the rows beside it", got, case)
