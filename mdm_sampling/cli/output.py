"""What `generate` and `infill` print: rows to stdout as batches finish, a bar or view to stderr, a trace to a file."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ..progress import bar
from .streams import echo_json

if TYPE_CHECKING:
    from ..canvas import Canvas
    from ..folders.files import Output
    from ..records import StepRecord
    from ..result import Result
    from ..sampler import Rows, Sampler

_WINDOW = 40
_WATCHED = 4.0  # steps a second of --watch, unless keys change it
_BESIDE = 56  # columns of a terminal that the label, the bar and the counts take


class Progress:
    """An observer that shows how many positions are filled, and the text around the first row's first mask."""

    def __init__(self, sampler: Sampler, drawn: Any) -> None:
        self.codec = sampler.backend.codec
        self.bar = drawn

    def begin(self, canvas: Canvas, seeds: list[int]) -> None:
        self.total = int(canvas.masked.sum())
        self.task = self.bar.add_task("", total=self.total)

    def add(self, record: StepRecord) -> None:
        filled = self.total - int(record.canvas.masked.sum())
        self.bar.update(self.task, completed=filled, description=self._text(record.canvas, int(record.rows[0])))

    def _text(self, canvas: Canvas, row: int) -> str:
        if self.codec is None:
            return ""
        text = "".join(c if c.isprintable() else " " for c in self.codec.decode(canvas.body(row)))
        width = min(_WINDOW, shutil.get_terminal_size().columns - _BESIDE)
        start = min(max(0, text.find("_") - width // 2), max(0, len(text) - width))
        return text[start : start + width] if width > 0 else ""


def decode_and_print(
    sampler: Sampler,
    rows: Rows,
    prompts: Sequence[str],
    chat: bool | None,
    trace: Output | None,
    options: dict[str, Any],
) -> None:
    """Decode rows batch by batch and print each batch as soon as it is finished.

    Args:
        prompts: what the rows were made of.
        options: of the command; `samples` of each row are decoded, with seeds that count up.
        chat: whether the chat template was applied to them; None if they are texts to infill.
    """
    from ..registry.observers import plugin_observers
    from ..registry.specs import describe
    from ..stops import checked_stops
    from ..traces import Trace

    sampler.check(rows)
    asked = {"chat": chat, "infill": chat is None}
    stops = checked_stops(options.get("stop", ()))
    said = asked | {"system": options.get("system"), "stop": stops}
    size, count = options["batch_size"], options["samples"]
    rows = [row for row in rows for _ in range(count)]
    prompts = [prompt for prompt in prompts for _ in range(count)]
    seeds = [options["seed"] + number % count for number in range(len(rows))]
    with ExitStack() as stack:
        observers: list[Any] = [*plugin_observers(sampler)]
        if trace is not None:
            file = stack.enter_context(trace.growing())
            lines = Trace(file, sampler.backend, sampler.spec(), asked)
            observers.append(lines)
            stack.callback(lines.flush)  # what a run that is stopped has not written yet
        for first in range(0, len(rows), size):
            part = slice(first, first + size)
            label = f"{min(first + size, len(rows))}/{len(rows)}"
            title = options["planner"] or describe(sampler.planner)
            view = _watching(sampler, title, first if len(rows) > 1 else None) if options["watch"] else None
            with view or _filling(sampler, label) as shown:
                result = sampler.fill(
                    rows[part],
                    seeds[part],
                    batch_size=size,
                    observers=[*observers, *shown],
                    until_eos=not asked["infill"],
                    stop=stops,
                )
            _print_result(result, prompts[part], said if options["as_json"] else None, first > 0)


@contextmanager
def _filling(sampler: Sampler, label: str) -> Iterator[list[Progress]]:
    """A bar on a terminal's stderr, and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield []
        return
    with bar(label=label, width=16) as drawn:
        yield [Progress(sampler, drawn)]


def leave_on_sigterm() -> None:
    """Let a `kill` end the process as an exit does, so that the terminal is given back as it was."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


@contextmanager
def _watching(sampler: Sampler, title: str, first: int | None) -> Iterator[list[Any]]:
    """The live view of a batch on stderr."""
    from rich.console import Console

    from ..views.terminal import Screen, Watcher

    leave_on_sigterm()
    with Screen(Console(stderr=True), speed=_WATCHED) as screen:
        yield [Watcher(screen, sampler.backend, sampler.spec(), title, first)]


def _print_result(result: Result, prompts: Sequence[str], asked: Mapping[str, Any] | None, later: bool) -> None:
    """Texts with an empty line between them, or a JSON line for each row that also holds what was `asked`."""
    for i, (prompt, text) in enumerate(zip(prompts, result.texts, strict=True)):
        if asked is not None:
            row = {"prompt": prompt, "text": text, **asked, **asdict(result.rows[i]), "tokens": result.sequences[i]}
            echo_json(row | {"spec": result.spec})
        else:
            click.echo(f"\n{text}" if later or i else text)
