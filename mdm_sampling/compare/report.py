"""The report of a comparison as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import Any

from ..folders.lines import Line
from .frontier import Curve
from .statistics import Interval, Summary
from .table import AUP_LEGEND, FRONTS, LEGEND, cells, curve_cells, fronted, markdown_table

PLOTS = {
    "accuracy-sequential": "Accuracy against sequential forwards",
    "accuracy-rows": "Accuracy against row-forwards",
    "accuracy-entropy": "Accuracy against cumulative entropy",
    "order": "When a position was filled",
}
SUMMARIES = "summaries.json"


def markdown(
    manifest: dict[str, Any],
    summaries: Sequence[Summary],
    curves: Sequence[Curve],
    lines: Sequence[Line],
    *,
    plots: bool = False,
) -> str:
    """The report; with `plots`, it shows the images beside it."""
    parts = [
        f"# {manifest['task']}, {model_name(manifest)}",
        about(manifest, lines),
        markdown_table(*cells(summaries)),
        LEGEND,
        markdown_table(*curve_cells(curves)),
        AUP_LEGEND,
        _statistics_note(manifest),
    ]
    if plots:
        parts += [f"## {title}\n\n![{title}]({name}.png)" for name, title in PLOTS.items()]
    return "\n\n".join(parts) + "\n"


def as_json(manifest: dict[str, Any], summaries: Sequence[Summary], curves: Sequence[Curve]) -> dict[str, Any]:
    """All numbers of the report, intervals of all that have one among them; a bound that is not known is None."""
    fronts = {heading: fronted(summaries, cost) for heading, cost in FRONTS.items()}
    settings = [
        {
            **summary.setting.key,
            "family": summary.setting.family,
            **{name: _number(value) for name, value in vars(summary).items() if name != "setting"},
            "fronts": [heading for heading, on_front in fronts.items() if on_front[number]],
        }
        for number, summary in enumerate(summaries)
    ]
    areas = [vars(curve) | {"aup": _number(curve.aup)} for curve in curves]
    return {"task": manifest["task"], "model": model_name(manifest), "settings": settings, "curves": areas}


def _number(value: Interval | float | None) -> Any:
    if not isinstance(value, Interval):
        return value
    return {name: None if isnan(number) else number for name, number in vars(value).items()}


def about(manifest: dict[str, Any], lines: Sequence[Line]) -> str:
    """What was asked, and on what it was measured."""
    machines = {tuple(line["machine"].items()) for line in lines}
    measured_on = " and ".join("; ".join(f"{name} {value}" for name, value in machine) for machine in sorted(machines))
    shared = f"tokens by {manifest['token_sampler']}"
    if manifest["processors"]:
        shared += f", processors {', '.join(manifest['processors'])}"
    if manifest["eos"] != "off":
        shared += f", eos {manifest['eos']}"
    if manifest["growing"]:
        shared += ", growing canvases"
    seeds = ", ".join(map(str, manifest["seeds"]))
    largest = max(line["batch_size"] for line in lines)
    return (
        f"{manifest['items']} items (item seed {manifest['item_seed']}), run seeds {seeds}, {shared}. "
        f"Batches of up to {largest}. Measured on: {measured_on}."
    )


def _statistics_note(manifest: dict[str, Any]) -> str:
    return (
        "All settings decode the same items with the same seeds. The unit of every interval is the item: its seeds are "
        f"averaged first ({len(manifest['seeds'])} here). Accuracy: Wilson's interval; its differences: Tango's paired "
        "score interval; the rest: percentile bootstrap over items, 10,000 resamples, the same for all settings. "
        "The best greedy planner is chosen on these items, which favours it."
        + (" With so few items the intervals say little." if manifest["items"] < 20 else "")
    )


def model_name(manifest: dict[str, Any]) -> str:
    backend = manifest["backend"]
    return backend["model"] if backend else "a model in memory"
