"""Processors: a penalty counts once, and every prediction passes the same ones."""

from dataclasses import replace

import pytest
from instruments import INFO_GAIN, ROWS, assert_predicts, both_shifts, every_cache, one_layer, watch
from toys import EOS

import mdm_sampling as mdm


@pytest.mark.defect(6)
@pytest.mark.parametrize(
    ("ids", "eos_ids"), [((), (EOS, EOS)), ((EOS, EOS), (EOS,)), ((), (EOS,))], ids=["eos==pad", "twice", "once"]
)
def test_a_penalty_counts_once_for_each_id(ids: tuple[int, ...], eos_ids: tuple[int, ...]) -> None:
    """A penalty on end and pad tokens is off by default and lowers an id once, also if both are the same token."""
    backend = one_layer()
    backend.eos_ids = eos_ids
    sampler = mdm.Sampler(backend, planner=mdm.Confidence(), block_size=4, steps=4)
    for moment in watch(sampler, ROWS):
        assert_predicts(backend, moment.step.prediction, moment.canvas, moment.record.block)
    for moment in watch(replace(sampler, processors=(mdm.Penalise(ids=ids, by=4.0),)), ROWS):
        assert_predicts(backend, moment.step.prediction, moment.canvas, moment.record.block, penalty=4.0)


@pytest.mark.defect(7)
@every_cache
@both_shifts
def test_lookaheads_pass_the_same_processors(cache: mdm.CacheStrategy, look_back: int) -> None:
    """The step's prediction, each lookahead and each reused prediction pass the same processors."""
    backend = one_layer(look_back)
    sampler = mdm.Sampler(
        backend, planner=INFO_GAIN, cache=cache, block_size=4, steps=8, processors=(mdm.Penalise(by=3.0),)
    )
    looked = reused = 0
    for moment in watch(sampler, ROWS[:2]):
        block = moment.record.block
        assert_predicts(backend, moment.step.prediction, moment.canvas, block, penalty=3.0)
        for lookahead in moment.lookaheads:
            assert_predicts(backend, lookahead.prediction, lookahead.futures, block, penalty=3.0)
            looked += 1
        reused += moment.reused
    assert looked
    assert reused
