"""Batches of rows that differ: each row is planned and predicted as if it were alone, whatever its padding holds."""

from dataclasses import replace

import pytest
import torch
from instruments import INFO_GAIN, ROWS, Row, assert_predicts, both_shifts, every_cache, one_layer, watch
from toys import MASK

import mdm_sampling as mdm


@pytest.mark.defect(10)
@every_cache
@both_shifts
def test_rows_of_a_batch_are_planned_one_by_one(cache: mdm.CacheStrategy, look_back: int) -> None:
    """Rows with prompts of different lengths get their own positions, quotas and candidates, also when there are as
    many candidates as rows."""
    sampler = mdm.Sampler(one_layer(look_back), cache=cache, block_size=4, steps=6)
    rows: list[Row] = [*ROWS[:2], ([9, 8, 7, 6, 5], [MASK] * 3 + [2] + [MASK] * 4)]
    for planner in (mdm.Confidence(), replace(INFO_GAIN, candidates=3), mdm.Bypass(0.3, INFO_GAIN)):
        sampler = replace(sampler, planner=planner)
        together = sampler.fill(rows, [1, 2, 3])
        first = next(sampler.iterate(sampler.canvas(rows), [1, 2, 3])).unmask
        assert len({tuple(positions) for positions in first.tolist()}) > 1, (
            "the case is about rows that fill other positions"
        )
        for i, row in enumerate(rows):
            alone = sampler.fill([row], i + 1)
            assert together.sequences[i] == alone.sequences[0]
            assert MASK not in together.sequences[i]
            assert together.rows[i].steps == alone.rows[0].steps
            assert together.rows[i].cumulative_entropy == pytest.approx(alone.rows[0].cumulative_entropy, abs=1e-9)


@pytest.mark.defect(10)
@pytest.mark.parametrize(
    ("planner", "rows"),
    [
        (INFO_GAIN, [([], [MASK] * 4), ([], [MASK] * 3)]),
        (mdm.Random(), [([], [MASK] * 4), ([], [MASK] * 3)]),
        (INFO_GAIN, [([], [MASK, 1, 1, 1] + [MASK] * 4), ([], [MASK] * 8)]),
        (mdm.Bypass(0.5, INFO_GAIN), [([3], [MASK] * 8), ([4], [MASK] * 8), ([5], [MASK] * 8)]),
        (mdm.Defer(INFO_GAIN, ids=(3, 8, 11)), [([3], [MASK] * 8), ([4], [MASK] * 8), ([5], [MASK] * 8)]),
    ],
    ids=["shorter-last-block", "shorter-last-block-random", "no-choice-left", "bypassed", "deferred"],
)
def test_a_rows_draws_do_not_depend_on_its_neighbours(planner: mdm.PositionPlanner, rows: list[Row]) -> None:
    """A row with the same seed gets the same tokens alone and beside rows that are wider, that still have a choice
    or that no wrapper decided."""
    sampler = mdm.Sampler(
        one_layer(look_back=1), planner=planner, block_size=4, steps=6, token_sampler=mdm.GumbelMax(2.0)
    )
    for seed in range(3):
        together = sampler.fill(rows, seed)
        alone = [sampler.fill([row], seed) for row in rows]
        assert together.sequences == [one.sequences[0] for one in alone]


@pytest.mark.defect(11)
@every_cache
@both_shifts
def test_left_padding_works_under_every_cache(cache: mdm.CacheStrategy, look_back: int) -> None:
    """A cached forward keeps the keys and the mask columns of the whole canvas, so left-padded rows predict what
    they predict alone, step by step and in every lookahead."""
    backend = one_layer(look_back)
    rows: list[Row] = [*ROWS[:2], ([], [MASK] * 6)]
    sampler = mdm.Sampler(backend, planner=INFO_GAIN, cache=cache, block_size=4, steps=8)
    assert sampler.canvas(rows).padded
    looked = 0
    for moment in watch(sampler, rows):
        assert_predicts(backend, moment.step.prediction, moment.canvas, moment.record.block)
        for lookahead in moment.lookaheads:
            assert_predicts(backend, lookahead.prediction, lookahead.futures, moment.record.block)
            looked += len(lookahead.rows)
    assert looked > 15


@pytest.mark.defect(19)
@every_cache
@both_shifts
def test_padding_is_not_attended_to(cache: mdm.CacheStrategy, look_back: int) -> None:
    """What lies in the padding changes no prediction and no result: the attention mask reaches every forward."""
    backend = one_layer(look_back)
    sampler = mdm.Sampler(backend, planner=INFO_GAIN, cache=cache, block_size=4, steps=6)
    canvas = sampler.canvas([*ROWS[:2], ([], [MASK] * 5)])
    other = replace(canvas, tokens=torch.where(canvas.valid, canvas.tokens, 11))
    assert not torch.equal(canvas.tokens, other.tokens)
    for one, two in zip(watch(sampler, canvas), watch(sampler, other), strict=True):
        a, b = one.step.prediction, two.step.prediction
        torch.testing.assert_close(a.logits(a.masked), b.logits(b.masked), atol=1e-12, rtol=0)
        assert torch.equal(one.record.tokens, two.record.tokens)
        for x, y in zip(one.lookaheads, two.lookaheads, strict=True):
            torch.testing.assert_close(x.prediction.entropy, y.prediction.entropy, atol=1e-12, rtol=0)
