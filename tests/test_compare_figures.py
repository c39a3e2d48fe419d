"""The figures of a comparison: what is drawn is what the summaries say, for few settings and for many."""

from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from compared import TASK
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import mdm_sampling as mdm
from mdm_sampling.compare import Comparison, compare, grid
from mdm_sampling.compare.plots import AXES, against, masks_are_alike, orders
from mdm_sampling.compare.table import FRONTS
from mdm_sampling.views.drawing import looks

CASES: dict[str, dict[str, Any]] = {
    "two planners, one K": {"planners": ["confidence", "info-gain"], "tokens_per_step": [2]},
    "K is nothing to them": {"planners": ["eb:gamma=0.02", "eb:gamma=0.5", "factor"], "tokens_per_step": [1, 2]},
    "three caches": {
        "planners": ["confidence", "eb"],
        "tokens_per_step": [1, 2],
        "caches": ["none", "prefix", "dual"],
        "block_sizes": [10],
    },
    "sixteen planners": {
        "planners": [
            *("random", "confidence", "margin", "entropy", "left-to-right", "info-gain", "eb", "factor"),
            *("info-gain:future=step", "eb:proxy=margin", "eb:proxy=confidence", "speculate", "bounded-chain"),
            *("speculate:(eb)", "speculate:(margin)", "bypass:0.9,otherwise=(info-gain)"),
        ],
        "tokens_per_step": [2],
    },
}


@pytest.fixture(scope="module", params=CASES)
def found(request: pytest.FixtureRequest, base: mdm.Sampler) -> Comparison:
    return compare(base, TASK, grid(**CASES[request.param]), items=4)


def boxes(figure: Figure) -> list[Any]:
    """Where the title, the legend and the panels are, from the top."""
    figure.draw_without_rendering()
    panels = [axes.get_tightbbox() for axes in figure.axes if axes.axison]
    title = figure._suptitle.get_window_extent()  # type: ignore[attr-defined]
    return [title, *panels, figure.legends[0].get_window_extent()]


@pytest.mark.parametrize("name", AXES)
def test_the_curves_are_those_of_the_summaries(found: Comparison, name: str) -> None:
    axis = AXES[name]
    figure = against(found.summaries, axis)
    places = list(dict.fromkeys(s.setting.surroundings for s in found.summaries))
    panels = [axes for axes in figure.axes if axes.axison]
    assert len(panels) == len(places)
    for axes, place in zip(panels, places, strict=True):
        here = [s for s in found.summaries if s.setting.surroundings == place]
        assert len(axes.containers) == len({s.setting.family for s in here})
        for container in axes.containers:
            mine = [s for s in here if s.setting.family == container.get_label()]
            drawn = sorted(container.lines[0].get_xydata().tolist())
            expected = sorted([axis.value(s), s.accuracy.mean] for s in mine)
            assert len(drawn) == len(expected)
            for point, other in zip(drawn, expected, strict=True):
                assert point == pytest.approx(other, rel=0.035 if axis.costs else 1e-9)
    assert {axes.get_xlabel() for axes in panels} - {""} == {axis.label}
    assert panels[0].get_ylabel() == "accuracy"
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    families = {s.setting.family for s in found.summaries}
    assert {text for text in legend if not text.startswith("Pareto front")} == families
    assert ("Pareto front" in "".join(legend)) == axis.costs


@pytest.mark.parametrize(("name", "cost"), [("accuracy-sequential", "seq-forwards"), ("accuracy-rows", "row-forwards")])
def test_the_front_is_a_step_through_what_nobody_beats(found: Comparison, name: str, cost: str) -> None:
    points = {(FRONTS[cost](s), s.accuracy.mean) for s in found.summaries}
    unbeaten = sorted(p for p in points if not any(q[0] <= p[0] and q[1] >= p[1] and q != p for q in points))
    for axes in against(found.summaries, AXES[name]).axes:
        (front,) = (line for line in axes.lines if str(line.get_label()).startswith("Pareto front"))
        drawn = [tuple(point) for point in front.get_xydata().tolist()]
        assert drawn[:-1] == unbeaten
        assert drawn[-1][0] > max(cost for cost, _ in points), "it goes on to the right"
        assert front.get_drawstyle() == "steps-post"


def test_the_settings_on_the_front_are_named(base: mdm.Sampler) -> None:
    found = compare(base, TASK, grid(["random", "eb:gamma=0.5"], tokens_per_step=[1]), items=4)
    (axes,) = against(found.summaries, AXES["accuracy-sequential"]).axes
    assert "gamma=0.5" in {text.get_text() for text in axes.texts}


def test_nothing_lies_over_anything_else(found: Comparison, tmp_path: Path) -> None:
    """Title, panels and legend stand apart, in the figure, for any number of planners, K and caches."""
    for name in AXES:
        figure = against(found.summaries, AXES[name])
        figure.suptitle(
            "Accuracy against cumulative entropy\nsudoku:holes=3-5, embedded, cache none, one block", fontsize=11
        )
        title, *panels, legend = boxes(figure)
        width, height = figure.bbox.size
        for box in (title, *panels, legend):
            assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= -1
        assert title.y0 >= max(panel.y1 for panel in panels) - 1
        assert legend.y1 <= min(panel.y0 for panel in panels) + 1
        assert min(axes.get_window_extent().width for axes in figure.axes if axes.axison) >= 300
        for axes in figure.axes:
            names, panel = [text.get_window_extent() for text in axes.texts], axes.get_window_extent()
            assert not any(one.overlaps(other) for one, other in combinations(names, 2))
            assert all(panel.x0 <= name.x0 and name.y1 <= panel.y1 for name in names)
    written = found.plot(tmp_path)
    assert {file.name for file in written} == {f"{n}.{k}" for n in (*AXES, "order") for k in ("png", "svg")}


def test_sixteen_curves_differ() -> None:
    names = [f"planner {i}" for i in range(16)]
    found = looks(names).values()
    assert len({(look["color"], look["linestyle"], look["markerfacecolor"]) for look in found}) == 16
    assert len({(look["color"], look["marker"]) for look in found}) == 16
    assert len({str(look) for look in looks([str(i) for i in range(72)]).values()}) == 72


def test_the_order_figure_has_a_panel_for_each_k_and_cache(base: mdm.Sampler) -> None:
    """Prompts have masks at the same positions: means over items, dark first, one panel for each K and cache."""
    wanted = grid(["left-to-right", "eb"], tokens_per_step=[1, 4], caches=["none", "dual"], block_sizes=[5])
    found = compare(base, mdm.Sudoku(form="prompt"), wanted, items=2)
    figure = orders(found.settings, found.lines)
    assert figure.get_suptitle() == ", mean over 2 items"
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes if axes.images}
    what = ("1 token a step", "4 tokens a step", "planners that choose the number")
    assert set(panels) == {f"{k}, cache {cache}, blocks of 5" for k in what for cache in ("none", "dual")}
    (image,) = panels["1 token a step, cache dual, blocks of 5"].images
    assert image.get_array()[0].tolist() == pytest.approx([i / 19 for i in range(20)])
    colours = [to_hex(image.to_rgba(share)) for share in (0.0, 1.0)]
    assert colours == ["#440154", "#fde725"], "viridis, dark first, as in all other views"


def test_items_with_other_masks_are_not_averaged(base: mdm.Sampler) -> None:
    found = compare(base, mdm.Sudoku(holes="3-9"), grid(["left-to-right"], tokens_per_step=[1]), items=5)
    most = max(found.lines, key=lambda line: line["filled"])
    figure = orders(found.settings, found.lines)
    assert figure.get_suptitle() == f": item '{most['item']}' (items' masks differ)"
    (image,) = (image for axes in figure.axes[:1] for image in axes.images)
    shown = image.get_array()[0]
    assert [bool(hidden) for hidden in shown.mask] == [step < 0 for step in most["order"]]
    assert all(a < b for a, b in pairwise(shown.compressed().tolist()))


@pytest.mark.parametrize(
    ("rows", "alike"),
    [
        ([[0, 1, 2], [2, 0, 1]], True),
        ([[0, 1, 2], [1, 0, -1]], True),  # a rest that was left masked
        ([[0, 1], [0, 1, 2, 3]], True),  # a shorter body
        ([[0, -1, 1], [1, 0, 2]], False),
        ([[-1, 0], [0, -1]], False),
    ],
)
def test_masks_are_alike_but_for_a_rest(rows: list[list[int]], alike: bool) -> None:
    assert masks_are_alike(rows) == alike
