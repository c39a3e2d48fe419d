"""What holds for every planner: its own rule, the same blocks under every cache, and one count of entropy."""

from dataclasses import replace
from math import log

import pytest
import torch
from instruments import (
    CACHES,
    ROWS,
    both_shifts,
    entropy_of,
    every_cache,
    every_planner,
    one_layer,
    plain_logits,
    table_of,
    watch,
)
from toys import scripted

import mdm_sampling as mdm
from mdm_sampling.canvas import Span


@pytest.mark.defect(20)
@every_planner
@both_shifts
def test_every_cache_decodes_the_same_blocks_on_the_same_schedule(planner: mdm.PositionPlanner, look_back: int) -> None:
    """A cache changes what is recomputed and nothing else: blocks, steps and quotas are those of no cache, and for
    a model in which nothing goes stale so is the result."""
    sampler = mdm.Sampler(one_layer(look_back), planner=planner, block_size=3, steps=5)
    runs, results = [], []
    for cache in CACHES:
        cached = replace(sampler, cache=cache)
        records = list(cached.iterate(cached.canvas(ROWS[:2])))
        runs.append([(r.block, r.rows.tolist(), r.unmask.sum(1).tolist()) for r in records])
        results.append(records[-1].canvas.tokens.tolist())
    assert runs[0] == runs[1] == runs[2]
    assert results[0] == results[1] == results[2]
    assert {block for block, _, _ in runs[0]} == {Span(3, 6), Span(6, 9), Span(9, 11)}


@pytest.mark.defect(26)
def test_each_baseline_runs_and_is_itself() -> None:
    """Every baseline that can be named runs and follows its own rule; none stands in for another."""
    vocab = 13
    flat: dict[int, float] = {}
    surest, widest_margin, sharpest = {1: 0.5, 2: 0.4}, {1: 0.45}, {1: 0.48, 2: 0.47, 3: 0.05}
    table = table_of(flat, surest, widest_margin, sharpest, vocab=vocab)
    entropies = entropy_of(table[:, : vocab - 1])
    assert entropies.argmin() == 3
    assert float(entropies[0]) == pytest.approx(log(vocab - 1))
    first = {}
    for name in ("left-to-right", "confidence", "margin", "entropy", "random", "info-gain", "bypass"):
        sampler = mdm.Sampler(
            scripted(table, mask_id=vocab - 1), planner=mdm.build("planners", name), block_size=4, steps=4
        )
        canvas = sampler.canvas([([], [vocab - 1] * 4)])
        first[name] = int(next(sampler.iterate(canvas)).unmask.nonzero()[0, 1])
        result = sampler.fill([([], [vocab - 1] * 4)])
        assert vocab - 1 not in result.sequences[0]
    assert [first[name] for name in ("left-to-right", "confidence", "margin", "entropy")] == [0, 1, 2, 3]
    sampler = replace(sampler, planner=mdm.Random())
    positions = {int(next(sampler.iterate(canvas, seed)).unmask.nonzero()[0, 1]) for seed in range(20)}
    assert positions == {0, 1, 2, 3}


@pytest.mark.defect(27)
@every_planner
@every_cache
def test_no_quota_goes_to_another_block(planner: mdm.PositionPlanner, cache: mdm.CacheStrategy) -> None:
    """Every planner's positions lie in the current block, however attractive later blocks are, so that no block
    keeps masks."""
    table = table_of(*[{1: 0.35 + 0.04 * i} for i in range(16)])
    sampler = mdm.Sampler(scripted(table, mask_id=5, eos_ids=(0,)), planner=planner, cache=cache, block_size=4, steps=8)
    canvas = sampler.canvas([([], [5] * 16)])
    for record in sampler.iterate(canvas):
        assert not record.canvas.masked[:, : record.block.start].any()
        assert record.canvas.masked[:, record.block.stop :].all()
        assert record.unmask.any()
        canvas = record.canvas
    assert not canvas.masked.any()


@pytest.mark.defect(29)
@every_planner
@pytest.mark.parametrize(("cache", "look_back"), [(mdm.PrefixCache(), 0), (mdm.DualCache(), 1)], ids=["prefix", "dual"])
def test_cumulative_entropy_counts_every_position_once(
    planner: mdm.PositionPlanner, cache: mdm.CacheStrategy, look_back: int
) -> None:
    """The reported cumulative entropy is the sum, over all positions and for every planner alike, of the entropy
    when the position was filled, by bypass, lookahead or last step, at a block's entry or later."""
    backend = one_layer(look_back)
    sampler = mdm.Sampler(backend, planner=planner, cache=cache, block_size=4, steps=6)
    totals = torch.zeros(2, dtype=torch.float64)
    counted = torch.zeros(2, dtype=torch.long)
    for moment in watch(sampler, ROWS[:2], seed=5):
        rows = moment.record.rows
        filled = moment.canvas.masked & ~moment.record.canvas.select(rows).masked
        entropy = entropy_of(plain_logits(backend, moment.canvas))
        totals[rows] += torch.where(filled, entropy, 0).sum(1)
        counted[rows] += filled.sum(1)
    assert counted.tolist() == [8, 8]
    reported = [row.cumulative_entropy for row in sampler.fill(ROWS[:2], 5).rows]
    assert reported == pytest.approx(totals.tolist(), abs=1e-8)
