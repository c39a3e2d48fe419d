"""Rules that all parts of a sampler share: the same again, and the same alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .cases import Case, cases, decode
from .rules import Rule, blamed, expect, for_all

RUNS = "a run that comes to its end"


def same_again(kind: str) -> Rule:
    """Equal seeds give equal moves.

    Args:
        kind: the field of a `Case` that the part under test takes.
    """

    def check_part(part: Any, examples: int) -> None:
        def check(case: Case) -> None:
            case = replace(case, **{kind: part})
            with blamed(part, RUNS, case):
                first, second = decode(case), decode(case)
            got = f"moves {first.moves}, and the second time {second.moves}"
            expect(first == second, part, "the same moves for the same seed", got, case)

        for_all(cases(), examples, check)

    return Rule("draws the same again from the same seed", check_part)


def same_alone(kind: str) -> Rule:
    """A row gets in a batch what it gets alone.

    Args:
        kind: the field of a `Case` that the part under test takes.
    """

    def check_part(part: Any, examples: int) -> None:
        def check(case: Case) -> None:
            case = replace(case, **{kind: part})
            with blamed(part, RUNS, case):
                together = decode(case)
                singles = [decode(replace(case, rows=[row])) for row in case.rows]
            for i, alone in enumerate(singles):
                got = f"row {i}: {together.moves[i]}, and alone {alone.moves[0]} (places, tokens, places reopened)"
                same = together.moves[i] == alone.moves[0]
                expect(same, part, "a row's moves that don't depend on the rows beside it", got, case)

        for_all(cases().filter(lambda case: len(case.rows) > 1), examples, check)

    return Rule("treats each row as if it were alone", check_part)
