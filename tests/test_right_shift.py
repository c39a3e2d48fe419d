"""Right-shifted models, as Dream: a block's first position is a position like any other."""

from dataclasses import replace

import pytest
import torch
from instruments import ROWS, RightToLeft, Row, every_cache, one_layer, spy_on_trunk, watch
from toys import EOS, MASK

import mdm_sampling as mdm


@pytest.mark.defect(8)
@every_cache
def test_a_blocks_first_position_is_filled_when_the_planner_says_so(cache: mdm.CacheStrategy) -> None:
    """A right-shifted model's first position of a block is an ordinary position for planner and bypass, and a block
    or row without masks costs no forward and is not written to."""
    backend = one_layer(look_back=1)
    sampler = mdm.Sampler(backend, planner=RightToLeft(), cache=cache, block_size=4, steps=12)
    order = [record.unmask.nonzero()[:, 1].tolist() for record in sampler.iterate(sampler.canvas(ROWS[:1]))]
    assert order == [[3], [2], [1], [0]] * 2

    sure = replace(sampler, planner=mdm.Bypass(1e-6, RightToLeft()))
    records = list(sure.iterate(sure.canvas(ROWS[:1])))
    assert [int(record.unmask.sum()) for record in records] == [4, 4], "the first position may be bypassed as well"

    forwards = spy_on_trunk(backend)
    row: Row = ([3], [MASK] * 4 + [1, 2, EOS, 4] + [MASK] * 4)
    (sequence,) = sampler.fill([row]).sequences
    assert sequence[5:9] == [1, 2, EOS, 4]
    assert len(forwards) == 8, "one forward for each masked position, none for the block without masks"
    assert sampler.fill([row, ROWS[0]]).rows[0].forwards == 8

    forwards.clear()
    early = replace(sampler, processors=(mdm.Penalise(by=-1e3),), eos="finish", planner=mdm.LeftToRight())
    (sequence,) = early.fill(ROWS[:1]).sequences
    assert sequence[3:] == [EOS] * 8
    assert len(forwards) == 1, "the end token at the first position finished this block and the next"


@pytest.mark.defect(12)
@every_cache
def test_a_blocks_first_position_is_predicted_by_the_position_before_it(cache: mdm.CacheStrategy) -> None:
    """In a right-shifted model the hidden state at s - 1 predicts position s in every forward, cached or not, and a
    row's very first position uses its own."""
    backend = one_layer(look_back=1)
    sampler = mdm.Sampler(backend, planner=RightToLeft(), cache=cache, block_size=4, steps=8)
    starts: dict[int, int] = {}
    for moment in watch(sampler, [([], [MASK] * 8), ([4, 2], [MASK] * 8)]):
        block = moment.record.block
        logits = moment.step.prediction.logits(moment.step.masked & (torch.arange(len(block)) == 0))
        for i in range(moment.canvas.batch):
            tokens = torch.tensor([moment.canvas.row(i)])
            with torch.no_grad():
                out = backend.model(input_ids=tokens, use_cache=False, is_causal=False).logits[0]
            first = block.start - int((~moment.canvas.valid[i]).sum())
            expected = out[max(first - 1, 0)]
            expected[MASK] = -torch.inf
            torch.testing.assert_close(logits[i], expected, atol=1e-9, rtol=0)
        starts[block.start] = starts.get(block.start, 0) + 1
    assert starts == {2: 4, 6: 4}, "the first position of each block is there at entry and after each commit"
