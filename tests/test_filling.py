"""Masks: any canvas is filled, within its steps, and never with the mask itself."""

from dataclasses import dataclass

import pytest
import torch
from instruments import INFO_GAIN, ROWS, Row, both_shifts, entropy_of, every_cache, every_planner, one_layer, table_of
from toys import MASK, scripted

import mdm_sampling as mdm


@pytest.mark.defect(15)
@every_planner
@pytest.mark.parametrize("token_sampler", [mdm.Greedy(), mdm.GumbelMax(1.5), mdm.GumbelMax(top_k=1)], ids=mdm.describe)
def test_the_mask_is_never_predicted(planner: mdm.PositionPlanner, token_sampler: mdm.TokenSampler) -> None:
    """The mask has no probability, even where its logit is by far the largest, so it is neither written nor counted
    in any confidence or entropy."""
    table = table_of(*[{1: 0.5, 2: 0.3}] * 6)
    table[:, 5] = 40.0
    sampler = mdm.Sampler(
        scripted(table, mask_id=5, eos_ids=(0,)), planner=planner, token_sampler=token_sampler, block_size=3, steps=6
    )
    result = sampler.fill([([], [5] * 6)])
    entropy = entropy_of(table[0, :5])
    assert 5 not in result.sequences[0]
    assert result.rows[0].cumulative_entropy == pytest.approx(6 * float(entropy), abs=1e-6)
    for record in sampler.iterate(sampler.canvas([([], [5] * 6)])):
        p = table[0, :5].softmax(-1)[record.tokens[record.unmask]]
        torch.testing.assert_close(record.confidence[record.unmask], p, atol=1e-6, rtol=0)
        if record.candidates is not None:
            after = record.candidates.next_entropy
            assert after[~after.isnan()].tolist() == pytest.approx([float(entropy)] * int((~after.isnan()).sum()))


@pytest.mark.defect(15)
def test_a_planner_cannot_write_the_mask_either() -> None:
    """A planner that fills a position with the mask is an error that names it, not a loop that stalls."""

    @dataclass(frozen=True)
    class WritesMasks(mdm.PositionPlanner):
        def plan(self, step: mdm.Step) -> mdm.Plan:
            return mdm.Plan(unmask=step.masked, tokens=torch.full_like(step.tokens, MASK))

    sampler = mdm.Sampler(one_layer(), planner=WritesMasks())
    with pytest.raises(mdm.ContractError, match="WritesMasks"):
        next(sampler.iterate(sampler.canvas(ROWS)))


@pytest.mark.defect(16)
@every_cache
@both_shifts
def test_masks_anywhere_are_filled_and_nothing_is_generated(cache: mdm.CacheStrategy, look_back: int) -> None:
    """Any canvas with masks can be filled, without one position generated after it."""
    sampler = mdm.Sampler(one_layer(look_back), planner=INFO_GAIN, cache=cache, block_size=3, steps=4)
    rows: list[Row] = [([], [1, MASK, 2, 3, 4, 5, MASK, 6]), ([], [MASK, 7]), ([8], [9, 9, 9, 9, MASK])]
    for (prefix, body), sequence in zip(rows, sampler.fill(rows).sequences, strict=True):
        assert len(sequence) == len(prefix + body)
        assert MASK not in sequence
        given = [(i, token) for i, token in enumerate(prefix + body) if token != MASK]
        assert all(sequence[i] == token for i, token in given)


@pytest.mark.defect(23)
@pytest.mark.parametrize("planner", [mdm.Confidence(), mdm.InfoGain(candidates=3)], ids=mdm.describe)
@pytest.mark.parametrize(
    ("length", "block_size", "steps", "filled"),
    [
        (16, 16, 8, [2] * 8),
        (16, 8, 4, [4] * 4),
        (20, 8, 20, [1] * 20),
        (20, 8, 10, [2] * 10),
        (20, 8, 3, [8, 8, 4]),
        (7, 7, 3, [3, 2, 2]),
        (5, 8, 1, [5]),
    ],
)
def test_steps_are_honoured_and_the_last_block_may_be_shorter(
    planner: mdm.PositionPlanner, length: int, block_size: int, steps: int, filled: list[int]
) -> None:
    """The quota is what is left over the steps left, and a length that is not a multiple of the block's leaves no
    tail."""
    sampler = mdm.Sampler(one_layer(), planner=planner, max_new_tokens=length, block_size=block_size, steps=steps)
    canvas = sampler.canvas([([3, 4], [MASK] * length)])
    records = list(sampler.iterate(canvas))
    assert [int(record.unmask.sum()) for record in records] == filled
    assert not records[-1].canvas.masked.any()


@pytest.mark.defect(25)
@pytest.mark.parametrize(
    ("schedule", "filled"),
    [("uniform", [2, 2, 2, 1, 1]), ("linear", [1, 1, 2, 2, 2]), ("cosine", [1, 2, 2, 2, 1])],
)
def test_the_schedule_is_used(schedule: str, filled: list[int]) -> None:
    """Each schedule that is offered decides how many positions a step fills."""
    chosen = mdm.build("schedules", schedule)
    sampler = mdm.Sampler(one_layer(), planner=mdm.Confidence(), schedule=chosen, block_size=8, steps=5)
    assert [int(record.unmask.sum()) for record in sampler.iterate(sampler.canvas(ROWS[:1]))] == filled
