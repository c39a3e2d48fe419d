"""Progress of work that takes long: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

EVERY = 10.0  # seconds between two lines of progress where there is no terminal


class Lines:
    """Progress as plain lines, for logs."""

    def __init__(self) -> None:
        self.began, self.shown, self.first = time.monotonic(), 0.0, -1

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self.first < 0:
            self.first = done
            click.echo(f"{done} of {total} rows were done before." if done else f"{total} rows to decode.", err=True)
        elif now - self.shown > EVERY or done == total:
            self.shown = now
            each = (now - self.began) / max(1, done - self.first)
            click.echo(
                f"{done}/{total} rows, {1 / each:.1f} a second, about {each * (total - done):.0f} s left", err=True
            )

    def close(self) -> None:
        pass


class Bar:
    """Progress as a bar with an estimate of the time left."""

    def __init__(self, bar: Any) -> None:
        self.bar, self.task = bar, None

    def __call__(self, done: int, total: int) -> None:
        if self.task is None:
            self.task = self.bar.add_task("", total=total - done)
            self.before = done
            self.began = time.monotonic()
            if done:
                self.bar.console.print(f"{done} of {total} rows were done before.")
        rate = (done - self.before) / max(1e-9, time.monotonic() - self.began)
        self.bar.update(self.task, completed=done - self.before, description=f"{rate:.1f} rows/s" if rate else "")

    def close(self) -> None:
        self.bar.stop()


@contextmanager
def progress() -> Iterator[Any]:
    """A bar on a terminal's stderr, plain lines elsewhere."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns: Sequence[Any] = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TextColumn("left:"),
    )
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        yield Bar(bar)
