"""The bypass: sure positions are filled at once, without a lookahead, and no mask is left."""

import pytest
import torch
from instruments import INFO_GAIN, one_layer, plain_logits, table_of, watch
from toys import MASK, scripted

import mdm_sampling as mdm


@pytest.mark.defect(4)
@pytest.mark.parametrize("steps", [1, 4, 8, 16])
@pytest.mark.parametrize("threshold", [0.3, 0.6])
@pytest.mark.parametrize("otherwise", [mdm.Confidence(), INFO_GAIN], ids=mdm.describe)
def test_a_bypass_fills_all_sure_positions_at_once_and_leaves_no_mask(
    steps: int, threshold: float, otherwise: mdm.PositionPlanner
) -> None:
    """All positions that reach the threshold are filled at once, whatever the quota, the quota is planned again
    from what is left, and no mask stays. Only a block's last step fills the others as well."""
    backend = one_layer()
    planner = mdm.Bypass(threshold, otherwise)
    for block_size in (16, 8):
        sampler = mdm.Sampler(backend, planner=planner, block_size=block_size, steps=steps)
        canvas = sampler.canvas([([3, 1], [MASK] * 16), ([5], [MASK] * 16)])
        bypassed = 0
        for moment in watch(sampler, canvas):
            position = moment.record.block.positions
            top = plain_logits(backend, moment.canvas).softmax(-1).amax(-1)[:, position]
            sure = moment.canvas.masked[:, position] & (top >= threshold)
            for row in sure.any(1).nonzero()[:, 0].tolist():
                filled = moment.canvas.masked[row, position] if moment.step.is_last[row] else sure[row]
                assert torch.equal(moment.record.unmask[row], filled)
                bypassed += 1
            canvas = moment.record.canvas
        assert bypassed
        assert not canvas.masked.any()


@pytest.mark.defect(4)
def test_a_bypass_saves_steps() -> None:
    """Of 16 positions 10 are sure: they take one step together and the others one each."""
    sure, unsure = {1: 0.95}, {1: 0.4}
    table = table_of(*[sure if i % 3 else unsure for i in range(16)])
    for otherwise in (mdm.Confidence(), mdm.InfoGain(candidates=3)):
        sampler = mdm.Sampler(scripted(table, mask_id=5), planner=mdm.Bypass(0.8, otherwise), block_size=16, steps=16)
        result = sampler.fill([([], [5] * 16)])
        assert result.rows[0].steps == 1 + 6
        assert 5 not in result.sequences[0]


@pytest.mark.defect(25)
def test_one_sure_position_is_enough_for_the_bypass() -> None:
    """Any position that reaches the threshold is filled without lookahead, not only when all of them do."""
    table = table_of({1: 0.3}, {1: 0.3}, {2: 0.95}, {1: 0.3}, {1: 0.3})
    planner = mdm.Bypass(0.9, mdm.InfoGain(candidates=4, position_temperature=1.0))
    sampler = mdm.Sampler(scripted(table, mask_id=5), planner=planner, block_size=5, steps=2)
    first, second, *_ = watch(sampler, [([], [5] * 5)])
    assert first.record.unmask.tolist() == [[False, False, True, False, False]]
    assert first.lookaheads == []
    assert first.record.forwards.tolist() == [1]
    assert not second.record.unmask[0, 2]
