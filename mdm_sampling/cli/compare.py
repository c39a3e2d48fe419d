"""`mdm-sampling compare`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ..progress import show_progress
from .assembly import follow_leader, make_part, make_sampler
from .config import read_config
from .conflicts import refuse_given, refuse_ignored
from .engines import ENGINE_OPTIONS, batch_size_option, make_engine
from .errors import plain_errors
from .interrupts import resumable
from .layout import LaidOutCommand
from .loading_line import loading
from .options import (
    CHAT_OPTION,
    MODEL_OPTIONS,
    OVERWRITE_OPTION,
    ROW_OPTIONS,
    max_new_tokens_option,
    was_given,
    with_options,
)
from .targets import files_read
from .types import FOLDER, GIVEN_FILE, Whole

if TYPE_CHECKING:
    from ..compare import Comparison, Setting
    from ..tasks.base import Task

_ADAPTIVE = (
    *(f"eb:gamma={gamma}" for gamma in (0.02, 0.1, 0.5)),
    *(f"bounded-chain:slack={slack}" for slack in (0.2, 0.4, 0.8)),
)
PLANNERS = ("random", "confidence", "margin", "entropy", "info-gain", *_ADAPTIVE)
"""What is compared unless planners are named. The last ones choose how many positions a step fills, whatever K is."""
_REPORT = "report.md"


def _repeatable(*names: str, **settings: Any) -> Any:
    return click.option(*names, multiple=True, **settings)


_COMPARE_OPTIONS = [
    click.option("--task", default="sudoku:6", help="Spec of the task; see `list tasks`."),
    _repeatable("--planner", default=PLANNERS, help="Spec of a planner; see `list planners`. Repeatable."),
    _repeatable("--cache", default=("none",), help="Spec of a cache. Repeatable."),
    _repeatable(
        "--tokens-per-step",
        "-k",
        "tokens_per_step",
        type=Whole(min=1),
        default=(1, 2, 4),
        help="Positions to fill at a step. Repeatable.",
    ),
    _repeatable(
        "--block-size",
        type=Whole(min=1),
        help="Positions of a block. Repeatable.  [default: the whole answer is one block]",
    ),
    _repeatable(
        "--seed", type=int, default=(0,), help="Random seed. Every item is decoded with each seed. Repeatable."
    ),
    click.option("--items", type=Whole(min=1), help="Number of items.  [default: the task's, or all of a file]"),
    click.option("--item-seed", type=int, default=0, help="Random seed of the items."),
    max_new_tokens_option("the task's, else the checkpoint's"),
    CHAT_OPTION,
    batch_size_option(16),
    click.option(
        "--out",
        type=FOLDER,
        help="Results folder, from which a stopped comparison resumes.  [default: compare/TASK-MODEL]",
    ),
    click.option("--plots/--no-plots", default=None, help="Draw plots.  [default: if matplotlib is installed]"),
    OVERWRITE_OPTION,
    click.option(
        "--config",
        type=GIVEN_FILE,
        is_eager=True,
        expose_value=False,
        callback=read_config,
        help="TOML file with any of these options, such as planner = [...]. The command line takes precedence.",
    ),
]


@click.command("compare", cls=LaidOutCommand)
@with_options(_COMPARE_OPTIONS, ENGINE_OPTIONS, MODEL_OPTIONS, ROW_OPTIONS)
def command(**options: Any) -> None:
    """Compare planners, caches and tokens per step on a task, by accuracy with intervals, entropy, forwards and time.

    Every setting decodes the same items with the same seeds. There is no bypass unless a planner's spec names one.
    The default is 6x6 Sudoku with the small model inside this package. It takes two minutes of a free core:

    \b
      mdm-sampling compare
      mdm-sampling compare --task countdown --planner confidence --planner info-gain -k 1
    """
    follow_leader(options)
    folder = options["out"] or _default_folder(options["task"], options["model"])
    # As it is named when the command starts; a plug-in may change the working folder.
    kept_in, writing = folder.absolute(), {"overwrite": options["overwrite"], "reads": files_read()}
    with loading(options["model"]), plain_errors():
        from ..compare import compare
        from ..compare.engine import length_of
        from ..compare.plots import FILES
        from ..compare.report import SUMMARIES
        from ..compare.settings import KEY
        from ..folders.written import check_results, write_results

        refuse_ignored()
        task = make_part("tasks", "--task", options["task"])
        _refuse_length(options, task)
        settings = _make_settings(options)
        _note_caches(settings, task)
        engine = make_engine(options)
        if options["out"] is not None and options["out"] in (Path(), Path("/")):
            raise click.UsageError("--out needs a folder of its own.")
        plotting = _wants_plots(options["plots"])
        check_results(kept_in, [_REPORT, SUMMARIES, *(FILES if plotting else ())], **writing)
        with resumable(folder), show_progress() as show:
            shared = {name: value for name, value in options.items() if name not in KEY}
            found = compare(
                make_sampler(shared, continues=length_of(task) is None),
                task,
                settings,
                seeds=options["seed"],
                folder=kept_in,
                engine=engine,
                progress=show,
                **{name: options[name] for name in ("items", "item_seed", "batch_size", "chat")},
            )
        reports = {_REPORT: found.markdown(plots=plotting), SUMMARIES: json.dumps(found.as_json(), indent=1)}
        write_results(kept_in, {name: text.encode() for name, text in reports.items()}, **writing)
        if plotting:
            found.plot(kept_in, **writing)
        _print(found, folder, plotting)


def _make_settings(options: dict[str, Any]) -> list[Setting]:
    """All combinations."""
    from ..compare import grid

    settings = grid(
        [make_part("planners", "--planner", spec) for spec in options["planner"]],
        caches=[make_part("caches", "--cache", spec) for spec in options["cache"]],
        tokens_per_step=options["tokens_per_step"],
        block_sizes=options["block_size"] or (None,),
    )
    typed = click.get_current_context().get_parameter_source("tokens_per_step") is ParameterSource.COMMANDLINE
    if typed and all(setting.tokens_per_step is None for setting in settings):  # a file may be for other planners, too
        refuse_given(["tokens_per_step"], "as these planners choose how many positions a step fills")
    return settings


def _note_caches(settings: Sequence[Setting], task: Task) -> None:
    """Say on stderr which caches will give the same lines, before they are all decoded."""
    from ..compare.engine import length_of
    from ..compare.settings import decoded_twice

    for one, other in decoded_twice(settings, length_of(task)):
        click.echo(
            f"Note: the caches {one} and {other} do the same where the whole answer is one block; set --block-size, or "
            "leave one out.",
            err=True,
        )


def _refuse_length(options: dict[str, Any], task: Task) -> None:
    """Raise a usage error for a `--max-new-tokens` that the task has no use for."""
    from ..compare.engine import checked_items, length_of

    needed = length_of(task)
    if needed is not None:
        refuse_given(["max_new_tokens"], f"as the task's answers have {needed} positions")
    elif was_given("max_new_tokens") and checked_items(task, 1, options["item_seed"])[0].body is not None:
        refuse_given(["max_new_tokens"], "as the task's items are filled in")


def _default_folder(task: str, model: str) -> Path:
    """A folder named after the task and the model."""
    words = re.findall(r"[A-Za-z0-9_.]+", f"{task} {Path(model).name}")
    return Path("compare") / "-".join(words)[:120].lstrip(".")


def _wants_plots(plots: bool | None) -> bool:
    """Whether to draw. Asked for without matplotlib, an error before any work; not asked for, a hint."""
    from importlib.util import find_spec

    if plots is False:
        return False
    if find_spec("matplotlib"):
        return True
    if plots:
        raise click.UsageError('--plots needs matplotlib; pip install "mdm-sampling[plot]"')
    click.echo('No plots: matplotlib is not installed (pip install "mdm-sampling[plot]").', err=True)
    return False


def _print(found: Comparison, folder: Path, plotting: bool) -> None:
    """The table, and what was written into the folder, as it was named."""
    from rich.console import Console

    from ..compare.report import about
    from ..compare.table import AUP_LEGEND, LEGEND, WIDEST, rich_curves, rich_table

    click.echo(f"{found.manifest['task']}: {about(found.manifest, found.lines)}")
    width = Console().width if sys.stdout.isatty() else None
    # As wide as the table is: a terminal that is narrower still wraps lines, which reads better than cells cut short.
    console = Console(width=WIDEST, highlight=False)
    table, missing = rich_table(found.summaries, width)
    console.print(table)
    if missing:
        click.echo(_filled(f"{folder / _REPORT} has {', '.join(missing)}, too.", width))
    click.echo(_filled(LEGEND, width))
    console.print(rich_curves(found.curves, width))
    click.echo(_filled(AUP_LEGEND, width))
    kept = "report.md, summaries.json, results.jsonl"
    click.echo(f"\nIn {folder}: {kept}" + (" and plots as PNG and SVG." if plotting else "."))


def _filled(text: str, width: int | None) -> str:
    return fill(" ".join(text.split()), min(width or 120, 120))
