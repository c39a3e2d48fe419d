"""The statistics of a comparison against independent figures."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mdm_sampling as mdm
from mdm_sampling.compare import Setting, grid
from mdm_sampling.compare.frontier import pareto
from mdm_sampling.compare.statistics import bootstrap, measure, paired, relative_change, tango, wilson
from mdm_sampling.compare.table import change

NORMAL = torch.distributions.Normal(0.0, 1.0)


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
    def difference(mean: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return mean - other

    generator = torch.Generator().manual_seed(1)
    a = torch.randn(300, generator=generator).double() + 1
    b = a - 0.2 + 0.1 * torch.randn(300, generator=generator).double()
    single, both = bootstrap(lambda mean: mean, a), bootstrap(difference, a, b)
    for interval, values in ((single, a), (both, a - b)):
        half = 1.96 * float(values.std()) / math.sqrt(300)
        assert interval.mean == pytest.approx(float(values.mean()), abs=1e-6)
        assert interval.low == pytest.approx(float(values.mean()) - half, abs=0.15 * half)
        assert interval.high == pytest.approx(float(values.mean()) + half, abs=0.15 * half)
    assert both.high - both.low < (single.high - single.low) / 3
    assert bootstrap(difference, a, b) == both, "the resamples are fixed"


def test_one_item_says_nothing_of_others() -> None:
    one = bootstrap(relative_change, torch.tensor([2.0]), torch.tensor([1.0]))
    assert one.mean == 1.0
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert change(one, False) == "+100%"


def scores(both: int, only_first: int, only_second: int, neither: int) -> tuple[torch.Tensor, torch.Tensor]:
    first = [1.0] * (both + only_first) + [0.0] * (only_second + neither)
    second = [1.0] * both + [0.0] * only_first + [1.0] * only_second + [0.0] * neither
    return torch.tensor(first).double(), torch.tensor(second).double()


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        ((1, 1, 7, 12), -0.517, -0.026),  # as published with this interval: Fagerland, Lydersen and Laake, 2014
        ((200, 0, 0, 300), -0.0076, 0.0076),  # z^2 / (n + z^2)
        ((0, 12, 0, 0), 0.515, 1.0),  # (n - z^2) / (n + z^2)
        ((12, 0, 0, 0), -0.2425, 0.2425),
    ],
)
def test_a_paired_difference_has_tangos_interval(table: tuple[int, int, int, int], low: float, high: float) -> None:
    first, second = scores(*table)
    found, other = paired(first, second), paired(second, first)
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-4), pytest.approx(high, abs=5e-4))
    assert (other.low, other.high) == (pytest.approx(-found.high, abs=1e-9), pytest.approx(-found.low, abs=1e-9))
    assert found.low <= found.mean <= found.high


@given(st.integers(0, 8), st.integers(0, 8), st.integers(1, 20), st.floats(-0.95, 0.95))
def test_the_score_statistic_is_that_of_the_likeliest_shares(won: int, lost: int, same: int, value: float) -> None:
    """Found by looking at every share of the second side alone that the difference allows."""
    n = won + lost + same
    share = torch.linspace(max(0.0, -value) + 1e-9, (1 - value) / 2 - 1e-9, 10_001, dtype=torch.float64)
    likelihood = won * (share + value).log() + lost * share.log() + same * (1 - 2 * share - value).log()
    best = float(share[likelihood.nan_to_num(-torch.inf, -torch.inf, -torch.inf).argmax()])
    expected = (won - lost - n * value) / math.sqrt(n * (2 * best + value - value**2))
    assert tango(won, lost, n, value) == pytest.approx(expected, abs=5e-3, rel=5e-3)


@pytest.mark.parametrize("seeds", [1, 4])
@pytest.mark.parametrize(
    ("items", "right"), [(12, (0.9, 0.8)), (12, (0.99, 0.93)), (60, (0.99, 0.96)), (60, (0.6, 0.5))]
)
def test_paired_intervals_cover_at_least_as_often_as_they_say(
    seeds: int, items: int, right: tuple[float, float]
) -> None:
    """Two planners on items of shared difficulty, whose seeds agree in part: an item is right where a sum is below."""
    generator = torch.Generator().manual_seed(items + seeds)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    times, held = 400, 0
    shared = 0.8 * normal(times, items, 1)
    first, second = (
        (shared + 0.5 * normal(times, items, 1) + 0.332 * normal(times, items, seeds) < NORMAL.icdf(torch.tensor(p)))
        .double()
        .mean(2)
        for p in right
    )
    for a, b in zip(first, second, strict=True):
        interval = paired(a, b)
        assert interval.high - interval.low > 0.01
        held += interval.low <= right[0] - right[1] <= interval.high
    assert held >= 0.93 * times


def test_partial_scores_have_an_interval_that_never_collapses() -> None:
    """Many items: the normal interval of their differences. Equal scores: some width, since a rare loss is possible."""
    generator = torch.Generator().manual_seed(2)
    a, b = (torch.rand(2000, generator=generator, dtype=torch.float64) for _ in range(2))
    found, half = paired(a, b), 1.96 * float((a - b).std()) / math.sqrt(2000)
    assert (found.low, found.high) == (
        pytest.approx(float((a - b).mean()) - half, abs=0.05 * half),
        pytest.approx(float((a - b).mean()) + half, abs=0.05 * half),
    )
    same = paired(a[:50], a[:50])
    assert same.low == pytest.approx(-same.high)
    assert 0.05 < same.high < 0.1


def test_near_certainty_agreeing_seeds_do_not_narrow_an_accuracy() -> None:
    """Of 100 items at 98.5%, whose five seeds nearly always agree, about 95% of the intervals hold the truth."""
    generator = torch.Generator().manual_seed(3)
    held = 0
    for _ in range(400):
        skill = torch.randn(100, 1, generator=generator, dtype=torch.float64)
        noise = torch.randn(100, 5, generator=generator, dtype=torch.float64)
        interval = wilson((0.95 * skill + 0.312 * noise < NORMAL.icdf(torch.tensor(0.985))).double().mean(1), 5)
        held += interval.low <= 0.985 <= interval.high
    assert held >= 0.93 * 400


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
    costs = {"sequential_forwards": 4, "forwards": 4, "token_forwards": 40, "seconds": 0.5, "filled": 8}
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

    random, confidence, margin, ours = summarise([measure(each, lines) for each in wanted])
    assert random.gain is not None
    assert random.gain.mean == 0.5
    assert confidence.gain is None, "it is the best itself"
    assert margin.gain is not None
    assert margin.gain.mean == -0.25
    assert ours.gain is not None
    assert ours.gain.mean == 0.25
    assert (margin.entropy_change, ours.entropy_change and ours.entropy_change.mean) == (None, -0.5)
    assert ours.tokens_per_second == 16
    (alone,) = summarise([measure(wanted[3], lines)])
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
