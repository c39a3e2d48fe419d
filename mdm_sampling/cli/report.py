"""`mdm-sampling report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from .options import cli_option, plain_errors


@click.command("report")
@click.argument("traces", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@cli_option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The page to write.  [default: the first trace's name with .html]",
)
@cli_option("--title", default="Decoding traces", show_default=True, help="The page's heading.")
def command(traces: tuple[Path, ...], output: Path | None, title: str) -> None:
    """Make a page that shows traces step by step: one HTML file, which needs nothing else.

    \b
    mdm-sampling generate --threshold none --json --trace steps.jsonl "1... ..3. .1.. ...4"
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
            raise click.UsageError(f"there is no folder {page.parent} to write {page.name} to.")
        films = {name: read_trace(trace) for name, trace in zip(names(traces), traces, strict=True)}
        write_page(films, page, title)
        click.echo(f"{page}: {size(page.stat().st_size)}")


def names(traces: Sequence[Path]) -> list[str]:
    """The traces' names without folders and endings; where two would be the same, all as they were given."""
    stems = [trace.stem for trace in traces]
    return stems if len(set(stems)) == len(stems) else [str(trace) for trace in traces]


def size(count: int) -> str:
    """A number of bytes for people."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
