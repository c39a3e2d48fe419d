"""Lookaheads: what they attend to and write, how their moves are weighed, and when one is used again."""

from dataclasses import dataclass, replace

import pytest
import torch
from instruments import (
    INFO_GAIN,
    ROWS,
    Row,
    assert_predicts,
    both_shifts,
    entropy_of,
    every_cache,
    forgetting,
    one_layer,
    plain_logits,
    spy_on_trunk,
    watch,
)
from torch import Tensor
from toys import MASK, random_llama

import mdm_sampling as mdm
from mdm_sampling.planners.info_gain import distinct


@pytest.mark.defect(1)
@both_shifts
@pytest.mark.parametrize("cache", [mdm.PrefixCache(), mdm.DualCache()], ids=mdm.describe)
def test_a_lookahead_attends_to_every_position_once_at_its_own_position(
    look_back: int, cache: mdm.CacheStrategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block's first lookahead replaces the span's keys, neither adding to nor shifting them, so its keys and its
    logits are those of an uncached forward of the same candidates."""
    # Copied slots, whose keys stand in one tensor; tests/test_forks.py proves shared slots equal to them.
    backend = random_llama(layers=1, seed=7, look_back=look_back, shares_slots=False)
    attend = torch.nn.functional.scaled_dot_product_attention
    keys: list[Tensor] = []

    def spy(query: Tensor, key: Tensor, *args: object, **kwargs: object) -> Tensor:
        keys.append(key)
        return attend(query, key, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    forwards = spy_on_trunk(backend)
    sampler = mdm.Sampler(backend, planner=INFO_GAIN, cache=cache, block_size=4, steps=8)
    list(sampler.iterate(sampler.canvas(ROWS[:1])))
    assert len(keys) == len(forwards), "one layer, one attention call each"
    first_of_block = [
        (forward, key)
        for before, forward, key in zip(forwards, forwards[1:], keys[1:], strict=False)
        if forward.is_fork and not before.is_fork
    ]
    assert {forward.span.start for forward, _ in first_of_block} == {3, 7}
    for forward, key in first_of_block:
        assert key.shape[2] == forward.canvas.length
        expected = plain_logits(backend, forward.canvas)[:, forward.span.positions]
        with torch.no_grad():
            logits = backend.head(forward.hidden)
        logits[..., MASK] = -torch.inf
        torch.testing.assert_close(logits, expected, atol=1e-9, rtol=0)
        torch.testing.assert_close(key, torch.cat(keys[-forward.canvas.batch :]), atol=1e-9, rtol=0)


@pytest.mark.defect(2)
@every_cache
@pytest.mark.parametrize("scope", ["block", "canvas"])
def test_next_entropy_counts_only_masked_positions_that_were_recomputed(cache: mdm.CacheStrategy, scope: str) -> None:
    """H(a) is the mean entropy over the masked positions of the scope, and no position that was not computed enters
    it, with ln V or otherwise."""
    backend = one_layer()
    planner = replace(INFO_GAIN, scope=scope)
    sampler = mdm.Sampler(backend, planner=planner, cache=cache, block_size=4, steps=6)
    assert check_next_entropies(sampler, ROWS[:1], scope) >= 8


def check_next_entropies(sampler: mdm.Sampler, rows: list[Row], scope: str = "block") -> int:
    """Recompute H and J of every move that was looked at with plain forwards; the number of moves."""
    backend = sampler.backend
    assert isinstance(backend, mdm.TransformerBackend)
    moves = 0
    for moment in watch(sampler, rows):
        candidates, block, canvas = moment.record.candidates, moment.record.block, moment.canvas
        if candidates is None:
            continue
        seen = sampler.cache.span(block, canvas.length, 1) if scope == "canvas" else block
        best = torch.full(candidates.score.shape, -torch.inf, dtype=torch.float64)
        for n, row in (~candidates.next_entropy.isnan()).nonzero().tolist():
            one = torch.tensor([row])
            future = canvas.fork(one, block, candidates.unmask[n, one], candidates.tokens[n, one])
            masked = future.masked[0, seen.positions]
            after = entropy_of(plain_logits(backend, future)[0, seen.positions][masked]).mean()
            torch.testing.assert_close(candidates.next_entropy[n, row], after, atol=1e-9, rtol=0)
            now = entropy_of(plain_logits(backend, canvas)[row, block.positions])
            best[n, row] = -now[candidates.unmask[n, row]].sum() - after
            moves += 1
        assert torch.equal(best.argmax(0), candidates.chosen)
    return moves


@pytest.mark.defect(3)
@pytest.mark.parametrize("lookahead_batch", [None, 2])
def test_a_right_shifted_model_looks_ahead_under_the_dual_cache(lookahead_batch: int | None) -> None:
    """Several candidates of several rows share one dual-cache forward of a right-shifted model, each with its own
    keys and values."""
    sampler = mdm.Sampler(
        one_layer(look_back=1), planner=INFO_GAIN, cache=mdm.DualCache(), block_size=4, steps=6,
        lookahead_batch=lookahead_batch,
    )  # fmt: skip
    assert check_next_entropies(sampler, ROWS) >= 24
    assert all(MASK not in sequence for sequence in sampler.fill(ROWS).sequences)


@dataclass(frozen=True)
class LooksElsewhere(mdm.PositionPlanner):
    """Fills the most confident positions, but looks ahead at canvases with other tokens in them."""

    def plan(self, step: mdm.Step) -> mdm.Plan:
        plan = mdm.Confidence().plan(step)
        step.lookahead(torch.arange(len(plan.unmask)), plan.unmask, (step.tokens + 1) % MASK)
        return plan


@pytest.mark.defect(5)
@every_cache
@both_shifts
def test_a_reused_prediction_is_never_stale(cache: mdm.CacheStrategy, look_back: int) -> None:
    """A step reuses a lookahead only for the very canvas it was computed for, also after end tokens were filled in
    behind the planner's back."""
    backend = one_layer(look_back)
    rows: list[Row] = [([prompt], [MASK] * 8) for prompt in range(1, 6)]
    sampler = mdm.Sampler(
        backend, planner=INFO_GAIN, cache=cache, block_size=4, steps=8, eos="finish",
        token_sampler=mdm.GumbelMax(2.0), processors=(mdm.Penalise(by=-2.0),),
    )  # fmt: skip
    reused = ended = 0
    for moment in watch(sampler, rows):
        assert_predicts(backend, moment.step.prediction, moment.canvas, moment.record.block, penalty=-2.0)
        reused += moment.reused
        filled = moment.record.unmask.sum(1)
        ended += int((moment.record.finished & (moment.canvas.masked.sum(1) > filled)).sum())
    assert reused, "the case is about lookaheads that are used again"
    assert ended, "the case is about rows that an end token finishes early"
    sequences = sampler.fill(rows).sequences
    with forgetting():
        assert sampler.fill(rows).sequences == sequences
    plain = replace(sampler, planner=mdm.Confidence())
    assert replace(plain, planner=LooksElsewhere()).fill(rows).sequences == plain.fill(rows).sequences


@pytest.mark.defect(13)
def test_candidates_that_differ_only_in_tokens_are_both_weighed() -> None:
    """Two candidates are the same only if positions and tokens are, so the same positions with other tokens count
    twice."""
    unmask = torch.tensor([[1, 1, 0], [1, 1, 0], [1, 1, 0], [0, 1, 1]], dtype=torch.bool)[:, None]
    tokens = torch.tensor([[4, 5, 6], [4, 5, 7], [4, 6, 6], [4, 5, 6]])[:, None]
    assert distinct(unmask, tokens)[:, 0].tolist() == [True, False, True, True]

    sampler = mdm.Sampler(
        one_layer(), planner=replace(INFO_GAIN, candidates=12), token_sampler=mdm.GumbelMax(3.0), steps=2
    )
    candidates = next(sampler.iterate(sampler.canvas([([3], [MASK] * 3)]))).candidates
    assert candidates is not None
    weighed = ~candidates.next_entropy[:, 0].isnan()
    moves = [
        tuple(
            (position, int(candidates.tokens[n, 0, position]))
            for position in candidates.unmask[n, 0].nonzero()[:, 0].tolist()
        )
        for n in range(12)
    ]
    kept = [move for move, looked in zip(moves, weighed.tolist(), strict=True) if looked]
    assert len(kept) == len(set(kept)) == len(set(moves))
    assert len({tuple(position for position, _ in move) for move in kept}) < len(kept), "some share their positions"


@pytest.mark.defect(17)
@every_cache
@both_shifts
def test_a_lookahead_writes_no_slot(cache: mdm.CacheStrategy, look_back: int) -> None:
    """Only the step's own forward writes keys and values; a lookahead leaves them as they are, also one with a
    single candidate, which nothing forces to copy."""
    backend = one_layer(look_back)
    forwards = spy_on_trunk(backend)
    sampler = mdm.Sampler(backend, planner=INFO_GAIN, cache=cache, block_size=4, steps=8)
    for batch in (None, 1):
        sampler = replace(sampler, lookahead_batch=batch)
        list(sampler.iterate(sampler.canvas(ROWS[:2])))
    forks = [forward for forward in forwards if forward.is_fork]
    assert any(forward.canvas.batch == 1 for forward in forks)
    assert any(forward.slots_before for forward in forks) == cache.reads_slots
    for fork in forks:
        assert all(torch.equal(a, b) for a, b in zip(fork.slots_before, fork.slots_after, strict=True))
