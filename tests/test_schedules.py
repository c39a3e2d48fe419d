"""Schedules: how many positions each step fills."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import schedules

import mdm_sampling as mdm


def run(schedule: mdm.Schedule, masked: int, steps: int) -> list[int]:
    """The quotas of a block as the loop applies them."""
    filled = []
    for step in range(steps):
        if masked:
            asked = int(schedule.quota(torch.tensor([masked]), step, torch.tensor([steps])))
            quota = masked if step == steps - 1 else min(max(asked, 1), masked)
            filled.append(quota)
            masked -= quota
    assert masked == 0
    return filled


@pytest.mark.parametrize(
    ("schedule", "masked", "steps", "expected"),
    [
        (mdm.Uniform(), 10, 4, [3, 3, 2, 2]),
        (mdm.Uniform(), 8, 4, [2, 2, 2, 2]),
        (mdm.Uniform(), 3, 8, [1, 1, 1]),
        (mdm.Uniform(), 7, 1, [7]),
        (mdm.Linear(), 10, 4, [2, 2, 3, 3]),
        (mdm.Linear(), 8, 4, [2, 2, 2, 2]),
        (mdm.Cosine(), 32, 4, [3, 7, 11, 11]),
        (mdm.Constant(2), 7, 8, [2, 2, 2, 1]),
        (mdm.Constant(3), 9, 2, [3, 6]),  # too few steps: the last fills the rest
    ],
    ids=str,
)
def test_quotas(schedule: mdm.Schedule, masked: int, steps: int, expected: list[int]) -> None:
    assert run(schedule, masked, steps) == expected


@given(schedule=schedules, masked=st.integers(1, 200), steps=st.integers(1, 300), step=st.integers(0, 299))
def test_a_quota_is_a_sane_number(schedule: mdm.Schedule, masked: int, steps: int, step: int) -> None:
    quota = schedule.quota(torch.tensor([masked]), step, torch.tensor([steps]))
    assert quota.dtype == torch.long
    assert step >= steps or 0 <= int(quota) <= masked or isinstance(schedule, mdm.Constant)


@given(masked=st.integers(1, 200), steps=st.integers(1, 200))
def test_cosine_starts_slower_than_uniform(masked: int, steps: int) -> None:
    assert run(mdm.Cosine(), masked, steps)[0] <= run(mdm.Uniform(), masked, steps)[0]


def test_rows_have_their_own_quotas() -> None:
    quota = mdm.Uniform().quota(torch.tensor([10, 3, 8]), 0, torch.tensor([4, 4, 2]))
    assert quota.tolist() == [3, 1, 4]
