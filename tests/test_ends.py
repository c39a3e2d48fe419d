"""End tokens: deferred ones are still written, and one ends a row only if asked."""

from dataclasses import replace

import pytest
from instruments import entropy_of, table_of
from toys import scripted

import mdm_sampling as mdm


@pytest.mark.defect(14)
@pytest.mark.parametrize(
    "otherwise", [mdm.Confidence(), mdm.Bypass(0.6), mdm.InfoGain(candidates=3), mdm.LeftToRight()], ids=mdm.describe
)
def test_deferring_end_tokens_does_not_ban_them(otherwise: mdm.PositionPlanner) -> None:
    """Deferred end tokens wait until no other position is left and are then written; their logits stay as they are."""
    end, word = {0: 0.9}, {1: 0.5}
    table = table_of(end, word, end, word, word, end)
    sampler = mdm.Sampler(scripted(table, mask_id=5, eos_ids=(0,)), planner=mdm.Defer(otherwise), block_size=6, steps=6)
    result = sampler.fill([([], [5] * 6)])
    assert result.sequences == [[0, 1, 0, 1, 1, 0]]
    written = [token for r in sampler.iterate(sampler.canvas([([], [5] * 6)])) for token in r.tokens[r.unmask].tolist()]
    assert written == [1, 1, 1, 0, 0, 0]
    assert result.rows[0].cumulative_entropy == pytest.approx(float(entropy_of(table[:, :5]).sum()), abs=1e-6)
    ends = mdm.Sampler(scripted(table[[0, 0]], mask_id=5, eos_ids=(0,)), planner=mdm.Defer(otherwise), steps=2)
    assert ends.fill([([], [5, 5])]).sequences == [[0, 0]]


@pytest.mark.defect(22)
def test_an_end_token_ends_a_row_only_if_asked_and_only_once_all_before_it_is_final() -> None:
    """EOS handling is off by default; when on, any of the model's end tokens ends a row, but an early one out of
    order truncates neither its block nor later blocks before everything to its left is final."""
    word, end, turn_end = {2: 0.5}, {0: 0.99}, {1: 0.99}
    table = table_of(word, word, word, turn_end, word, end, word, word, vocab=6)
    off = mdm.Sampler(scripted(table, mask_id=5, eos_ids=(0, 1)), planner=mdm.Confidence(), block_size=5, steps=8)
    assert off.fill([([], [5] * 8)]).sequences == [[2, 2, 2, 1, 2, 0, 2, 2]]

    on = replace(off, eos="finish")
    records = list(on.iterate(on.canvas([([], [5] * 8)])))
    assert [record.canvas.row(0) for record in records] == [
        [5, 5, 5, 1, 5, 5, 5, 5],
        [2, 5, 5, 1, 5, 5, 5, 5],
        [2, 2, 5, 1, 5, 5, 5, 5],
        [2, 2, 2, 1, 0, 0, 0, 0],
    ]
    # An end token that was given, in the prompt or in a text to fill, ends nothing.
    wide = replace(on, backend=scripted(table_of(*[word] * 10), mask_id=5, eos_ids=(0, 1)))
    assert wide.fill([([0, 1], [5, 0, 5, 5, 1, 5, 5, 5])]).sequences == [[0, 1, 2, 0, 2, 2, 1, 2, 2, 2]]
