"""`mdm-sampling run`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..progress import show_progress
from .assembly import follow_leader, make_sampler
from .config import read_config
from .conflicts import refuse_ignored
from .engines import ENGINE_OPTIONS, batch_size_option, make_engine
from .errors import plain_errors
from .interrupts import resumable
from .layout import LaidOutCommand
from .loading_line import loading
from .options import (
    ANSWER_OPTIONS,
    INFILL_OPTION,
    MODEL_OPTIONS,
    OVERWRITE_OPTION,
    PROMPT_OPTIONS,
    ROW_OPTIONS,
    SAMPLING_OPTIONS,
    names_in,
    with_options,
)
from .targets import files_read
from .types import FOLDER, GIVEN_FILE, OutputFile, Whole

if TYPE_CHECKING:
    from ..jobs import JobOutcome

_SOME_ROWS_FAILED = 3
"""The exit code of a job that is finished, but of which some rows have an error instead of a text."""

_OF_JOB = ("seed", "chat", "system", "stop", "infill", "batch_size", "batch_tokens", "changed", "overwrite")
"""The options that are arguments of a `Job` as they are."""


_JOB_OPTIONS = [
    click.option(
        "--input",
        type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
        help="File of prompts: .jsonl, .csv or .parquet. Use - for JSON lines from standard input.",
    ),
    click.option(
        "--output",
        type=OutputFile(path_type=Path),
        help="File to write, .jsonl or .parquet, with one row for each prompt in the same order.",
    ),
    click.option("--column", help="Column of the prompts (texts or chat messages).  [default: prompt or messages]"),
    click.option("--id-column", help="Column of the row ids.  [default: id, else the row's number]"),
    click.option(
        "--keep-columns",
        multiple=True,
        callback=names_in,
        metavar="A,B",
        help="Columns of the input to copy to the output. Repeatable.",
    ),
    INFILL_OPTION,
    *PROMPT_OPTIONS,
    *ANSWER_OPTIONS,
    batch_size_option(8),
    click.option("--batch-tokens", type=Whole(min=1), help="Maximum number of positions in a batch, padding included."),
    click.option(
        "--folder",
        type=FOLDER,
        help="Folder of finished rows, from which a stopped job resumes.  [default: OUTPUT.job]",
    ),
    click.option(
        "--changed",
        is_flag=True,
        help="Accept a changed input or changed settings, and keep the rows that did not change.",
    ),
    OVERWRITE_OPTION,
]


@click.command("run", cls=LaidOutCommand)
@click.argument(
    "config",
    metavar="[JOB.toml]",
    required=False,
    is_eager=True,
    expose_value=False,
    callback=read_config,
    type=GIVEN_FILE,
)
@with_options(_JOB_OPTIONS, ENGINE_OPTIONS, MODEL_OPTIONS, SAMPLING_OPTIONS, ROW_OPTIONS)
def command(**options: Any) -> None:
    """Decode a file of prompts into a file of texts. To resume a stopped job, run the same command again.

    JOB.toml may hold any option, such as input = "prompts.jsonl". The command line takes precedence.

    The exit code is 3 if some rows have an error instead of a text.
    """
    follow_leader(options)
    for name in ("input", "output"):
        if options[name] is None:
            raise click.UsageError(f"give --{name} FILE, or {name} in a JOB.toml.")
    is_piped = str(options["input"]) == "-"
    if is_piped and (sys.stdin is None or sys.stdin.isatty()):
        raise click.UsageError("--input - reads JSON lines from standard input: pipe them in.")
    output, reads = options["output"].absolute(), files_read()
    named = options["folder"] or Path(f"{options['output']}.job")
    folder = named.absolute()
    with loading(options["model"]), plain_errors():
        from ..jobs import Job, read_rows
        from ..jobs.outputs import check_output, output_of_job

        refuse_ignored()
        check_output(output_of_job(options["output"], folder, options["overwrite"], reads), options["keep_columns"])
        engine = make_engine(options)
        rows = read_rows(options["input"], options["column"], options["id_column"], options["keep_columns"])
        sampler = make_sampler(options, continues=not options["infill"])
        asked = {name: options[name] for name in _OF_JOB}
        job = Job(sampler, rows, output, folder, engine=engine, reads=reads, **asked)
        with resumable(named), show_progress() as show:
            outcome = job.run(show)
        _tell(outcome, options["output"])


def _tell(outcome: JobOutcome, output: Path) -> None:
    """What became of the job, and the exit code."""
    click.echo(
        f"{output}: {outcome.rows} rows" + (f", {outcome.before} of them decoded before" if outcome.before else "")
    )
    if outcome.errors:
        noun = "row has an error" if outcome.errors == 1 else "rows have an error"
        click.echo(f"{outcome.errors} {noun} instead of a text: see the column 'error' of {output}.", err=True)
        click.echo(f"The first is row {outcome.first_error}", err=True)
        sys.exit(_SOME_ROWS_FAILED)
