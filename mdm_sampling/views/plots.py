"""Figures of how rows were decoded, for papers and notebooks. Needs the extra `plot` (matplotlib). Steps count from 1.

`Result` has them as methods; the `history` of a trace's film can be drawn as well. Each makes a figure of its own, or
draws into given axes; pyplot is not used, and so no global state is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, cast
from unicodedata import east_asian_width

from ..errors import SpecError, require
from ..history import RowHistory, Weighed
from .drawing import GREY, Colour, ink, last_step, looks

try:
    import matplotlib
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle
    from matplotlib.ticker import MaxNLocator
except ImportError as error:
    raise SpecError('plots need matplotlib; pip install "mdm-sampling[plot]"') from error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POSITIONS = 120
"""Up to here, in each row, the tokens themselves are drawn; more make a heat map."""

_MOST_CELLS = 600
"""The same for all rows together."""

_MOST_LINES = 8
"""Rows of one result that have a line, a colour and a name of their own."""

_POINTS = 9.0
"""Size of the tokens' font in a figure of its own."""

_PITCH = 0.63
"""Width of a monospaced character with what hinting adds, by the font's size. Cells are measured in such widths."""

_LINE = _NARROWEST = 2.5
"""Height of a line and smallest width of a cell, so that a text of single characters has square cells."""

_WIDEST_LINE = 64.0

HANDLE, LETTER, ENTRY = 0.55, 0.062, 0.18
"""Inches that a line and each character behind it are wide in a legend, and that both are high."""

_Histories = Sequence[RowHistory]


class _Picture(Figure):
    """A figure that notebooks show, even where nothing has imported pyplot."""

    def _repr_png_(self) -> bytes:
        from io import BytesIO

        file = BytesIO()
        self.savefig(file, format="png", dpi=120)
        return file.getvalue()


@dataclass(frozen=True)
class _Cell:
    """A token of a row at its position in a drawing, in characters from the upper left corner."""

    x: float
    y: float
    width: float
    text: str
    step: int


def plot_order(
    histories: _Histories,
    token_texts: Callable[[int], Sequence[str]],
    row: int | None = None,
    ax: Axes | None = None,
) -> Figure:
    """When each position was filled: the text in cells coloured by step, or, of long rows, a heat map of their
    positions.

    Args:
        token_texts: gives the texts of a row's tokens by its number, such as `Result.token_texts`.
        row: one row only; None draws all under each other.
        ax: draw here instead of into a figure of its own.
    """
    rows = _rows(histories, row)
    orders = {i: histories[i].order for i in rows}
    lengths = [len(order) for order in orders.values()]
    last = last_step([histories[i] for i in rows])
    scale = ScalarMappable(Normalize(1, max(last, 1) + 1), matplotlib.colormaps["viridis"])
    if max(lengths) > MOST_POSITIONS or sum(lengths) > _MOST_CELLS:
        return _order_map(orders, scale, ax)
    return _order_cells(orders, token_texts, scale, ax)


def plot_entropy(
    histories: _Histories | Mapping[str, _Histories], row: int | None = None, ax: Axes | None = None
) -> Figure:
    """What uncertainty each row was filled at: cumulative entropy over its steps, and below it that of each step.

    Rows that share a name are thin lines around their mean, in which a finished row pays nothing more.

    Args:
        histories: those of one result, or of several by name, to compare them.
        row: one row only; None draws a line for each. Up to eight rows of one result have a name each.
        ax: draw the cumulative entropy here, instead of both into a figure of its own.
    """
    series = _series(histories, row)
    panels = _panels(ax, 4.2, (3, 2))
    for name, look in looks(list(series)).items():
        lines = series[name]
        for axes, values in zip(panels, ([list(accumulate(line)) for line in lines], lines), strict=False):
            for line in values if len(values) > 1 else []:
                axes.plot(range(1, len(line) + 1), line, color=look["color"], linewidth=0.7, alpha=0.4)
            means = _mean(values, after=axes is panels[0])
            (mean,) = axes.plot(range(1, len(means) + 1), means, linewidth=1.5, label=name)
            mean.set(**look, markersize=4, markevery=max(1, max(map(len, values)) // 20))
    return _finished(panels, ("cumulative entropy (nats)", "entropy a step (nats)"))


def plot_candidates(histories: _Histories, row: int = 0, ax: Axes | None = None) -> Figure:
    """The moves that were weighed at each step, the winners joined: their cost C, next entropy H and score J.

    Args:
        ax: draw the score, which decides, here, instead of all three into a figure of its own.
    """
    row = _rows(histories, row)[0]
    weighed = histories[row].weighed
    require(bool(weighed), f"row {row}: no step weighed candidates; use the planner info-gain without a bypass")
    values = {
        "score J (more is better)": [move.score for move in weighed],
        "cost C (nats)": [move.cost for move in weighed],
        "next entropy H (nats)": [move.next_entropy for move in weighed],
    }
    panels = _panels(ax, 5.4, (1, 1, 1))
    for axes, figures in zip(panels, values.values(), strict=False):
        _draw_moves(axes, weighed, figures)
    return _finished(panels, list(values))


def _rows(histories: _Histories, row: int | None) -> list[int]:
    """The rows to draw. Raises `SpecError` for one that is not there."""
    count = len(histories)
    require(count > 0, "the result has no rows to draw")
    require(
        row is None or (isinstance(row, int) and 0 <= row < count),
        f"row must be a number from 0 to {count - 1}, got {row}",
    )
    return list(range(count)) if row is None else [row]


def _order_cells(
    orders: Mapping[int, Sequence[int]],
    token_texts: Callable[[int], Sequence[str]],
    scale: ScalarMappable,
    ax: Axes | None,
) -> Figure:
    """The rows' texts, a coloured cell for each token."""
    cells: list[_Cell] = []
    names: list[tuple[float, str]] = []
    bottom = 0.0
    for row, order in orders.items():
        if len(orders) > 1:
            names.append((bottom + 0.6 * _LINE, f"row {row}"))
            bottom += 1.1 * _LINE
        cells += _laid_out(token_texts(row), order, bottom)
        bottom = cells[-1].y + _LINE
    width = max(cell.x + cell.width for cell in cells)
    axes = _fitting_axes(width, bottom, scale) if ax is None else ax
    if ax is not None:
        _colourbar(axes.figure.colorbar(scale, ax=axes))
    axes.set_xlim(0, width)
    axes.set_ylim(bottom, 0)
    axes.set_aspect("equal", anchor="NW")
    axes.set_axis_off()
    box = axes.get_window_extent()
    size = 72 / axes.figure.dpi * min(box.width / width, box.height / bottom) / _PITCH
    for cell in cells:
        _draw_cell(axes, cell, _colour(scale, cell.step), size)
    for y, name in names:
        axes.text(0, y, name, fontsize=0.9 * size, va="center")
    return cast("Figure", axes.figure)


def _draw_cell(axes: Axes, cell: _Cell, colour: Colour, size: float) -> None:
    axes.add_patch(Rectangle((cell.x, cell.y), cell.width, _LINE, facecolor=colour, edgecolor="white", linewidth=0.8))
    axes.text(
        *(cell.x + cell.width / 2, cell.y + _LINE / 2, cell.text),
        color=ink(colour),
        fontsize=size,
        family=["monospace", "sans-serif"],  # what the first has no glyph for, the second may
        ha="center",
        va="center_baseline",
        parse_math=False,
    )


def _laid_out(texts: Sequence[str], order: Sequence[int], top: float) -> list[_Cell]:
    """The tokens in lines as in the text: a newline ends a line, and so does its greatest width."""
    cells = []
    x, y = 0.0, top
    for text, step in zip(texts, order, strict=True):
        width = max(_NARROWEST, 1 + sum(2 if east_asian_width(c) in "WF" else 1 for c in text))
        if x > 0 and x + width > _WIDEST_LINE:
            x, y = 0.0, y + _LINE
        cells.append(_Cell(x, y, width, text, step))
        x += width
        if "⏎" in text:
            x, y = 0.0, y + _LINE
    return cells


def _fitting_axes(width: float, height: float, scale: ScalarMappable) -> Axes:
    """Axes, with a scale beside them, of a figure in which a character has its font's size."""
    inch = _POINTS * _PITCH / 72
    margin, gap, bar, labels = 0.08, 0.15, 0.12, 0.55
    wide = margin + width * inch + gap + bar + labels
    high = 2 * margin + max(height * inch, 1.0)
    figure = _Picture(figsize=(wide, high))
    upper = (high - margin - height * inch) / high
    axes = figure.add_axes((margin / wide, upper, width * inch / wide, height * inch / high))
    tall = min(high - 2 * margin, 2.0)
    left = (margin + width * inch + gap) / wide
    beside = figure.add_axes((left, (high - margin - tall) / high, bar / wide, tall / high))
    _colourbar(figure.colorbar(scale, cax=beside))
    return axes


def _order_map(orders: Mapping[int, Sequence[int]], scale: ScalarMappable, ax: Axes | None) -> Figure:
    """A line of coloured positions for each row."""
    rows = list(orders)
    width = max(map(len, orders.values()))
    white = (1.0, 1.0, 1.0)
    image = [[_colour(scale, step) for step in order] + [white] * (width - len(order)) for order in orders.values()]
    axes = ax or _Picture(figsize=(6.4, min(8.0, 1.2 + 0.22 * len(rows))), layout="constrained").subplots()
    axes.imshow(image, aspect="auto", interpolation="none", extent=(-0.5, width - 0.5, len(rows) - 0.5, -0.5))
    if len(rows) == 1:
        axes.set_yticks([0], [f"row {rows[0]}"])
    else:
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel("row", fontsize=9)
        axes.hlines([i - 0.5 for i in range(1, len(rows))], -0.5, width - 0.5, color="white", linewidth=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("position of the body; grey: no step filled it", fontsize=9)
    axes.tick_params(labelsize=8)
    _colourbar(axes.figure.colorbar(scale, ax=axes))
    return cast("Figure", axes.figure)


def _colour(scale: Any, step: int) -> Colour:
    if step < 0:
        return GREY
    red, green, blue, _ = scale.to_rgba(step + 1)
    return red, green, blue


def _colourbar(bar: Any) -> None:
    bar.set_label("filled at step", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    bar.outline.set_visible(False)


def _series(histories: _Histories | Mapping[str, _Histories], row: int | None) -> dict[str, list[list[float]]]:
    """The entropies of the steps of each line, by the name of its result; a few rows of only one are named alone."""
    named = histories if isinstance(histories, Mapping) else {"": histories}
    require(bool(named), "there are no results to draw")
    found: dict[str, list[list[float]]] = {}
    for name, rows in named.items():
        lines = {i: rows[i].step_entropy for i in _rows(rows, row)}
        if not isinstance(histories, Mapping) and len(lines) <= _MOST_LINES:
            found |= {f"row {i}, {sum(steps):.2f} nats": [steps] for i, steps in lines.items()}
            continue
        mean = sum(map(sum, lines.values())) / len(lines)
        what = f"row {row}" if row is not None else f"mean of {len(lines)} rows" if len(lines) > 1 else ""
        found[", ".join(filter(None, [name, what, f"{mean:.2f} nats"]))] = list(lines.values())
    return found


def _mean(lines: Sequence[Sequence[float]], after: bool) -> list[float]:
    """The mean of lines of different lengths; `after` its end a line keeps its last value, or else is 0."""
    longest = max(map(len, lines))
    filled = [[*line, *[line[-1] if after and line else 0.0] * (longest - len(line))] for line in lines]
    return [sum(values) / len(lines) for values in zip(*filled, strict=True)]


def _draw_moves(axes: Axes, weighed: Sequence[Weighed], figures: Sequence[Sequence[float]]) -> None:
    """One figure of each move, and that of the winners."""
    every = [(move.step + 1, value) for move, values in zip(weighed, figures, strict=True) for value in values]
    best = [(move.step + 1, values[move.chosen]) for move, values in zip(weighed, figures, strict=True)]
    axes.plot(*zip(*every, strict=True), "o", color="#999999", markersize=3.5, alpha=0.6, linewidth=0, label="weighed")
    axes.plot(*zip(*best, strict=True), "D-", color="#D55E00", markersize=4.5, linewidth=1, label="chosen")


def _panels(ax: Axes | None, height: float, ratios: Sequence[float]) -> list[Axes]:
    """The given axes alone, or those of a new figure, one under the other."""
    if ax is not None:
        return [ax]
    figure = _Picture(figsize=(5.6, height), layout="constrained")
    return list(figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios))


def _finished(panels: Sequence[Axes], labels: Sequence[str]) -> Figure:
    """The figure of panels over the same steps, with their labels."""
    for axes, label in zip(panels, labels, strict=False):
        axes.set_ylabel(label, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(color="0.92")
        axes.set_axisbelow(True)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[-1].set_xlabel("step", fontsize=9)
    figure = cast("Figure", panels[0].figure)
    _legend_above(figure, panels)
    figure.align_ylabels(panels)
    return figure


def _legend_above(figure: Figure, panels: Sequence[Axes]) -> None:
    """A legend over the panels, where no curve is, in as many columns as are wide enough for its names."""
    handles, names = panels[0].get_legend_handles_labels()
    is_given = len(panels) == 1  # then a layout of the figure, and room beside the axes, are not ours to have
    inches = panels[0].get_window_extent().width / figure.dpi
    columns = max(1, int(inches / (HANDLE + LETTER * max(map(len, names)))))
    how: Any = {"ncols": columns, "fontsize": 8, "frameon": False}
    if is_given:
        panels[0].legend(handles, names, loc="lower left", bbox_to_anchor=(0, 1), **how)
    else:
        figure.set_figheight(figure.get_figheight() + ENTRY * -(-len(names) // columns))
        figure.legend(handles, names, loc="outside upper left", **how)
