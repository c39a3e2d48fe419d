"""`mdm-sampling results`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ..folders.lines import COUNTS
from .conflicts import refuse_ignored
from .errors import plain_errors
from .layout import LaidOutCommand
from .options import OVERWRITE_OPTION
from .types import FOLDER, GIVEN_FOLDER, OutputFile

_HEADS = {
    "rows": "rows",
    "errors": "errors",
    "score": "score",
    "cumulative_entropy": "entropy",
    "steps": "steps",
    "sequential_forwards": "seq-forwards",
    "forwards": "row-forwards",
    "token_forwards": "token-forwards",
    "seconds": "s/row",
    "batch_seconds": "s/batch",
}


class _Condition(click.ParamType[tuple[str, str]]):
    """column=value"""

    name = "column=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        name, equals, wanted = str(value).partition("=")
        if not equals:
            self.fail(f"{value!r} must be column=value.", param, ctx)
        return name.strip(), wanted.strip()


@click.command("results", cls=LaidOutCommand)
@click.argument("folders", nargs=-1, required=True, type=GIVEN_FOLDER)
@click.option(
    "--where",
    type=_Condition(),
    multiple=True,
    help="Only rows with this value, such as planner=confidence. Repeatable: values of one column are alternatives.",
)
@click.option(
    "--export",
    "export_file",
    type=OutputFile(dir_okay=False, path_type=Path),
    help="Write the rows to this file: .csv, .jsonl or .parquet.",
)
@click.option(
    "--merge",
    "merge_into",
    type=FOLDER,
    help="Join folders of the same comparison or job into this new folder.",
)
@OVERWRITE_OPTION
def command(
    folders: tuple[Path, ...],
    where: tuple[tuple[str, str], ...],
    export_file: Path | None,
    merge_into: Path | None,
    overwrite: bool,
) -> None:
    """Show, filter, merge and export results folders: those of `compare` and those of `run` (OUTPUT.job).

    \b
    mdm-sampling results compare/* --where planner=info-gain
    mdm-sampling results answers.jsonl.job --export rows.csv
    mdm-sampling results here there --merge both
    """
    refuse_ignored()
    # Before any plug-in is loaded:
    target, merged = export_file and export_file.absolute(), merge_into and merge_into.absolute()
    with plain_errors():
        from ..folders.read import export, filtered, merge, read_folder, summary

        found = [read_folder(path) for path in dict.fromkeys(folders)]
        if merge_into is not None and merged is not None:
            count = merge(found, merged)
            click.echo(f"{merge_into}: {count} rows")
            found = [replace(read_folder(merged), path=merge_into)]
        rows = filtered([row for folder in found for row in folder.rows], where)
        if target is not None:
            export(rows, target, overwrite=overwrite)
            click.echo(f"{export_file}: {len(rows)} rows")
        show(summary(rows))


def show(lines: list[dict[str, Any]]) -> None:
    """The summary as a table; columns of which every value is missing are left out."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not lines:
        click.echo("No rows.")
        return
    names = [name for name in lines[0] if any(line[name] is not None for line in lines)]
    table = Table(box=None)
    for name in names:
        table.add_column(_HEADS.get(name, name), justify="right" if name in _HEADS else "left")
    for line in lines:
        table.add_row(*(Text(_shown(name, line[name])) for name in names))  # a name is not markup
    Console(width=400, highlight=False).print(table)


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name in COUNTS:  # with one decimal, and without one where it is 0
        return f"{value:,.1f}".removesuffix(".0")
    return f"{value:,.3f}" if isinstance(value, float) else str(value)
