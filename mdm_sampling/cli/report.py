"""`mdm-sampling report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .errors import plain_errors
from .layout import LaidOutCommand
from .options import OVERWRITE_OPTION
from .targets import files_read
from .types import GIVEN_FILE, OutputFile

if TYPE_CHECKING:
    from ..traces import Film


@click.command("report", cls=LaidOutCommand)
@click.argument("traces", nargs=-1, required=True, type=GIVEN_FILE)
@click.option(
    "--output",
    "-o",
    type=OutputFile(dir_okay=False, path_type=Path),
    help="HTML file to write.  [default: the first trace's name with .html]",
)
@click.option("--title", default="Decoding traces", help="The page's heading.")
@OVERWRITE_OPTION
def command(traces: tuple[Path, ...], output: Path | None, title: str, overwrite: bool) -> None:
    """Make a page that shows traces step by step, in one self-contained HTML file.

    \b
    mdm-sampling generate --planner info-gain --trace steps.jsonl "1... ..3. .1.. ...4"
    mdm-sampling report steps.jsonl
    """
    traces = tuple({trace.resolve(): trace for trace in traces}.values())
    file = output or traces[0].with_suffix(".html")
    where, reads = file.absolute(), files_read()
    with plain_errors():
        from ..folders.files import Output
        from ..traces import read_trace
        from ..views.page import is_page, page

        target = Output(where, is_page, overwrite, reads)
        target.check()
        films = {name: read_trace(trace) for name, trace in zip(names(traces), traces, strict=True)}
        for name, rows in films.items():
            _tell_unfinished(name, rows)
        target.write(page(films, title))
        click.echo(f"{file}: {size(where.stat().st_size)}")


def _tell_unfinished(name: str, films: Sequence[Film]) -> None:
    """Say on stderr that a trace was cut off."""
    count = sum(film.mask_id in film.canvas for film in films)
    if count:
        told = f"{count} of {len(films)} rows {'is' if count == 1 else 'are'} filled"
        click.echo(f"{name}: the trace ends before {told}.", err=True)


def names(traces: Sequence[Path]) -> list[str]:
    """The traces' names without folders and endings; where two would be the same, all as they were given."""
    stems = [trace.stem for trace in traces]
    return stems if len(set(stems)) == len(stems) else [str(trace) for trace in traces]


def size(count: int) -> str:
    """A number of bytes for people."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
