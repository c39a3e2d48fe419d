"""The figures of a comparison, as PNG and SVG. Needs the extra `plot` (matplotlib)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from math import ceil
from pathlib import Path
from textwrap import fill
from typing import Any

from ..errors import SpecError
from ..folders.lines import Line
from ..folders.written import write_results
from ..views.drawing import GREY, Look, looks, shortened
from .frontier import pareto
from .report import PLOTS, model_name
from .settings import Setting
from .statistics import Interval, Summary

KINDS = ("png", "svg")
COLUMNS = 3  # panels beside each other
_LONGEST_NAME = 44
_WIDER = 1.15  # a cost's axis ends at so many times the highest
FILES = [f"{name}.{kind}" for name in PLOTS for kind in KINDS]


@dataclass(frozen=True)
class _Axis:
    """What accuracy is drawn against.

    Attributes:
        label: of the axis.
        value: a setting's value.
        interval: its interval, if it has one.
        costs: whether less of it is better at any accuracy, so that there is a Pareto front.
    """

    label: str
    value: Callable[[Summary], float]
    interval: Callable[[Summary], Interval] | None
    costs: bool


AXES = {
    "accuracy-sequential": _Axis(
        "sequential forwards an item", lambda s: s.sequential_forwards.mean, lambda s: s.sequential_forwards, True
    ),
    "accuracy-rows": _Axis("row-forwards an item", lambda s: s.forwards, None, True),
    "accuracy-entropy": _Axis("cumulative entropy, nats", lambda s: s.entropy.mean, lambda s: s.entropy, False),
}


def draw(
    manifest: dict[str, Any],
    summaries: Sequence[Summary],
    lines: Sequence[Line],
    folder: Path,
    *,
    overwrite: bool = False,
    reads: Sequence[Path] = (),
) -> list[Path]:
    """Draw all figures into a folder, which is made.

    Raises `SpecError` if matplotlib is not installed, or for a file that must not be lost; then none is written.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise SpecError('plots need matplotlib; pip install "mdm-sampling[plot]"') from error
    figures = {
        **{name: against(summaries, axis) for name, axis in AXES.items()},
        "order": orders([summary.setting for summary in summaries], lines),
    }
    drawn: dict[str, bytes] = {}
    with matplotlib.rc_context({"svg.hashsalt": "mdm-sampling"}):
        for name, figure in figures.items():
            _entitle(figure, PLOTS[name], manifest, summaries)
            for kind in KINDS:
                file = BytesIO()
                metadata = {"Date": None} if kind == "svg" else None
                figure.savefig(file, format=kind, dpi=150, metadata=metadata)
                drawn[f"{name}.{kind}"] = file.getvalue()
    write_results(folder, drawn, overwrite=overwrite, reads=reads)
    return [folder / name for name in drawn]


def _entitle(figure: Any, title: str, manifest: dict[str, Any], summaries: Sequence[Summary]) -> None:
    """The figure's title: what it shows, of which task and model, and the cache and block if all settings share them.

    What a figure has as its title already, it adds.
    """
    where = [manifest["task"], model_name(manifest)]
    surroundings = {summary.setting.surroundings for summary in summaries}
    if len(surroundings) == 1:
        where.append(_surroundings_name(*surroundings.pop()))
    lines = [title + figure.get_suptitle(), ", ".join(where)]
    width = round(12 * figure.get_figwidth())
    figure.suptitle("\n".join(fill(line, width) for line in lines), fontsize=11)


def _surroundings_name(cache: str, block_size: int | None) -> str:
    return f"cache {cache}, {f'blocks of {block_size}' if block_size else 'one block'}"


def against(summaries: Sequence[Summary], axis: _Axis) -> Any:
    """Accuracy against something: a curve through the settings of each planner, a panel for each cache and block.

    Where it is a cost, each panel has the Pareto front of all settings as well, and names the settings on it.
    """
    from matplotlib.figure import Figure

    places = list(dict.fromkeys(s.setting.surroundings for s in summaries))
    families = looks(list(dict.fromkeys(s.setting.family for s in summaries)))
    columns = min(COLUMNS, len(places))
    width = max(7.2, 0.8 + 4.2 * columns)
    entries = _legend_columns(width, [*families, ""])
    height = 3.8 * ceil(len(places) / columns) + 1.0 + 0.2 * ceil((len(families) + 1) / entries)
    figure = Figure(figsize=(width, height), layout="constrained")
    panels = (
        figure.subplots(ceil(len(places) / columns), columns, sharex=True, sharey=True, squeeze=False).ravel().tolist()
    )
    front = pareto([(axis.value(s), s.accuracy.mean) for s in summaries]) if axis.costs else []
    for axes, place in zip(panels, places, strict=False):
        if front:
            label = "Pareto front" + (" of all panels" if len(places) > 1 else "")
            ends = _WIDER * max(axis.value(s) for s in summaries), front[-1][1]
            axes.step(*zip(*front, ends, strict=True), where="post", color="0.85", linewidth=6, zorder=0, label=label)
        here = [s for s in summaries if s.setting.surroundings == place]
        unnamed = set(front)
        for number, (family, look) in enumerate(families.items()):
            mine = [s for s in here if s.setting.family == family]
            # Planners of the same cost would hide each other.
            aside = 1 + min(0.012, 0.06 / len(families)) * (number - (len(families) - 1) / 2) if axis.costs else 1
            _curve(axes, mine, axis, aside, look, unnamed)
        axes.set_title(_surroundings_name(*place) if len(places) > 1 else "", fontsize=9)
    for axes in panels[len(places) :]:
        axes.set_axis_off()
    _finish(panels[: len(places)], axis, [axis.value(s) for s in summaries])
    apart = "; points of the same cost are set slightly apart" if axis.costs else ""
    note = f"Bars are 95% intervals. A line joins a planner's settings: K and other numbers{apart}."
    legend(figure, panels[: len(places)], entries, note)
    _thin_out(figure)
    return figure


def _curve(axes: Any, mine: Sequence[Summary], axis: _Axis, aside: float, look: Look, unnamed: set[Any]) -> None:
    """A planner's settings, joined by rising cost: by rising sequential forwards where the axis is not a cost.

    Those on the front, `unnamed`, get their K and numbers, above and left of the point, where no other point can be;
    of equal points only the first.
    """
    mine = sorted(mine, key=axis.value if axis.costs else lambda s: s.sequential_forwards.mean)
    if not mine:
        return
    axes.errorbar(
        [aside * axis.value(s) for s in mine],
        [s.accuracy.mean for s in mine],
        _bars([s.accuracy for s in mine]),
        _bars([axis.interval(s) for s in mine]) if axis.interval else None,
        label=shortened(mine[0].setting.family, _LONGEST_NAME),
        **{"markersize": 6, "linewidth": 1, "elinewidth": 0.7, **look},
    )
    for s in mine:
        point = (axis.value(s), s.accuracy.mean)
        if point in unnamed:
            unnamed.remove(point)
            text, where = shortened(s.setting.dials, _LONGEST_NAME // 2), (aside * point[0], point[1])
            style = {"fontsize": 7, "ha": "right", "va": "bottom", "color": "0.3"}
            axes.annotate(text, where, xytext=(-5, 4), textcoords="offset points", **style)


def _thin_out(figure: Any) -> None:
    """Take names of points away that would lie over another name, or reach out of their panel."""
    figure.draw_without_rendering()  # only then is it known where everything lies
    for axes in figure.axes:
        kept: list[Any] = []
        for text in list(axes.texts):
            # A title, which comes later, takes some of the height, and names come nearer to each other.
            box, panel = text.get_window_extent().padded(3), axes.get_window_extent()
            if box.x0 < panel.x0 or box.y1 > panel.y1 or any(box.overlaps(other) for other in kept):
                text.remove()
            else:
                kept.append(box)


def _bars(intervals: Sequence[Interval]) -> list[list[float]]:
    """Lengths of error _bars below and above the means; none where a bound is not known."""
    return [[max(0.0, i.mean - i.low) for i in intervals], [max(0.0, i.high - i.mean) for i in intervals]]


def _finish(panels: Sequence[Any], axis: _Axis, values: Sequence[float]) -> None:
    """Scales and labels; a cost that differs threefold or more has a logarithmic scale."""
    from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter, StrMethodFormatter

    low, high = min(values), max(values)
    for axes in panels:
        if axis.costs and high >= 3 * low > 0:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(y=0.1)
        if axis.costs:
            axes.set_xlim(0.75 * low, _WIDER * high)  # points that are set apart must not look far apart
        else:
            axes.set_xlim(left=0)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.tick_params(labelsize=8)
        axes.grid(color="0.92")
        axes.set_axisbelow(True)
        axes.set_xlabel(axis.label, fontsize=9)
        axes.set_ylabel("accuracy", fontsize=9)
        axes.label_outer()


def _legend_columns(width: float, names: Sequence[str]) -> int:
    """How many columns of a legend fit into a figure `width` inches wide."""
    longest = min(_LONGEST_NAME, max(map(len, names)))
    return max(1, min(len(names), int(width / (0.55 + 0.066 * longest))))


def legend(figure: Any, panels: Sequence[Any], columns: int, note: str) -> None:
    """One legend for all panels, with a note, below them, where neither title nor panels give way to it."""
    entries = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    place = {"loc": "outside lower center", "ncols": columns, "title": note, "title_fontsize": 8}
    figure.legend(entries.values(), entries.keys(), fontsize=8, frameon=False, **place)


def orders(settings: Sequence[Setting], lines: Sequence[Line]) -> Any:
    """When a position was filled, as a share of the row's steps: a line a planner, a panel for each K, cache and block.

    It is the mean over all items, or, if their masks differ, what was done with the item that has most of them.
    """
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    items = list(dict.fromkeys(line["item"] for line in lines))
    alike = masks_are_alike([line["order"] for line in lines])
    example = max(lines, key=lambda line: line["filled"])["item"]
    shown = lines if alike else [line for line in lines if line["item"] == example]
    width = max(len(line["order"]) for line in shown)
    places = list(dict.fromkeys(s.surroundings for s in settings))
    columns = min(COLUMNS, len(places))
    groups = [places[i : i + columns] for i in range(0, len(places), columns)]
    ks = list(dict.fromkeys(s.tokens_per_step for s in settings))
    rows = [(k, group) for group in groups for k in ks]
    planners = [list(dict.fromkeys(s.key["planner"] for s in settings if s.tokens_per_step == k)) for k, _ in rows]
    heights = [0.5 + 0.2 * len(names) for names in planners]
    figure = Figure(figsize=(3.2 + 4 * columns, 1.5 + sum(heights)), layout="constrained")
    panels = figure.subplots(len(rows), columns, sharex=True, squeeze=False, height_ratios=heights)
    scale = Normalize(0, 1)
    for (k, group), names, line_of_panels in zip(rows, planners, panels, strict=True):
        for axes, place in zip(line_of_panels, group, strict=False):
            mine = {s.key["planner"]: s for s in settings if (s.tokens_per_step, s.surroundings) == (k, place)}
            rows_of = [[line["order"] for line in mine[n].lines(shown)] if n in mine else [] for n in names]
            _order_panel(axes, rows_of, width, scale)
            axes.set_yticks(
                range(len(names)), [shortened(n, 30) for n in names] if place == group[0] else [], fontsize=7
            )
            what = f"{k} token{'s' if k > 1 else ''} a step" if k else "planners that choose the number"
            where = f", {_surroundings_name(*place)}" if len(places) > 1 else ""
            axes.set_title(what + where, fontsize=8, loc="left")
        for axes in line_of_panels[len(group) :]:
            axes.set_axis_off()
    figure.supxlabel("position of the body; grey: never masked", fontsize=9)
    image = panels[0, 0].images[0]
    bar = figure.colorbar(image, ax=panels, shrink=min(1, 4 / sum(heights)), aspect=15)
    bar.set_label("share of the steps", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    mean = f", mean over {len(items)} items" if len(items) > 1 else ""
    one = f": item {shortened(example, 40)!r} (items' masks differ)"
    figure.suptitle(mean if alike else one)
    return figure


def _order_panel(axes: Any, rows: Sequence[Sequence[Sequence[int]]], width: int, scale: Any) -> None:
    """A line for each planner's rows."""
    import numpy as np
    from matplotlib import colormaps

    image = np.stack([_mean_order(each, width) for each in rows])
    colours = colormaps["viridis"].with_extremes(bad=GREY)
    axes.imshow(image, aspect="auto", cmap=colours, norm=scale, interpolation="none")
    axes.tick_params(labelsize=7, labelbottom=True)
    axes.xaxis.get_major_locator().set_params(integer=True)


def masks_are_alike(rows: Sequence[Sequence[int]]) -> bool:
    """Whether all rows had masks at the same positions, but for a rest that was left masked or is not there."""
    masks = {tuple(step >= 0 for step in row[: _end(row)]) for row in rows}
    longest = max(masks, key=len)
    return all(mask == longest[: len(mask)] for mask in masks)


def _end(row: Sequence[int]) -> int:
    """The positions up to the last that was filled."""
    return max((i + 1 for i, step in enumerate(row) if step >= 0), default=0)


def _mean_order(rows: Sequence[Sequence[int]], width: int) -> Any:
    """Mean over rows of step / last step at each position, [width]; nan where no row has a step."""
    import numpy as np

    steps = np.full((len(rows) + 1, width), -1)  # a last row of no steps, since a mean needs one
    for line, row in zip(steps, rows, strict=False):
        line[: len(row)] = row
    shares = steps / steps.max(1, initial=1, keepdims=True)
    return np.ma.masked_where(steps < 0, shares).mean(0).filled(np.nan)
