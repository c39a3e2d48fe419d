"""The table of a comparison: columns as text, for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

from .statistics import Interval, Summary

_Cell = Callable[[Summary], str]


@dataclass(frozen=True)
class _Column:
    """A column's heading, its text for a summary, and whether it is left out when it is the same in all lines."""

    heading: str
    cell: _Cell
    optional: bool = False


COLUMNS = (
    _Column("K", lambda s: str(s.setting.tokens_per_step)),
    _Column("block", lambda s: str(s.setting.block_size or "all"), optional=True),
    _Column("cache", lambda s: s.setting.key["cache"], optional=True),
    _Column("planner", lambda s: s.setting.key["planner"]),
    _Column("accuracy", lambda s: _percent(s.accuracy)),
    _Column("vs best greedy", lambda s: _points(s.gain, s.setting.is_greedy)),
    _Column("entropy", lambda s: f"{s.entropy.mean:.3f}"),
    _Column("vs lowest greedy", lambda s: change(s.entropy_change, s.setting.is_greedy)),
    _Column("row-forwards", lambda s: f"{s.forwards:.1f}"),
    _Column("token-forwards", lambda s: f"{s.token_forwards:,.0f}"),
    _Column("ms/item", lambda s: f"{1000 * s.seconds:.0f}"),
    _Column("tokens/s", lambda s: f"{s.tokens_per_second:,.0f}"),
)
LEAST_TELLING = ("tokens/s", "ms/item", "token-forwards", "vs lowest greedy", "row-forwards")
"""What a narrow terminal is spared, in this order."""
WIDEST = 400
"""Characters of a table that nothing bounds."""
LEGEND = """\
K: tokens a step. Accuracy in %, with its 95% interval. vs best greedy: accuracy minus that of the most accurate of
confidence, margin and entropy at the same K, cache and block, in points, with a paired 95% interval. Entropy:
cumulative entropy in nats, the entropies of all positions when they were filled, summed; vs lowest greedy: its change
against the greedy planner that has the lowest. Row-forwards and token-forwards: model rows and tokens computed for an
item, a lookahead at 8 candidates counting 8 rows. Times are wall-clock times divided by the rows of a batch."""


def cells(summaries: Sequence[Summary]) -> tuple[list[str], list[list[str]]]:
    """Headings and lines of the table, and nothing that is the same in every line unless it is always shown."""
    shown = [c for c in COLUMNS if not c.optional or len({c.cell(s) for s in summaries}) > 1]
    return [c.heading for c in shown], [[c.cell(s) for c in shown] for s in summaries]


def _percent(interval: Interval) -> str:
    return f"{100 * interval.mean:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _points(interval: Interval | None, is_greedy: bool) -> str:
    if interval is None:
        return "best" if is_greedy else ""
    return f"{100 * interval.mean:+.1f} [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"


def change(interval: Interval | None, is_greedy: bool) -> str:
    if interval is None:
        return "lowest" if is_greedy else ""
    bounds = "" if isnan(interval.low) else f" [{100 * interval.low:+.0f}, {100 * interval.high:+.0f}]"
    return f"{100 * interval.mean:+.0f}%{bounds}"


def markdown_table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [headings, ["---"] * len(headings), *([cell.replace("|", "\\|") for cell in line] for line in lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def rich_table(summaries: Sequence[Summary], width: int | None = None) -> tuple[Any, list[str]]:
    """The table for a terminal, with a line between different K, blocks and caches, and the columns that it lacks.

    Args:
        width: characters that there are; as many columns of `LEAST_TELLING` are left out as it takes. None for all.
    """
    from rich.console import Console
    from rich.measure import Measurement

    console = Console(width=WIDEST)
    for count in range(len(LEAST_TELLING) + 1):
        table = _rich_table(summaries, LEAST_TELLING[:count])
        if width is None or Measurement.get(console, console.options, table).maximum <= width:
            break
    return table, list(LEAST_TELLING[:count])


def _rich_table(summaries: Sequence[Summary], without: Sequence[str]) -> Any:
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    headings, lines = cells(summaries)
    kept = [i for i, heading in enumerate(headings) if heading not in without]
    table = Table(box=SIMPLE, padding=(0, 1), collapse_padding=True)
    for heading in (headings[i] for i in kept):
        table.add_column(heading, justify="left" if heading in ("planner", "cache") else "right", no_wrap=True)
    for number, line in enumerate(lines):
        following = summaries[number + 1].setting if number + 1 < len(summaries) else None
        ends = following is not None and following.conditions != summaries[number].setting.conditions
        table.add_row(*(Text(line[i]) for i in kept), end_section=ends)  # a name is neither markup nor an emoji
    return table
