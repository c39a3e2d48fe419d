"""A film at one of its steps, drawn with rich: canvas, candidates, and what it cost so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.panel import Panel
from rich.style import Style
from rich.table import Table
from rich.text import Text

from ...traces.film import Film, Frame
from ..drawing import counted, shortened, visible
from .colours import filled, masked
from .layout import expected, lines_of, shown, space_around

HOLE = "·"
MOST_MOVES = 12
NARROW = 40  # columns that a canvas needs beside the candidates
PROMPT_LINES = 3
NEW = Style(bold=True, underline=True)


@dataclass(eq=False)
class Lane:
    """A film and how it is shown.

    Attributes:
        title: above it.
        film: what is shown.
        seconds: that its steps took to compute so far.
    """

    title: str
    film: Film
    seconds: float = 0.0


def picture(lane: Lane, steps: int, console: Console, width: int, height: int) -> Panel:
    """A lane after so many steps, in so many columns and at most so many lines."""
    film = lane.film
    frame = film.frames[steps - 1] if steps else None
    inside = width - 4
    table = candidates(film, frame)
    left = inside if table is None else inside - Measurement.get(console, console.options, table).maximum - 3
    beside = left >= NARROW
    below = 0 if table is None or beside else table.row_count + 3
    canvas = windowed(film, steps, console, left if beside else inside, max(3, height - 6 - below))
    both = Table.grid(padding=(0, 3, 0, 0))
    both.add_column(width=left if beside else inside)
    both.add_row(canvas, *([table] if table is not None and beside else []))
    parts: list[RenderableType] = [both, Text(), status(lane, steps)]
    if table is not None and not beside:
        parts += [Text(), table]
    title = Text(shortened(visible(lane.title), max(3, width - 6)), style="bold")
    return Panel(Group(*parts), title=title, title_align="left", box=box.ROUNDED, width=width)


def windowed(film: Film, steps: int, console: Console, width: int, height: int) -> RenderableType:
    """As many lines of prompt and canvas as there is room for, around the block that is being filled."""
    before = [*prompt_lines(film, console, width), Text()] if film.prefix else []
    lines, active = canvas_lines(film, steps, width)
    if len(before) + len(lines) > height:
        first = min(max(0, active - 1), max(0, len(lines) - height))
        lines, before = lines[first : first + height], []
    return Group(*before, *lines)


def prompt_lines(film: Film, console: Console, width: int) -> list[Text]:
    """The last lines of the prompt, with a mark where its beginning is left out."""
    prompt = Text("".join(shown(film, token) for token in film.prefix), style="dim")
    lines = list(prompt.wrap(console, width))
    last = lines[-PROMPT_LINES:]
    if len(last) < len(lines):
        last[0] = Text("…" + set_cell_size(last[0].plain, width)[1:].rstrip(), style="dim", no_wrap=True)
        last[0].truncate(width)
    return last


def canvas_lines(film: Film, steps: int, width: int) -> tuple[list[Text], int]:
    """The body in lines of at most so many columns, and the number of the line in which the current block begins."""
    tokens, filled_at = film.after(steps)
    likely = expected(film, steps)
    space = space_around(film, likely)
    cells = cells_of(film, steps, tokens, filled_at)
    block = film.frames[steps - 1].block[0] if steps else 0
    lines: list[Text] = []
    active = 0
    for positions in lines_of(film, likely):
        lines.append(Text(no_wrap=True))
        for position in positions:
            text, style = cells[position]
            text = space + text + space
            text = text if cell_len(text) <= width else set_cell_size(text, width)
            if lines[-1].cell_len + cell_len(text) > width:
                lines.append(Text(no_wrap=True))
            lines[-1].append(text, style)
            if position == block:
                active = len(lines) - 1
    return lines, active


def cells_of(film: Film, steps: int, tokens: Sequence[int], filled_at: Sequence[int]) -> list[tuple[str, Style]]:
    """Text and style of each position: masked ones by their entropy, filled ones by when they were filled.

    Args:
        tokens, filled_at: what `film.after(steps)` gives.
    """
    frame = film.frames[steps - 1] if steps else None
    entropies = {} if frame is None else dict(zip(frame.masked, frame.masked_entropy, strict=True))
    ranks = ranks_of(film, filled_at)
    cells = []
    for position, token in enumerate(tokens):
        text = shown(film, token)
        style = filled(ranks[position]) if position in ranks else Style()
        if token == film.mask_id:
            text, style = HOLE, masked(entropies.get(position))
        elif frame is not None and position in frame.positions:
            style += NEW
        cells.append((text, style))
    return cells


def ranks_of(film: Film, filled_at: Sequence[int]) -> dict[int, float]:
    """For each position that was filled, the share of all positions that had been filled by then."""
    order = sorted((step, position) for position, step in enumerate(filled_at) if step >= 0)
    holes = max(1, film.body.count(film.mask_id) - 1)
    first: dict[int, int] = {}
    for rank, (step, _) in enumerate(order):
        first.setdefault(step, rank)
    return {position: first[step] / holes for step, position in order}


def candidates(film: Film, frame: Frame | None) -> Table | None:
    """The moves that the step weighed, the best first; None if it weighed none."""
    if frame is None or not frame.candidates:
        return None
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    table.add_column("")
    table.add_column("move", overflow="ellipsis", no_wrap=True, max_width=32)
    for name in ("C", "H", "J"):
        table.add_column(name, justify="right", no_wrap=True)
    moves = sorted(frame.candidates, key=lambda move: -move.score)
    for move in moves[:MOST_MOVES]:
        pairs = zip(move.positions, move.tokens, strict=True)
        text = ", ".join(f"{position} {shown(film, token)!r}" for position, token in pairs)
        figures = (f"{figure:.3f}" for figure in (move.cost, move.next_entropy, move.score))
        table.add_row("▶" if move.chosen else "", Text(text), *figures, style="bold" if move.chosen else "")
    return table


def status(lane: Lane, steps: int) -> Text:
    """Where the film is, and what it cost until then."""
    film, frames = lane.film, lane.film.frames[:steps]
    tokens, _ = film.after(steps)
    done, holes = film.body.count(film.mask_id) - tokens.count(film.mask_id), film.body.count(film.mask_id)
    text = Text(f"step {steps} · {done} of {holes} filled")
    if frames:
        start, stop = frames[-1].block
        text.append(f" · block {start} to {stop - 1}")
        entropy, forwards = film.cumulative_entropy[steps - 1], sum(frame.sequential_forwards for frame in frames)
        text.append(f"\nentropy {entropy:.3f} nats · {counted(forwards, 'forward')}")
        if lane.seconds and steps == len(film.frames):
            text.append(f" · {done / lane.seconds:.1f} tokens/s")
        text.append("\n" + filled_text(film, frames[-1]), style="dim")
    return text


def filled_text(film: Film, frame: Frame) -> str:
    """What a step did, in words."""
    figures = zip(frame.positions, frame.tokens, frame.confidence, strict=True)
    named = [f"{position} {shown(film, token)!r} ({confidence:.2f})" for position, token, confidence in figures]
    text = "filled " + ", ".join(named[:6]) + (f" and {len(named) - 6} more" if len(named) > 6 else "")
    if frame.reopened:
        text += f"; reopened {', '.join(map(str, frame.reopened))}"
    return text + (f"; the end filled {len(frame.ended)} more" if frame.ended else "")


def legend() -> Text:
    """What the colours mean."""
    text = Text("masked, nats ")
    for entropy in (0.0, 0.5, 1.0, 2.0):
        text.append(f" {entropy:g} ", masked(entropy))
    text.append("   filled first ")
    for part in range(9):
        text.append(" ", filled(part / 8))
    text.append(" last   ")
    text.append("new", NEW)
    return text
