"""The figures of a comparison, as PNG and SVG. Needs the extra `plot` (matplotlib)."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from ..errors import SpecError
from ..folders.lines import Line
from ..folders.written import write_results
from ..views.drawing import styles
from .report import PLOTS, model_name
from .settings import Setting
from .statistics import Interval, Summary

KINDS = ("png", "svg")
FILES = [f"{name}.{kind}" for name in PLOTS for kind in KINDS]


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
        "accuracy-entropy": _against_entropy(summaries),
        "accuracy-cost": _against_cost(summaries),
        "order": orders([summary.setting for summary in summaries], lines),
    }
    drawn: dict[Path, bytes] = {}
    with matplotlib.rc_context({"svg.hashsalt": "mdm-sampling"}):
        for name, figure in figures.items():
            where = f"{manifest['task']}, {model_name(manifest)}"
            figure.suptitle(f"{PLOTS[name].split(';')[0]}\n{where}", fontsize=11)
            for kind in KINDS:
                file = BytesIO()
                metadata = {"Date": None} if kind == "svg" else None
                figure.savefig(file, format=kind, dpi=150, metadata=metadata)
                drawn[folder / f"{name}.{kind}"] = file.getvalue()
    write_results(folder, drawn, overwrite=overwrite, reads=reads)
    return list(drawn)


def _series_name(summary: Summary, varied: set[str]) -> str:
    """The planner, and the cache and block where they differ between settings."""
    key = summary.setting.key
    extra = [f"{name.split('_')[0]} {key[name] or 'all'}" for name in ("cache", "block_size") if name in varied]
    return ", ".join([key["planner"], *extra])


def named(summaries: Sequence[Summary]) -> dict[str, list[Summary]]:
    """The summaries of each series, that is of each planner, cache and block."""
    keys = [summary.setting.key for summary in summaries]
    varied = {name for name in ("cache", "block_size") if len({key[name] for key in keys}) > 1}
    found: dict[str, list[Summary]] = {}
    for summary in summaries:
        found.setdefault(_series_name(summary, varied), []).append(summary)
    return found


def _against_entropy(summaries: Sequence[Summary]) -> Any:
    """Accuracy against cumulative entropy, both with their intervals; a panel for each K."""
    from matplotlib.figure import Figure

    series = named(summaries)
    steps = sorted({summary.setting.tokens_per_step for summary in summaries})
    figure = Figure(figsize=(2.2 + 2.6 * len(steps), 4.2), layout="constrained")
    panels = figure.subplots(1, len(steps), sharey=True, squeeze=False)[0]
    for axes, k in zip(panels, steps, strict=True):
        for name, (colour, marker) in styles(list(series)).items():
            for s in (s for s in series[name] if s.setting.tokens_per_step == k):
                axes.errorbar(
                    *(s.entropy.mean, s.accuracy.mean, bars([s.accuracy]), bars([s.entropy])),
                    **_look(colour, marker, name),
                )
        axes.set_title(f"{k} token{'s' if k > 1 else ''} a step", fontsize=9)
        axes.set_xlim(left=0)
        _finish(axes)
    panels[0].set_ylabel("accuracy, 95% interval")
    figure.supxlabel("cumulative entropy, nats, 95% interval", fontsize=10)
    legend(figure, panels)
    return figure


def _against_cost(summaries: Sequence[Summary]) -> Any:
    """Accuracy against token-forwards; a line for each planner through its K, and the Pareto front of all points."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    series = named(summaries)
    figure = Figure(figsize=(8.4, 4.6), layout="constrained")
    axes = figure.subplots()
    front = pareto([(s.token_forwards, s.accuracy.mean) for s in summaries])
    axes.step(*zip(*front, strict=True), where="post", color="0.8", linewidth=6, zorder=0, label="Pareto front")
    for i, (name, (colour, marker)) in enumerate(styles(list(series)).items()):
        mine = sorted(series[name], key=lambda s: s.token_forwards)
        # Planners of the same cost would hide each other.
        aside = 1 + min(0.012, 0.06 / len(series)) * (i - (len(series) - 1) / 2)
        x, y = [aside * s.token_forwards for s in mine], [s.accuracy.mean for s in mine]
        axes.errorbar(x, y, bars([s.accuracy for s in mine]), **_look(colour, marker, name))
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    _finish(axes)
    steps = sorted({summary.setting.tokens_per_step for summary in summaries}, reverse=True)
    note = f"along a line, from left: {', '.join(map(str, steps))} tokens a step" if len(steps) > 1 else ""
    axes.set_xlabel(f"token-forwards an item   ({note or f'{steps[0]} tokens a step'}; points set slightly apart)")
    axes.set_ylabel("accuracy, 95% interval")
    legend(figure, [axes])
    return figure


def _look(colour: str, marker: str, name: str) -> dict[str, Any]:
    """A series' style."""
    return {
        "color": colour,
        "marker": marker,
        "markersize": 6,
        "linewidth": 1,
        "elinewidth": 0.8,
        "label": name,
    }


def bars(intervals: Sequence[Interval]) -> list[list[float]]:
    """Lengths of error bars below and above the means."""
    return [[max(0.0, i.mean - i.low) for i in intervals], [max(0.0, i.high - i.mean) for i in intervals]]


def _finish(axes: Any) -> None:
    from matplotlib.ticker import PercentFormatter

    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(color="0.92")
    axes.set_axisbelow(True)


def legend(figure: Any, panels: Sequence[Any]) -> None:
    """One legend for all panels, beside them."""
    entries = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(entries.values(), entries.keys(), loc="outside right upper", fontsize=8, frameon=False)


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other beats in both cost and accuracy, by rising cost."""
    found: list[tuple[float, float]] = []
    for cost, accuracy in sorted(points, key=lambda point: (point[0], -point[1])):
        if not found or accuracy > found[-1][1]:
            found.append((cost, accuracy))
    return found


def orders(settings: Sequence[Setting], lines: Sequence[Line]) -> Any:
    """For each planner, when a position was filled on average, as a share of the row's steps; a panel for each K."""
    import numpy as np
    from matplotlib.figure import Figure

    first = settings[0].key
    shown = [s for s in settings if all(s.key[n] == first[n] for n in ("cache", "block_size"))]
    steps = list(dict.fromkeys(setting.tokens_per_step for setting in shown))
    planners = list(dict.fromkeys(setting.key["planner"] for setting in shown))
    figure = Figure(figsize=(8.4, 1.3 + len(steps) * (0.55 + 0.24 * len(planners))), layout="constrained")
    panels = figure.subplots(len(steps), 1, sharex=True, squeeze=False)[:, 0]
    width = max(len(line["order"]) for line in lines)
    images = {k: np.full((len(planners), width), np.nan) for k in steps}
    for setting in shown:
        mine = [line["order"] for line in setting.lines(lines)]
        images[setting.tokens_per_step][planners.index(setting.key["planner"])] = _mean_order(mine, width)
    low, high = (float(f(np.stack(list(images.values())))) for f in (np.nanmin, np.nanmax))
    for axes, k in zip(panels, steps, strict=True):
        drawn = axes.imshow(
            images[k], aspect="auto", cmap="cividis_r", vmin=low, vmax=max(high, low + 0.1), interpolation="none"
        )
        axes.set_yticks(range(len(planners)), planners, fontsize=8)
        axes.set_title(f"{k} token{'s' if k > 1 else ''} a step", fontsize=9, loc="left")
    panels[-1].xaxis.get_major_locator().set_params(integer=True)
    panels[-1].set_xlabel("position of the body; blank: never masked")
    figure.colorbar(drawn, ax=list(panels), label="filled at (share of the steps)", fraction=0.05)
    return figure


def _mean_order(rows: Sequence[Sequence[int]], width: int) -> Any:
    """Mean over rows of step / last step at each position, [width]; nan where no row has a step."""
    import numpy as np

    total, count = np.zeros(width), np.zeros(width)
    for row in rows:
        last = max(max(row), 1)
        for position, step in enumerate(row):
            if step >= 0:
                total[position] += step / last
                count[position] += 1
    return np.divide(total, count, out=np.full(width, np.nan), where=count > 0)
