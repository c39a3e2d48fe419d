"""`mdm-sampling report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import OutputFile, cli_option, plain_errors

if TYPE_CHECKING:
    from ..replay import Film

BEGINNING = b"<!doctype html>"


@click.command("report")
@click.argument("traces", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@cli_option(
    "--output",
    "-o",
    type=OutputFile(dir_okay=False, path_type=Path),
    help="The page to write.  [default: the first trace's name with .html]",
)
@cli_option("--title", default="Decoding traces", show_default=True, help="The page's heading.")
def command(traces: tuple[Path, ...], output: Path | None, title: str) -> None:
    """Make a page that shows traces step by step: one HTML file, which needs nothing else.

    \b
    mdm-sampling generate --planner info-gain --trace steps.jsonl "1... ..3. .1.. ...4"
    mdm-sampling report steps.jsonl
    """
    with plain_errors():
        from ..replay import read_trace
        from ..report import write_page

        traces = tuple({trace.resolve(): trace for trace in traces}.values())
        page = output or traces[0].with_suffix(".html")
        if page.resolve() in [trace.resolve() for trace in traces]:
            raise click.UsageError(f"{page} is a trace, which the page would overwrite; name another --output.")
        if not page.parent.is_dir():
            raise click.UsageError(f"the folder {page.parent} does not exist.")
        if page.is_file() and not is_page(page):
            raise click.UsageError(f"{page} exists and is no page, so it is not overwritten; name another --output.")
        films = {name: read_trace(trace) for name, trace in zip(names(traces), traces, strict=True)}
        for name, rows in films.items():
            tell_unfinished(name, rows)
        write_page(films, page, title)
        click.echo(f"{page}: {size(page.stat().st_size)}")


def is_page(file: Path) -> bool:
    """Whether a file begins as a page does."""
    with open(file, "rb") as opened:
        return opened.read(len(BEGINNING)).lower() == BEGINNING


def tell_unfinished(name: str, films: Sequence[Film]) -> None:
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
