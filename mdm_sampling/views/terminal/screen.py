"""The live view: it draws each step, keeps a pace and listens to keys. Decoding goes on when it returns."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ...backends.base import ModelBackend
from ...canvas import Canvas
from ...records import StepRecord
from ...traces.film import Film
from ...traces.keeper import FilmKeeper
from ..drawing import counted
from .keys import Keys
from .layout import shown
from .plain import Encodable, encodable
from .view import Lane, filled_text, legend, picture

_NARROWEST = 48  # columns that a lane needs beside another
_LOW = 16  # lines below which only the lanes are shown
SLOWEST, FASTEST = 0.25, 64.0
_KEYS = "space pause · ←→ step · +- speed · q quit"
_KEYS_AT_THE_END = "←→ step · q quit"


class Screen:
    """Shows lanes on a terminal, or a line for each step where there is none.

    Args:
        console: where to.
        speed: most steps a second.
        together: whether all lanes are shown side by side; else one, and keys choose which.
    """

    def __init__(self, console: Console, speed: float, together: bool = False, keys: Keys | None = None) -> None:
        self.console = console
        self.speed = speed
        self.together = together
        self.keys = keys or Keys()
        self.paused = self.closed = self.ended = False
        self.back = 0  # steps that the view is behind
        self.tallest = 0  # lines of a lane so far, so that nothing jumps where a step weighed no moves
        self.row = 0
        self.lanes: Sequence[Lane] = ()
        self.live: Live | None = None
        self.entered = ExitStack()

    def __enter__(self) -> Screen:
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self.live = Live(console=self.console, auto_refresh=False, vertical_overflow="crop")
            with ExitStack() as stack:
                stack.enter_context(self.keys)
                stack.enter_context(self.live)
                stack.callback(self._leave)
                self.entered = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self.entered.close()

    def _leave(self) -> None:
        """The last picture stays on the terminal: it shows the latest step, and names no keys, for none is read."""
        if self.lanes:
            self.back, self.closed, self.paused = 0, True, False
            self._draw(self.lanes)

    def step(self, lanes: Sequence[Lane]) -> None:
        """Show the lanes after their latest steps, and come back when it is time for the next."""
        if self.live is None:
            for lane in lanes:
                if lane.film.frames:
                    line = encodable(_plain_line(lane), self.console.encoding)
                    self.console.print(line, soft_wrap=True, markup=False, highlight=False)
            return
        self.lanes = lanes
        if self.closed:
            return
        self.back = 0
        self._draw(lanes)
        due = time.monotonic() + 1 / self.speed
        while not self.closed and (self.paused or time.monotonic() < due):
            key = self.keys.read(0.1 if self.paused else max(0.0, due - time.monotonic()))
            if key is None:
                continue
            if self._obey(key, lanes):
                return
            due = time.monotonic() + 1 / self.speed
            self._draw(lanes)

    def stay(self) -> None:
        """All steps are taken: let them be looked at until somebody quits. Without keys it comes back at once."""
        if self.live is None or self.closed or not self.keys.available:
            return
        self.ended, self.paused, self.back = True, True, 0
        self._draw(self.lanes)
        while not self.closed:
            key = self.keys.read(0.1)
            if key is not None:
                self._obey(key, self.lanes)
                self.paused, self.back = True, max(0, self.back)  # there is nothing to go on with
                self._draw(self.lanes)

    def _obey(self, key: str, lanes: Sequence[Lane]) -> bool:
        """Do what a key says; whether the next step is asked for."""
        most = max(len(lane.film.frames) for lane in lanes)
        if key == "pause":
            self.paused = not self.paused
        elif key == "back":
            self.paused, self.back = True, min(self.back + 1, most)
        elif key == "forward":
            self.paused, self.back = True, self.back - 1
            return self.back < 0
        elif key in ("faster", "slower"):
            factor = 2.0 if key == "faster" else 0.5
            self.speed = min(FASTEST, max(SLOWEST, self.speed * factor))
        elif key in ("previous", "next"):
            self.row = (self.row + (1 if key == "next" else -1)) % len(lanes)
        elif key == "quit":
            self.closed = True
        return False

    def _draw(self, lanes: Sequence[Lane]) -> None:
        assert self.live is not None
        self.live.update(Encodable(self.render(lanes)), refresh=True)

    def render(self, lanes: Sequence[Lane]) -> RenderableType:
        """What is on the screen."""
        width, height = self.console.size
        shown_lanes = list(lanes) if self.together else [lanes[min(self.row, len(lanes) - 1)]]
        columns = max(1, min(len(shown_lanes), width // _NARROWEST))
        rows = -(-len(shown_lanes) // columns)
        room = (height - (3 if height >= _LOW else 0)) // rows
        most = max(len(lane.film.frames) for lane in shown_lanes) - self.back
        pictures = [
            picture(lane, max(0, min(len(lane.film.frames), most)), self.console, width // columns, room)
            for lane in shown_lanes
        ]
        options = self.console.options.update_width(width // columns)
        self.tallest = max(self.tallest, *(len(self.console.render_lines(each, options)) for each in pictures))
        grid = Table.grid()
        for each in pictures:
            each.height = min(self.tallest, room)
        for first in range(0, len(pictures), columns):
            grid.add_row(*pictures[first : first + columns])
        return Group(grid, legend(), self._footer(lanes)) if height >= _LOW else grid

    def _footer(self, lanes: Sequence[Lane]) -> Text:
        parts = [f"at most {counted(self.speed, 'step')} a second"]
        if self.paused:
            state = "all steps taken" if self.ended else "paused"
            parts = [state if not self.back else f"{state}, {counted(self.back, 'step')} back"]
        if self.closed:
            is_open = any(lane.film.mask_id in lane.film.canvas for lane in lanes)
            return Text("stopped watching" if is_open else "all steps taken", style="dim")
        if self.keys.available:
            keys = _KEYS_AT_THE_END if self.ended else _KEYS
            parts.append(keys + (" · ↑↓ row" if len(lanes) > 1 and not self.together else ""))
        return Text(" · ".join(parts), style="dim")


class Watcher:
    """An observer that shows a batch's rows on a screen. It changes nothing of what is decoded.

    Args:
        screen: entered for as long as a batch takes.
        backend: names the tokens.
        spec: the sampler's settings.
        title: of the planner.
        first: the number of the batch's first row in the run, if that has several.
    """

    def __init__(
        self, screen: Screen, backend: ModelBackend, spec: dict[str, Any], title: str, first: int | None = None
    ) -> None:
        self.screen = screen
        self.keeper = FilmKeeper(backend, spec)
        self.title = title
        self.first = first

    def begin(self, canvas: Canvas, seeds: list[int]) -> None:
        self.keeper.begin(canvas, seeds)
        films = self.keeper.batch
        one = self.first is None and len(films) == 1
        names = [self.title if one else f"{self.title}, row {(self.first or 0) + i}" for i in range(len(films))]
        self.lanes = [Lane(name, film) for name, film in zip(names, films, strict=True)]
        self.began = time.monotonic()

    def add(self, record: StepRecord) -> None:
        took = time.monotonic() - self.began
        self.keeper.add(record)
        taking_part = [self.lanes[row] for row in record.rows.tolist()]
        for lane in taking_part:
            lane.seconds += took
        self.screen.step(self.lanes if self.screen.live else taking_part)
        self.began = time.monotonic()


def _plain_line(lane: Lane) -> str:
    """A lane's latest step in a line, for logs."""
    film = lane.film
    frame = film.frames[-1]
    text = "".join("_" if token == film.mask_id else shown(film, token) for token in block_tokens(film))
    weighed = f", {counted(len(frame.candidates), 'move')} weighed" if frame.candidates else ""
    return (
        f"{lane.title}: step {len(film.frames)}, {filled_text(film, frame)}; "
        f"entropy {film.cumulative_entropy[-1]:.3f} nats{weighed}; positions from {frame.block[0]}: {text}"
    )


def block_tokens(film: Film) -> list[int]:
    """The tokens of the block that is being filled."""
    start, stop = film.frames[-1].block
    return film.canvas[start:stop]
