"""The table of a comparison: columns as text, for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isnan
from typing import Any

from ..views.drawing import shortened
from .frontier import Curve, pareto
from .statistics import Interval, Summary

_Cell = Callable[[Summary], str]


@dataclass(frozen=True)
class _Column:
    """A column's heading, its text for a summary, and whether it is left out when it is the same in all lines."""

    heading: str
    cell: _Cell
    optional: bool = False


def interval_text(interval: Interval, form: str, scale: float = 100.0, unit: str = "") -> str:
    """An estimate, in percent unless the scale is another, with its bounds if they are known."""
    mean, low, high = (f"{scale * number:{form}}" for number in (interval.mean, interval.low, interval.high))
    return f"{mean}{unit}" + ("" if isnan(interval.low) else f" [{low}, {high}]")


def _gain(s: Summary) -> str:
    if s.gain is None:
        return "best" if s.setting.is_greedy else ""
    return interval_text(s.gain, "+.1f")


def _change(s: Summary) -> str:
    if s.entropy_change is None:
        return "lowest" if s.setting.is_greedy else ""
    return interval_text(s.entropy_change, "+.0f", unit="%")


COLUMNS = (
    _Column("K", lambda s: str(s.setting.tokens_per_step or "own")),
    _Column("block", lambda s: str(s.setting.block_size or "all"), optional=True),
    _Column("cache", lambda s: s.setting.key["cache"], optional=True),
    _Column("planner", lambda s: s.setting.key["planner"]),
    _Column("accuracy", lambda s: interval_text(s.accuracy, ".1f")),
    _Column("vs best greedy", _gain),
    _Column("entropy", lambda s: f"{s.entropy.mean:.3f}"),
    _Column("vs lowest greedy", _change),
    _Column("seq-forwards", lambda s: f"{s.sequential_forwards.mean:.2f}"),
    _Column("TPF", lambda s: f"{s.tokens_per_forward.mean:.2f}"),
    _Column("row-forwards", lambda s: f"{s.forwards:.1f}"),
    _Column("token-forwards", lambda s: f"{s.token_forwards:,.0f}"),
    _Column("ms/item", lambda s: f"{1000 * s.seconds:.0f}"),
    _Column("tokens/s", lambda s: f"{s.tokens_per_second:,.0f}"),
)
FRONTS: dict[str, Callable[[Summary], float]] = {
    "seq-forwards": lambda s: s.sequential_forwards.mean,
    "row-forwards": lambda s: s.forwards,
}
"""Columns in which a star marks the settings on the Pareto front of accuracy against that cost."""
LEAST_TELLING = (
    *("tokens/s", "ms/item", "vs lowest greedy", "token-forwards", "entropy", "vs best greedy", "TPF", "row-forwards"),
)
"""What a narrow terminal is spared, in this order."""
WIDEST = 400
"""Characters of a table that nothing bounds."""
_SHORTEST = 10
"""Characters of a planner's name that are always shown."""
LEGEND = """\
K: tokens a step; own: the planner chooses. Accuracy in %, with its 95% interval. vs best greedy: accuracy minus that of
the most accurate of confidence, margin and entropy at the same K, cache and block, in points, with a paired 95%
interval. Entropy: cumulative entropy in nats, the entropies of all positions when they were filled, summed; vs lowest
greedy: its change against the greedy planner that has the lowest. Seq-forwards: sequential forwards, the model's calls
for an item one after the other, a lookahead counting 1; TPF: tokens filled per sequential forward. Row-forwards and
token-forwards: model rows and tokens computed for an item, a lookahead at 8 candidates counting 8 rows. None of these
depends on the machine. A star: no other setting is as accurate for less (the Pareto front). Times are wall-clock times
divided by the rows of a batch."""
AUP_LEGEND = """\
AUP: accuracy in % under parallelism, the area under a planner's accuracy from no tokens per forward to its most, over
all its settings (numbers and K), with a 95% interval. Accuracy that is lost weighs more than its part; a setting more
than 5 points below the planner's slowest is left out. The slowest one's accuracy is not weighed, so AUP compares
planners whose slowest settings are about as accurate."""


def cells(summaries: Sequence[Summary]) -> tuple[list[str], list[list[str]]]:
    """Headings and lines of the table, and nothing that is the same in every line unless it is always shown."""
    shown = [c for c in COLUMNS if not c.optional or len({c.cell(s) for s in summaries}) > 1]
    starred = {heading: fronted(summaries, cost) for heading, cost in FRONTS.items()}

    def text(column: _Column, number: int) -> str:
        on_front = starred.get(column.heading)
        star = "" if on_front is None else "*" if on_front[number] else " "
        return column.cell(summaries[number]) + star

    return [c.heading for c in shown], [[text(c, i) for c in shown] for i in range(len(summaries))]


def fronted(summaries: Sequence[Summary], cost: Callable[[Summary], float]) -> list[bool]:
    """Whether each setting is on the Pareto front of accuracy against a cost."""
    points = [(cost(s), s.accuracy.mean) for s in summaries]
    front = set(pareto(points))
    return [point in front for point in points]


def curve_cells(curves: Sequence[Curve]) -> tuple[list[str], list[list[str]]]:
    """Headings and lines of the table of areas; caches and blocks only where they differ."""
    lines = [
        [str(c.block_size or "all"), c.cache, c.family, str(c.points), interval_text(c.aup, ".0f", 1)] for c in curves
    ]
    headings = ["block", "cache", "planner", "settings", "AUP"]
    kept = [i for i in range(len(headings)) if i > 1 or len({line[i] for line in lines}) > 1]
    return [headings[i] for i in kept], [[line[i] for i in kept] for line in lines]


def markdown_table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [headings, ["---"] * len(headings), *([cell.replace("|", "\\|") for cell in line] for line in lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def rich_table(summaries: Sequence[Summary], width: int | None = None) -> tuple[Any, list[str]]:
    """The table for a terminal, with a line between different K, blocks and caches, and the columns that it lacks.

    Args:
        width: characters that there are; as many columns of `LEAST_TELLING` are left out as it takes, and then the
            middles of long names. None for all.
    """
    conditions = [s.setting.conditions for s in summaries]
    ends = [this != following for this, following in pairwise(conditions)] + [False]
    return _fitting(*cells(summaries), LEAST_TELLING, ends, width)


def rich_curves(curves: Sequence[Curve], width: int | None = None) -> Any:
    """The table of areas for a terminal, as wide as it is at most; see `rich_table`."""
    return _fitting(*curve_cells(curves), ("settings",), [False] * len(curves), width)[0]


def _fitting(
    headings: Sequence[str],
    lines: Sequence[Sequence[str]],
    least_telling: Sequence[str],
    ends: Sequence[bool],
    width: int | None,
) -> tuple[Any, list[str]]:
    """The table in so many characters, and the columns that were left out for it."""
    for count in range(len(least_telling) + 1):
        missing = list(least_telling[:count])
        kept = [i for i, heading in enumerate(headings) if heading not in missing]
        heads, texts = [headings[i] for i in kept], [[line[i] for i in kept] for line in lines]
        table = _rich_table(heads, texts, ends)
        excess = 0 if width is None else _width_of(table) - width
        if excess <= 0:
            return table, missing
    name = heads.index("planner")
    most = max(_SHORTEST, max(len(line[name]) for line in texts) - excess)
    texts = [[*line[:name], shortened(line[name], most), *line[name + 1 :]] for line in texts]
    return _rich_table(heads, texts, ends), missing


def _width_of(table: Any) -> int:
    from rich.console import Console
    from rich.measure import Measurement

    console = Console(width=WIDEST)
    return Measurement.get(console, console.options, table).maximum


def _rich_table(headings: Sequence[str], lines: Sequence[Sequence[str]], ends: Sequence[bool]) -> Any:
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE, padding=(0, 1), collapse_padding=True)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("planner", "cache") else "right", no_wrap=True)
    for line, end in zip(lines, ends, strict=True):
        table.add_row(*map(Text, line), end_section=end)  # a name is neither markup nor an emoji
    return table
