"""Info-Gain against brute force: fresh forwards of every candidate canvas, without cache, batch or reuse."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from instruments import forgetting
from strategies import caches, info_gains, rows, samplers, untied_rows
from toys import MASK, ToyModel, scripted, toy_callable, toy_transformer

import mdm_sampling as mdm
from mdm_sampling.planners.info_gain import distinct
from mdm_sampling.records import StepRecord

Rows = list[tuple[list[int], list[int]]]


def entropies(model: ToyModel, canvas: mdm.Canvas) -> torch.Tensor:
    logits = model(canvas.tokens, canvas.valid)
    logits[..., MASK] = -torch.inf
    return torch.special.entr(logits.softmax(-1)).sum(-1) * canvas.masked


def brute_force(
    model: ToyModel, before: mdm.Canvas, record: StepRecord, i: int, n: int, scope: str
) -> tuple[float, float, int]:
    """(C, H, positions left) of candidate n in the record's row i: entropies before the move, and their mean after
    it.
    """
    assert record.candidates is not None
    row, block = record.rows[i : i + 1], record.block
    move = record.candidates.unmask[n, i : i + 1]
    now = before.select(row)
    cost = (entropies(model, now)[:, block.positions] * move).sum()
    later = now.commit(block, move, record.candidates.tokens[n, i : i + 1])
    seen = block.positions if scope == "block" else slice(0, later.length)
    left = later.masked[:, seen]
    return float(cost), float(entropies(model, later)[:, seen].sum() / left.sum()), int(left.sum())


def objective(planner: mdm.InfoGain, cost: float, after: float, left: int, filled: int) -> float:
    if planner.variant == "lookum":
        return -after
    return -cost - {"mean": 1, "half-step": filled / 2, "step": filled, "sum": left}[planner.future] * after


@settings(max_examples=150)
@given(
    planner=info_gains.filter(lambda p: p.candidates > 1 and p.position_temperature > 0),
    data=st.data(),
    rows=rows,
    seed=st.integers(0, 5),
)
def test_the_winner_has_the_largest_j_by_brute_force(
    planner: mdm.InfoGain, data: st.DataObject, rows: Rows, seed: int
) -> None:
    sampler = data.draw(
        samplers(planner=planner, backend=toy_callable(), cache=mdm.NoCache(), processors=(), eos="off")
    )
    model = ToyModel()
    before = sampler.canvas(rows)
    for record in sampler.iterate(before, seed):
        tried = record.candidates
        if tried is not None:
            for i in range(len(record.rows)):
                looked_at = [n for n in range(planner.candidates) if not tried.score[n, i].isnan()]
                scores = {}
                for n in looked_at:
                    cost, after, left = brute_force(model, before, record, i, n, planner.scope)
                    scores[n] = objective(planner, cost, after, left, int(tried.unmask[n, i].sum()))
                    assert float(tried.cost[n, i]) == pytest.approx(cost, abs=1e-9)
                    assert float(tried.next_entropy[n, i]) == pytest.approx(after, abs=1e-9)
                    assert float(tried.score[n, i]) == pytest.approx(scores[n], abs=1e-9)
                if looked_at:
                    winner = int(tried.chosen[i])
                    assert scores[winner] >= max(scores.values()) - 1e-9
                    assert torch.equal(record.unmask[i], tried.unmask[winner, i])
        before = record.canvas


@settings(max_examples=80)
@given(sampler=samplers(planner=mdm.InfoGain(candidates=4)), rows=untied_rows, threshold=st.sampled_from([None, 0.3]))
def test_reusing_the_winners_lookahead_changes_nothing(
    sampler: mdm.Sampler, rows: Rows, threshold: float | None
) -> None:
    """Under every cache: same tokens, positions and entropies as when every step does its own forward."""
    if threshold is not None:
        sampler = replace(sampler, planner=mdm.Bypass(threshold, sampler.planner))
    with forgetting():
        plain = list(sampler.iterate(sampler.canvas(rows)))
    for a, b in zip(sampler.iterate(sampler.canvas(rows)), plain, strict=True):
        assert torch.equal(a.canvas.tokens, b.canvas.tokens)
        torch.testing.assert_close(a.entropy, b.entropy, atol=1e-9, rtol=0)
        assert (a.forwards <= b.forwards).all()


@settings(max_examples=60)
@given(data=st.data(), rows=rows, single=st.booleans(), seed=st.integers(0, 3))
def test_one_candidate_or_no_position_temperature_is_confidence(
    data: st.DataObject, rows: Rows, single: bool, seed: int
) -> None:
    planner = mdm.InfoGain(candidates=1) if single else mdm.InfoGain(position_temperature=0.0)
    sampler = data.draw(samplers(planner=planner))
    confidence = replace(sampler, planner=mdm.Confidence())
    a, b = sampler.fill(rows, seed), confidence.fill(rows, seed)
    assert a.sequences == b.sequences
    assert [r.forwards for r in a.rows] == [r.forwards for r in b.rows]


@settings(max_examples=40)
@given(cache=caches, rows=rows, seed=st.integers(0, 3))
def test_number_zero_is_the_greedy_move_and_equal_moves_are_tried_once(
    cache: mdm.CacheStrategy, rows: Rows, seed: int
) -> None:
    sampler = mdm.Sampler(
        toy_transformer(), planner=mdm.InfoGain(candidates=5, position_temperature=0.5), cache=cache,
        token_sampler=mdm.GumbelMax(0.7), block_size=5, steps=6,
    )  # fmt: skip
    for record in sampler.iterate(sampler.canvas(rows), seed):
        tried = record.candidates
        if tried is None:
            continue
        for i in range(len(record.rows)):
            moves = [
                tuple((p, int(tried.tokens[n, i, p])) for p in tried.unmask[n, i].nonzero()[:, 0].tolist())
                for n in range(5)
            ]
            looked_at = [not math_nan for math_nan in tried.score[:, i].isnan().tolist()]
            if any(looked_at):
                assert looked_at == [moves.index(move) == n for n, move in enumerate(moves)]
                extra = int(record.forwards[i]) - sum(looked_at)
                assert extra in (0, 1), "one forward for each distinct move, and one of its own unless it was reused"


def test_moves_that_differ_only_in_tokens_are_distinct() -> None:
    unmask = torch.tensor([[[True, False]], [[True, False]], [[True, False]], [[False, True]]])
    tokens = torch.tensor([[[3, 9]], [[4, 9]], [[3, 8]], [[3, 9]]])
    assert distinct(unmask, tokens)[:, 0].tolist() == [True, True, False, True]


def test_the_last_step_does_not_look_ahead() -> None:
    sampler = mdm.Sampler(toy_transformer(), planner=mdm.InfoGain(), steps=1)
    (record,) = sampler.iterate(sampler.canvas([([3], [MASK] * 6)]))
    assert record.candidates is None
    assert record.forwards.tolist() == [1]


def test_a_step_costs_one_batched_forward() -> None:
    """The first step of a block costs a forward and a lookahead; each further one only its lookahead."""
    model = ToyModel()
    backend = mdm.wrap(model, mask_id=MASK, vocab_size=13)
    sampler = mdm.Sampler(backend, planner=mdm.InfoGain(position_temperature=1.0), steps=8, block_size=8)
    records = list(sampler.iterate(sampler.canvas([([3], [MASK] * 8)])))
    looked = sum(record.candidates is not None for record in records)
    assert looked == 7
    assert len(model.calls) == 1 + looked


def test_lookum_ignores_the_cost() -> None:
    """A costly move that makes the rest certain wins under lookum and loses under info-gain at equal H."""
    table = torch.zeros(4, 6)
    table[0, 1] = 4.0  # position 0 is fairly sure, the others are uniform
    backend = scripted(table, mask_id=5)
    for variant, expected in (("info-gain", 0), ("lookum", 1)):
        planner = mdm.InfoGain(candidates=16, position_temperature=50.0, variant=variant)  # type: ignore[arg-type]
        sampler = mdm.Sampler(backend, planner=planner, steps=4, block_size=4)
        first = next(iter(sampler.iterate(sampler.canvas([([], [5] * 4)]))))
        # H leaves out the position that is filled: filling an uncertain place lowers the mean that remains.
        assert bool(first.unmask[0, 0]) == (expected == 0)


def test_canvas_scope_counts_later_blocks_and_block_scope_does_not() -> None:
    table = torch.zeros(6, 5)
    table[:3, 1] = 6.0
    backend = scripted(table, mask_id=4)
    means = {}
    for scope in ("block", "canvas"):
        planner = mdm.InfoGain(candidates=4, position_temperature=5.0, scope=scope)  # type: ignore[arg-type]
        sampler = mdm.Sampler(backend, planner=planner, cache=mdm.NoCache(), steps=6, block_size=3)
        first = next(iter(sampler.iterate(sampler.canvas([([], [4] * 6)]))))
        assert first.candidates is not None
        means[scope] = float(first.candidates.next_entropy[first.candidates.chosen[0], 0])
    sure = float(torch.special.entr(torch.tensor([6.0, 0, 0, 0]).softmax(0)).sum())
    assert means["block"] == pytest.approx(sure, abs=1e-5)
    assert means["canvas"] == pytest.approx((2 * sure + 3 * float(torch.tensor(4.0).log())) / 5, abs=1e-5)


@pytest.mark.parametrize("bad", [{"candidates": 0}, {"position_temperature": -0.1}])
def test_parameters_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(mdm.SpecError, match="must be"):
        mdm.InfoGain(**bad)  # type: ignore[arg-type]


def test_rows_that_are_bypassed_ride_along_in_the_lookahead() -> None:
    """Row 0 is sure of one position at a time, row 1 of none: still each step costs one call of the model."""
    calls = []

    def model(tokens: torch.Tensor) -> torch.Tensor:
        calls.append(len(tokens))
        logits = torch.randn(1, 9, 6, generator=torch.Generator().manual_seed(0)).double().repeat(len(tokens), 1, 1)
        for i, row in enumerate(tokens.tolist()):
            if row[0] == 1:
                logits[i, row.index(5) if 5 in row else 0, 2] = 20.0
        return logits

    planner = mdm.Bypass(0.9, mdm.InfoGain(position_temperature=1.0))
    sampler = mdm.Sampler(mdm.wrap(model, mask_id=5, vocab_size=6), planner=planner, steps=8, block_size=8)
    records = list(sampler.iterate(sampler.canvas([([1], [5] * 8), ([0], [5] * 8)])))
    assert len(records) == 8
    assert len(calls) == 8
    assert [int(record.forwards[0]) for record in records[1:-1]] == [1] * 6
