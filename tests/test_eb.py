"""EB-Sampler against a plain implementation of its rule, one row at a time, on small random models."""

import math
from dataclasses import replace

import pytest
import torch
from row_toy import MASK, ROWS, Toy, moves_of
from torch import Tensor

import mdm_sampling as mdm
from mdm_sampling.testing import check_planner


def chances(logits: Tensor) -> list[float]:
    """The probabilities of all tokens but the mask."""
    weights = [math.exp(x) for x in logits.tolist()[:MASK]]
    return [weight / sum(weights) for weight in weights]


def naive(toy: Toy, prefix: list[int], body: list[int], block: int, gamma: float, proxy: str) -> list[dict[int, int]]:
    """The paper's procedure for one row: the moves, {position: token}, with every prefix tried, the longest first."""
    canvas, moves = prefix + body, []
    for first in range(0, len(body), block):
        while True:
            masked = [i for i in range(first, min(first + block, len(body))) if canvas[len(prefix) + i] == MASK]
            if not masked:
                break
            logits = toy.row(torch.tensor(canvas))
            p = {i: chances(logits[len(prefix) + i]) for i in masked}
            entropy = {i: -sum(x * math.log(x) for x in p[i]) for i in masked}
            error = {
                "entropy": entropy,
                "confidence": {i: -max(p[i]) for i in masked},
                "margin": {i: sorted(p[i])[-2] - max(p[i]) for i in masked},
            }[proxy]
            order = sorted(masked, key=lambda i: error[i])
            chosen = next(
                order[:n]
                for n in range(len(order), 0, -1)
                if n == 1 or sum(entropy[i] for i in order[:n]) - max(entropy[i] for i in order[:n]) <= gamma
            )
            moves.append({i: p[i].index(max(p[i])) for i in sorted(chosen)})
            for i, token in moves[-1].items():
                canvas[len(prefix) + i] = token
    return moves


@pytest.mark.parametrize(
    "planner", [mdm.EBSampler(), mdm.EBSampler(1.5, "confidence"), mdm.EBSampler(0.0, "margin")], ids=repr
)
def test_it_conforms(planner: mdm.EBSampler) -> None:
    check_planner(planner, examples=30)


@pytest.mark.parametrize("proxy", ["entropy", "confidence", "margin"])
@pytest.mark.parametrize("gamma", [0.0, 0.3, 2.0])
def test_it_fills_what_a_plain_implementation_fills(gamma: float, proxy: str) -> None:
    sizes = set()
    for seed in range(4):
        toy = Toy(seed, 2)
        for block in (12, 5):
            sampler = mdm.Sampler(
                toy.backend, mdm.EBSampler(gamma, proxy), cache=mdm.NoCache(), block_size=block, steps=10**6
            )
            found = moves_of(sampler, ROWS)
            assert found == [naive(toy, *row, block, gamma, proxy) for row in ROWS]
            sizes |= {len(move) for row in found for move in row}
    assert sizes == {1} if gamma == 0 else len(sizes) >= 3


def test_the_quota_plays_no_part_until_the_last_step() -> None:
    sampler = mdm.Sampler(Toy(0, 2).backend, mdm.EBSampler(0.3), block_size=6, steps=1000)
    expected = moves_of(sampler, ROWS)
    for positions in (1, 3, 100):
        assert moves_of(replace(sampler, schedule=mdm.Constant(positions)), ROWS) == expected


def test_the_last_step_fills_what_is_left() -> None:
    sampler = mdm.Sampler(Toy(0, 2).backend, mdm.EBSampler(0.0), steps=3)
    assert [len(move) for move in moves_of(sampler, ROWS[:1])[0]] == [1, 1, 7]


def test_positions_that_are_certain_ride_along_at_gamma_0() -> None:
    """With one entropy above 0 the sum without the largest is 0, whichever position holds it."""
    table = torch.tensor([[0.0, -torch.inf, 0.0], [0.0, 0.3, 0.0], [-torch.inf, 0.0, 0.0], [0.0, 0.9, 0.0]]).double()
    backend = mdm.wrap(lambda tokens: table.expand(len(tokens), 4, 3).clone(), mask_id=2, vocab_size=3)
    found = moves_of(mdm.Sampler(backend, mdm.EBSampler(0.0), steps=100), [([], [2] * 4)])
    assert [sorted(move) for move in found[0]] == [[0, 2, 3], [1]]


def test_equal_positions_are_taken_from_the_left() -> None:
    """With two equal logits a confidence is 1/2 and a margin 0 on any machine."""
    backend = mdm.wrap(lambda tokens: torch.zeros(*tokens.shape, 3).double(), mask_id=2, vocab_size=3)
    for proxy in ("confidence", "margin"):
        sampler = mdm.Sampler(backend, mdm.EBSampler(1.0, proxy), steps=100)  # each of two tokens: 0.69 nats a position
        assert [sorted(move) for move in moves_of(sampler, [([], [2] * 5)])[0]] == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("eb:gamma=-1", "gamma must be finite and 0 or more, got -1"),
        ("eb:gamma=inf", "gamma must be finite and 0 or more, got inf"),
        ("eb:gamma=nan", "gamma must be a number"),
        ("eb:proxy=luck", "proxy must be one of entropy, confidence, margin"),
    ],
)
def test_bad_parameters_are_refused(spec: str, message: str) -> None:
    with pytest.raises(mdm.SpecError, match=message):
        mdm.build("planners", spec)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(mdm.SpecError, match="gamma must be a number"):
        mdm.EBSampler(math.nan)
    with pytest.raises(mdm.SpecError, match="proxy must be one of entropy, confidence, margin, got 'luck'"):
        mdm.EBSampler(proxy="luck")  # type: ignore[arg-type]


def test_it_is_built_from_its_spec_and_described_by_it() -> None:
    planner = mdm.build("planners", "eb:gamma=0.5,proxy=margin")
    assert planner == mdm.EBSampler(0.5, "margin") == mdm.build("planners", "eb:0.5,proxy=margin")
    assert mdm.describe(planner) == "eb:gamma=0.5,proxy=margin"
    assert mdm.describe(mdm.EBSampler()) == "eb"
