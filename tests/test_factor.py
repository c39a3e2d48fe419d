"""Fast-dLLM's factor rule against a plain implementation of it, one row at a time, on small random models."""

import math
from dataclasses import dataclass, field, replace

import pytest
import torch
from row_toy import MASK, ROWS, Toy, moves_of

import mdm_sampling as mdm
from mdm_sampling.testing import check_planner


@dataclass(frozen=True)
class Spy(mdm.PositionPlanner):
    """Keeps what the planner was shown and what it answered."""

    otherwise: mdm.PositionPlanner
    seen: list[tuple[mdm.Step, mdm.Plan]] = field(default_factory=list, compare=False, repr=False)

    def plan(self, step: mdm.Step) -> mdm.Plan:
        plan = self.otherwise.plan(step)
        self.seen.append((step, plan))
        return plan


def naive_choice(confidence: dict[int, float], factor: float) -> list[int]:
    """The paper's rule for the confidences of one row's masked positions: every n is tried, the largest first."""
    order = sorted(confidence, key=lambda i: -confidence[i])
    for n in range(len(order), 1, -1):
        if (n + 1) * (1 - confidence[order[n - 1]]) < factor:
            return sorted(order[:n])
    return order[:1]


def naive(toy: Toy, prefix: list[int], body: list[int], block: int, factor: float) -> list[dict[int, int]]:
    """A row's moves, {position: token}."""
    canvas, moves = prefix + body, []
    for first in range(0, len(body), block):
        while True:
            masked = [i for i in range(first, min(first + block, len(body))) if canvas[len(prefix) + i] == MASK]
            if not masked:
                break
            logits = toy.row(torch.tensor(canvas)).tolist()
            confidence, tokens = {}, {}
            for i in masked:
                weights = [math.exp(x) for x in logits[len(prefix) + i][:MASK]]
                confidence[i], tokens[i] = max(weights) / sum(weights), weights.index(max(weights))
            moves.append({i: tokens[i] for i in naive_choice(confidence, factor)})
            for i, token in moves[-1].items():
                canvas[len(prefix) + i] = token
    return moves


def sampler_of(confidences: list[float], factor: float) -> mdm.Sampler:
    """A model of two tokens with the given confidences."""
    table = torch.tensor([[c, 1 - c, 1.0] for c in confidences], dtype=torch.float64).log()
    backend = mdm.wrap(lambda tokens: table.expand(len(tokens), *table.shape).clone(), mask_id=2, vocab_size=3)
    return mdm.Sampler(backend, mdm.Factor(factor), steps=100)


@pytest.mark.parametrize("planner", [mdm.Factor(), mdm.Factor(2.5)], ids=repr)
def test_it_conforms(planner: mdm.Factor) -> None:
    check_planner(planner, examples=30)


@pytest.mark.parametrize("factor", [0.2, 1.0, 2.2])
def test_it_fills_what_a_plain_implementation_fills(factor: float) -> None:
    sizes = set()
    for seed in range(5):
        toy = Toy(seed, 3)
        for block in (12, 5):
            sampler = mdm.Sampler(toy.backend, mdm.Factor(factor), cache=mdm.NoCache(), block_size=block, steps=10**6)
            found = moves_of(sampler, ROWS)
            assert found == [naive(toy, *row, block, factor) for row in ROWS]
            sizes |= {len(move) for row in found for move in row}
    assert len(sizes) >= 3


def test_the_confidence_is_that_of_the_drawn_token() -> None:
    spy = Spy(mdm.Factor(1.5))
    sampler = mdm.Sampler(Toy(0, 3).backend, spy, token_sampler=mdm.GumbelMax(0.8), block_size=6, steps=1000)
    list(sampler.iterate(sampler.canvas(ROWS), seed=[1, 2, 3]))
    for step, plan in spy.seen:
        for i in range(len(step.masked)):
            confidence = {j: float(step.confidence[i, j]) for j in step.masked[i].nonzero()[:, 0].tolist()}
            assert plan.unmask[i].nonzero()[:, 0].tolist() == naive_choice(confidence, 1.5)


@pytest.mark.parametrize(
    ("confidences", "factor", "first"),
    [
        ([0.9, 0.8, 0.7], 1.0, [0, 1]),  # 2 x 0.1, 3 x 0.2 and 4 x 0.3 against 1
        ([0.7, 0.8, 0.9], 1.0, [1, 2]),
        ([0.7, 0.8, 0.9], 1.3, [0, 1, 2]),
        ([0.6, 0.55, 0.52], 0.1, [0]),  # 2 x 0.4 fails, and one position is filled all the same
        ([0.95, 0.5, 0.949, 0.948], 0.5, [0, 2, 3]),
        ([0.99, 0.99, 0.5], 0.9, [0, 1]),  # the published code fills the last position too
    ],
)
def test_worked_examples(confidences: list[float], factor: float, first: list[int]) -> None:
    moves = moves_of(sampler_of(confidences, factor), [([], [2] * len(confidences))])
    assert sorted(moves[0][0]) == first


def test_certain_positions_are_filled_at_once_whatever_the_factor() -> None:
    moves = moves_of(sampler_of([1.0, 0.6, 1.0, 1.0, 0.55], 1e-6), [([], [2] * 5)])
    assert [sorted(move) for move in moves[0]] == [[0, 2, 3], [1], [4]]


def test_equal_positions_are_taken_from_the_left() -> None:
    """With two equal logits a confidence is 1/2 on any machine; 4 x 1/2 is below 2.2, and 5 x 1/2 is not."""
    moves = moves_of(sampler_of([0.5] * 5, 2.2), [([], [2] * 5)])
    assert [sorted(move) for move in moves[0]] == [[0, 1, 2], [3, 4]]


def test_the_quota_plays_no_part_until_the_last_step() -> None:
    sampler = mdm.Sampler(Toy(0, 3).backend, mdm.Factor(), block_size=6, steps=1000)
    expected = moves_of(sampler, ROWS)
    for positions in (1, 3, 100):
        assert moves_of(replace(sampler, schedule=mdm.Constant(positions)), ROWS) == expected
    last = replace(sampler, planner=mdm.Factor(1e-6), block_size=9, steps=3)
    assert [len(move) for move in moves_of(last, ROWS[:1])[0]] == [1, 1, 7]


@pytest.mark.parametrize("factor", ["0", "-1", "inf", "nan"])
def test_bad_factors_are_refused(factor: str) -> None:
    with pytest.raises(mdm.SpecError, match=r"factor: factor must be (finite and above 0|a number), got"):
        mdm.build("planners", f"factor:{factor}")
    with pytest.raises(mdm.SpecError, match=r"factor must be (finite and above 0|a number), got"):
        mdm.Factor(float(factor))


def test_it_is_built_from_its_spec_and_described_by_it() -> None:
    assert mdm.build("planners", "factor:2") == mdm.Factor(2.0) == mdm.build("planners", "factor:factor=2.0")
    assert mdm.describe(mdm.Factor(2.0)) == "factor:factor=2.0"
    assert mdm.describe(mdm.Factor()) == "factor"
