"""The statistics of a comparison against independent figures."""

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mdm_sampling as mdm
from mdm_sampling.compare import Setting, grid
from mdm_sampling.compare.frontier import accuracy_under_parallelism, curves, pareto
from mdm_sampling.compare.statistics import bootstrap, measure, paired, relative_change, tango, wilson
from mdm_sampling.compare.table import interval_text

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
    assert interval_text(one, "+.0f", unit="%") == "+100%"


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
    costs = {"sequential_forwards": 2, "forwards": 4, "token_forwards": 40, "seconds": 0.5, "filled": 8}
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
    assert (ours.sequential_forwards.mean, ours.tokens_per_forward.mean) == (2, 4)
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


# --- What accuracy costs -------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=12))
def test_the_pareto_front_is_what_nobody_beats(points: list[tuple[float, float]]) -> None:
    front = pareto(points)
    beaten = {p for p in points for q in points if q != p and q[0] <= p[0] and q[1] >= p[1]}
    assert set(front) == set(points) - beaten
    assert front == sorted(front)


def area(points: list[tuple[float, float]], best: float) -> float:
    rho, y = (torch.tensor([values], dtype=torch.float64) for values in zip(*points, strict=True))
    return float(accuracy_under_parallelism(rho, y, torch.tensor([best], dtype=torch.float64)))


@pytest.mark.parametrize(
    ("points", "best", "expected"),
    [
        ([(2, 50)], 100, 100),  # the slowest setting's accuracy counts in full
        ([(1, 80), (3, 80)], 80, 240),  # nothing is lost: the area under the curve
        ([(3, 80), (1, 80)], 80, 240),  # in any order
        ([(1, 80), (3, 76)], 80, 80 + 80 + 76 * math.exp(-0.15)),
        ([(1, 80), (3, 76)], 100, 80 + 80 * math.exp(-0.6) + 76 * math.exp(-0.72)),
        ([(1, 80), (2, 74.9), (3, 80)], 80, 240),  # more than 5 below the slowest: left out
        ([(1, 80), (2, 75), (3, 80)], 80, 80 + 80 + 75 * math.exp(-3 / 16)),  # exactly 5 below: kept
        ([(1, 70), (2, 74)], 70, 70 + 72),  # no weight above 1
        ([(1, 40), (1, 80), (2, 80)], 80, 160),  # of equal parallelism the most accurate
        ([(1, 0), (2, 0)], 0, 0),
    ],
)
def test_accuracy_under_parallelism(points: list[tuple[float, float]], best: float, expected: float) -> None:
    assert area(points, best) == pytest.approx(expected)


def area_in_words(points: list[tuple[float, float]], best: float) -> float:
    """The formula of d3LLM point by point, with the most accurate of points that fill as much at once."""
    kept = sorted((rho, max(y for other, y in points if other == rho)) for rho in {rho for rho, _ in points})
    kept = [(rho, y) for rho, y in kept if y >= kept[0][1] - 5]
    weighed = [y * min(math.exp(-3 * (1 - y / best)), 1) for _, y in kept]
    found = kept[0][0] * kept[0][1]
    for i in range(1, len(kept)):
        found += (kept[i][0] - kept[i - 1][0]) * (weighed[i] + weighed[i - 1]) / 2
    return found


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(80, 100)), min_size=1, max_size=9), st.integers(0, 5))
def test_accuracy_under_parallelism_is_the_formula(points: list[tuple[float, float]], above: int) -> None:
    best = max(y for _, y in points) + above
    assert area(points, best) == pytest.approx(area_in_words(points, best))


def test_settings_that_differ_in_numbers_are_one_curve_with_an_interval() -> None:
    """A curve's points, its area by hand, and an interval that its resamples by hand have, too."""
    wanted = grid(["confidence", "eb:gamma=0.02", "eb:gamma=1"], tokens_per_step=[1, 2])
    lines, scores = (
        [],
        {"K=1": [1, 1, 1, 1], "K=2": [1, 1, 1, 0], "gamma=0.02": [1, 1, 1, 1], "gamma=1.0": [1, 0, 1, 1]},
    )
    forwards = {"K=1": 8, "K=2": 4, "gamma=0.02": 4, "gamma=1.0": 2}
    for setting in wanted:
        for line in lines_of("random", [float(score) for score in scores[setting.dials]], 1.0):
            lines.append(line | setting.key | {"sequential_forwards": forwards[setting.dials]})
    eb, confidence = curves([measure(setting, lines) for setting in wanted])
    assert (eb.family, eb.points, confidence.family, confidence.points) == ("eb", 2, "confidence", 2)
    assert eb.aup.mean == pytest.approx(2 * 100, rel=1e-5), "75% is more than 5 points below 100%"
    assert confidence.aup.mean == pytest.approx(100, rel=1e-5)
    assert eb.aup.high == pytest.approx(400, rel=1e-5), "no resample has more than all right at gamma 1"
    assert eb.aup.low <= 200


def test_the_area_of_one_item_has_no_interval() -> None:
    (setting,) = grid(["confidence"], tokens_per_step=[1])
    lines = [line | setting.key for line in lines_of("confidence", [1.0], 1.0)]
    (curve,) = curves([measure(setting, lines)])
    assert (curve.aup.mean, math.isnan(curve.aup.low)) == (400, True)


@pytest.mark.parametrize(
    ("planner", "family", "dials"),
    [
        ("info-gain", "info-gain", "K=2"),
        ("info-gain:candidates=4,position_temperature=0.3", "info-gain", "K=2, candidates=4, position_temperature=0.3"),
        ("info-gain:future=step,candidates=4", "info-gain:future=step", "K=2, candidates=4"),
        ("eb:gamma=0.02", "eb", "gamma=0.02"),
        ("eb", "eb", "eb"),
        ("eb:gamma=0.02,proxy=margin", "eb:proxy=margin", "gamma=0.02"),
        ("speculate:(eb:gamma=0.02),drafts=4", "speculate:planner=(eb)", "gamma=0.02, drafts=4"),
        ("bounded-chain:slack=inf", "bounded-chain", "slack=inf"),
    ],
)
def test_a_family_is_a_planner_without_its_numbers(planner: str, family: str, dials: str) -> None:
    (setting,) = grid([planner], tokens_per_step=[2])
    assert (setting.family, setting.dials) == (family, dials)


def test_a_planner_that_is_not_registered_has_a_family() -> None:
    @dataclass(frozen=True)
    class Mine(mdm.ScorePlanner):
        weight: float = 1.0
        word: str = "a"

        def score(self, step: mdm.Step) -> torch.Tensor:
            return step.confidence

    one, other, worded = grid([Mine(2.0), Mine(3.0), Mine(2.0, "b")], tokens_per_step=[1])
    assert one.family == other.family == "Mine"
    assert worded.family == "Mine:word=b"


def test_a_planner_that_chooses_its_number_has_one_setting_for_all_k() -> None:
    wanted = grid(["eb", "confidence"], tokens_per_step=[1, 2], caches=["none", "dual"])
    assert [(s.key["planner"], s.tokens_per_step) for s in wanted[::2]] == [
        *(("confidence", 1), ("confidence", 2), ("eb", None)),
    ]
    assert len(wanted) == 6
