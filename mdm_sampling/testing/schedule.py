"""What a schedule must hold."""

from __future__ import annotations

from dataclasses import replace

import torch
from hypothesis import strategies as st

from ..contract import check_quota
from ..schedules import Schedule
from .cases import Case, cases, decode
from .guards import guarded
from .repeats import same_alone
from .rules import EXAMPLES, VALUE, Rule, blamed, expect, for_all, run_rules


def check_schedule(schedule: Schedule, examples: int = EXAMPLES) -> None:
    """Raise `ConformanceError` unless a schedule keeps its contract."""
    run_rules(RULES, Schedule, schedule, examples)


_rows = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 60), st.integers(1, 50)), min_size=1, max_size=4)


def _check_quotas(schedule: Schedule, examples: int) -> None:
    """A whole number for each row, which depends on that row alone; nothing changed that was given."""

    def check(case: list[tuple[int, int, int]]) -> None:
        masked, taken, steps = given = [torch.tensor(column) for column in zip(*case, strict=True)]
        shown = dict(zip(("masked", "step", "steps"), given, strict=True))
        with (
            blamed(schedule, "int64 [b]", case),
            guarded(schedule, shown, "nowhere: a schedule is not a place for it", case),
        ):
            quota = check_quota(schedule, schedule.quota(masked, taken, steps), masked)
            again = schedule.quota(masked, taken, steps)
            alone = [schedule.quota(*(each[i : i + 1] for each in given)) for i in range(len(case))]
        expect(torch.equal(quota, again), schedule, "the same quota when asked again", f"{quota}, then {again}", case)
        same = torch.equal(quota, torch.cat(alone))
        expect(same, schedule, "a row's quota depends on that row alone", f"{quota}, alone {alone}", case)

    for_all(_rows, examples * 4, check)


def _check_runs(schedule: Schedule, examples: int) -> None:
    """Every run comes to its end."""

    def check(case: Case) -> None:
        with blamed(schedule, "a run that comes to its end", case):
            decode(replace(case, schedule=schedule))

    for_all(cases(), examples, check)


RULES = (
    VALUE,
    Rule("asks each row for a whole number of positions that depends on that row alone", _check_quotas),
    Rule("lets every run come to its end", _check_runs),
    same_alone("schedule"),
)
