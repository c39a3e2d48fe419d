"""The report of a comparison as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .table import LEGEND, cells, markdown_table

if TYPE_CHECKING:
    from .engine import Comparison

PLOTS = {
    "accuracy-entropy": "Accuracy against cumulative entropy",
    "accuracy-cost": "Accuracy against token-forwards; the line is the Pareto front",
    "order": "When a position was filled",
}


def markdown(comparison: Comparison, plots: bool = False) -> str:
    """The report; with `plots`, it shows the images beside it."""
    question = comparison.question
    parts = [
        f"# {question['task']}, {model_name(question)}",
        about(comparison),
        markdown_table(*cells(comparison.summaries)),
        LEGEND,
        statistics_note(question),
    ]
    if plots:
        parts += [f"## {title}\n\n![{title}]({name}.png)" for name, title in PLOTS.items()]
    return "\n\n".join(parts) + "\n"


def about(comparison: Comparison) -> str:
    question = comparison.question
    machines = {tuple(line["machine"].items()) for line in comparison.lines}
    measured_on = " and ".join("; ".join(f"{name} {value}" for name, value in machine) for machine in sorted(machines))
    shared = f"tokens by {question['token_sampler']}"
    if question["processors"]:
        shared += f", processors {', '.join(question['processors'])}"
    if question["eos"] != "off":
        shared += f", eos {question['eos']}"
    seeds = ", ".join(map(str, question["seeds"]))
    largest = max(line["batch_size"] for line in comparison.lines)
    return (
        f"{question['items']} items (item seed {question['item_seed']}), run seeds {seeds}, {shared}. "
        f"Batches of up to {largest}. Measured on: {measured_on}."
    )


def statistics_note(question: dict[str, Any]) -> str:
    return (
        "All settings decode the same items with the same seeds. The unit of every interval is the item: its seeds are "
        f"averaged first ({len(question['seeds'])} here). Accuracy: Wilson's interval; its differences: Tango's paired "
        "score interval; entropies: percentile bootstrap over items, 10,000 resamples, the same for both sides. The "
        "best greedy planner is chosen on these items, which favours it."
        + (" With so few items the intervals say little." if question["items"] < 20 else "")
    )


def model_name(question: dict[str, Any]) -> str:
    backend = question["backend"]
    return backend["model"] if backend else "a model in memory"
