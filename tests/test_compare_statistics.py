"""The statistics of a comparison against independent figures."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mdm_sampling as mdm
from mdm_sampling.compare import Setting, grid
from mdm_sampling.compare.plots import pareto
from mdm_sampling.compare.statistics import bootstrap, difference, measure, wilson


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),  # Wilson's interval as published tables give it
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)],
)
def test_wilson(right: int, total: int, low: float, high: float) -> None:
    interval = wilson(torch.tensor([1.0] * right + [0.0] * (total - right)))
    assert interval.mean == pytest.approx(right / total)
    assert interval.low == pytest.approx(low, abs=1e-4)
    assert interval.high == pytest.approx(high, abs=1e-4)


def test_seeds_of_an_item_are_no_independent_data() -> None:
    """Five seeds that always agree leave the interval of one; five that are independent narrow it like more items."""
    generator = torch.Generator().manual_seed(0)
    agreeing = (torch.rand(400, generator=generator) < 0.7).double()
    independent = (torch.rand(400, 5, generator=generator) < 0.7).double().mean(1)

    def width(scores: torch.Tensor, seeds: int) -> float:
        interval = wilson(scores, seeds)
        return interval.high - interval.low

    assert width(agreeing, 5) == pytest.approx(width(agreeing, 1), rel=0.01)
    assert width(independent, 5) == pytest.approx(width(agreeing, 1) / math.sqrt(5), rel=0.1)


def test_the_bootstrap_agrees_with_the_normal_interval_and_is_paired() -> None:
    generator = torch.Generator().manual_seed(1)
    a = torch.randn(300, generator=generator).double() + 1
    b = a - 0.2 + 0.1 * torch.randn(300, generator=generator).double()
    single, paired = bootstrap(lambda mean: mean, a), bootstrap(difference, a, b)
    for interval, values in ((single, a), (paired, a - b)):
        half = 1.96 * float(values.std()) / math.sqrt(300)
        assert interval.mean == pytest.approx(float(values.mean()), abs=1e-6)
        assert interval.low == pytest.approx(float(values.mean()) - half, abs=0.15 * half)
        assert interval.high == pytest.approx(float(values.mean()) + half, abs=0.15 * half)
    assert paired.high - paired.low < (single.high - single.low) / 3
    assert bootstrap(difference, a, b) == paired, "the resamples are fixed"


def test_intervals_cover_as_often_as_they_say() -> None:
    """Of 1,000 experiments with 60 items and 3 correlated seeds, about 95% hold the truth."""
    generator = torch.Generator().manual_seed(0)
    held = 0
    for _ in range(1000):
        skill = torch.rand(60, 1, generator=generator).double()
        scores = (torch.rand(60, 3, generator=generator) < skill).double().mean(1)
        interval = wilson(scores, 3)
        held += interval.low <= 0.5 <= interval.high
    assert 930 <= held <= 970


def lines_of(planner: str, scores: list[float], entropy: float) -> list[dict[str, Any]]:
    key = Setting(mdm.build("planners", planner), mdm.NoCache(), 2, None).key
    costs = {"forwards": 4, "token_forwards": 40, "seconds": 0.5, "tokens": 8}
    return [
        {"item": str(i), "seed": 0, "score": score, "cumulative_entropy": entropy, **key, **costs}
        for i, score in enumerate(scores)
    ]


def test_gains_are_against_the_best_greedy_planner_of_the_same_setting() -> None:
    wanted = grid(["random", "confidence", "margin", "info-gain"], tokens_per_step=[2])
    lines = [
        *lines_of("random", [1, 1, 1, 1], 9.0),
        *lines_of("confidence", [1, 1, 0, 0], 3.0),
        *lines_of("margin", [1, 0, 0, 0], 2.0),
        *lines_of("info-gain", [1, 1, 1, 0], 1.0),
    ]
    from mdm_sampling.compare.statistics import summarise

    random, confidence, margin, ours = summarise(wanted, lines)
    assert random.gain is not None
    assert random.gain.mean == 0.5
    assert confidence.gain is None, "it is the best itself"
    assert margin.gain is not None
    assert margin.gain.mean == -0.25
    assert ours.gain is not None
    assert ours.gain.mean == 0.25
    assert (margin.entropy_change, ours.entropy_change and ours.entropy_change.mean) == (None, -0.5)
    assert ours.tokens_per_second == 16
    (alone,) = summarise(wanted[3:], lines)
    assert alone.gain is None


def test_an_items_seeds_are_averaged_whatever_the_order_of_the_lines() -> None:
    (setting,) = grid(["random"], tokens_per_step=[2])
    lines = lines_of("random", [1, 0], 1.0) + [line | {"seed": 1} for line in lines_of("random", [0, 0], 3.0)]
    for order in (lines, lines[::-1]):
        measured = measure(setting, order)
        assert measured["score"].tolist() == [0.5, 0]
        assert measured["cumulative_entropy"].tolist() == [2, 2]
        assert measured.seeds == 2


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=12))
def test_the_pareto_front_is_what_nobody_beats(points: list[tuple[float, float]]) -> None:
    front = pareto(points)
    beaten = {p for p in points for q in points if q != p and q[0] <= p[0] and q[1] >= p[1]}
    assert set(front) == set(points) - beaten
    assert front == sorted(front)
