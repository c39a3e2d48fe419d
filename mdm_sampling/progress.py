"""Progress of work that takes long: a bar on a terminal's stderr, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

Progress = Callable[[int, int], None]
"""Called with the numbers of rows that are done and wanted, first before any is decoded."""
ShowProgress = Callable[[str], AbstractContextManager[Progress]]
"""Called with what is counted, such as "answers"; what its context gives is called with the numbers."""
_EVERY = 10.0  # seconds between two lines of progress where there is no terminal


class _Lines:
    """Progress as plain lines, for logs."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.began, self.shown, self.first = time.monotonic(), 0.0, -1

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self.first < 0:
            self.first = done
            click.echo(_already_done(done, total, self.what) if done else f"{total} {self.what} to decode.", err=True)
        elif now - self.shown > _EVERY or done == total:
            self.shown = now
            each = (now - self.began) / max(1, done - self.first)
            left = f"{1 / each:.1f} a second, about {each * (total - done):.0f} s left"
            click.echo(f"{done}/{total} {self.what}, {left}", err=True)


class _Bar:
    """Progress as a bar with an estimate of the time left."""

    def __init__(self, bar: RichProgress, what: str) -> None:
        self.bar, self.what = bar, what
        self.task: Any = None

    def __call__(self, done: int, total: int) -> None:
        if self.task is None:
            self.task = self.bar.add_task("", total=total - done)
            self.before = done
            self.began = time.monotonic()
            if done:
                self.bar.console.print(_already_done(done, total, self.what))
        rate = (done - self.before) / max(1e-9, time.monotonic() - self.began)
        said = f"{rate:.1f} {self.what}/s" if rate else ""
        self.bar.update(self.task, completed=done - self.before, description=said)


def _already_done(done: int, total: int, what: str) -> str:
    return f"{done} of {total} {what} were done before."


@contextmanager
def no_progress(what: str) -> Iterator[Progress]:
    """Tells nobody."""
    yield lambda done, total: None


@contextmanager
def show_progress(what: str = "rows") -> Iterator[Progress]:
    """Tells of the numbers done and wanted: a bar on a terminal's stderr, plain lines elsewhere.

    Args:
        what: what is counted.
    """
    if not sys.stderr.isatty():
        yield _Lines(what)
        return
    from rich.progress import TextColumn, TimeElapsedColumn, TimeRemainingColumn

    with bar(TimeElapsedColumn(), TextColumn("left:"), TimeRemainingColumn()) as drawn:
        yield _Bar(drawn, what)


@contextmanager
def bar(*columns: Any, label: str = "", width: int | None = 40) -> Iterator[RichProgress]:
    """A bar on stderr: a label, how far it is, a text that is not read as markup, and further columns."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as RichProgress

    shown = [TextColumn(label, markup=False)] if label else []
    text = TextColumn("{task.description}", markup=False)
    console = Console(stderr=True)
    with RichProgress(*shown, BarColumn(width), MofNCompleteColumn(), text, *columns, console=console) as drawn:
        yield drawn
