"""`mdm-sampling evaluate`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..progress import show_progress
from .assembly import follow_leader, make_sampler
from .conflicts import refuse_given, refuse_ignored
from .engines import ENGINE_OPTIONS, batch_size_option, make_engine
from .errors import plain_errors
from .interrupts import resumable
from .layout import LaidOutCommand
from .loading_line import loading
from .options import (
    MODEL_OPTIONS,
    ROW_OPTIONS,
    SAMPLING_OPTIONS,
    max_new_tokens_option,
    names_in,
    with_options,
)
from .types import FOLDER, GIVEN_FOLDER, Finite, Whole

if TYPE_CHECKING:
    from ..evaluation import HarnessTasks

_ONLY_GENERATION = (
    "max_new_tokens", "planner", "cache", "threshold", "steps", "block_size", "schedule", "temperature", "top_k",
    "top_p", "processors", "eos", "growing", "lookahead_batch", "engine",
)  # fmt: skip
_EVALUATED = (
    "num_fewshot", "limit", "apply_chat_template", "fewshot_as_multiturn", "confirm_run_unsafe_code",
    "max_new_tokens", "samples", "seed", "batch_size",
)  # fmt: skip
"""The options that are arguments of `evaluation.evaluate` as they are."""

_EVALUATE_OPTIONS = [
    click.option(
        "--tasks", multiple=True, required=True, callback=names_in, help="Comma-separated task names. Repeatable."
    ),
    click.option("--include-path", type=GIVEN_FOLDER, help="Folder of your own tasks (YAML files)."),
    click.option("--num-fewshot", type=Whole(min=0), help="Number of examples in a prompt.  [default: the task's]"),
    click.option("--limit", type=Finite(min=0, min_open=True), help="Number of items per task, or a fraction below 1."),
    click.option("--apply-chat-template", is_flag=True, help="Apply the model's chat template to prompts."),
    click.option(
        "--fewshot-as-multiturn/--no-fewshot-as-multiturn",
        default=None,
        help="Make each example a turn of the chat, or put all in one message.  [default: turns]",
    ),
    max_new_tokens_option("the task's, else the checkpoint's"),
    click.option("--samples", type=Whole(min=1), default=128, help="Number of random masks for a log-likelihood."),
    click.option("--confirm-run-unsafe-code", is_flag=True, help="Allow tasks to run the code that the model writes."),
    click.option(
        "--out",
        type=FOLDER,
        default=Path("evaluations"),
        help="Results folder, from which a stopped evaluation resumes.",
    ),
]


@click.command("evaluate", cls=LaidOutCommand)
@with_options(_EVALUATE_OPTIONS, MODEL_OPTIONS, SAMPLING_OPTIONS, [batch_size_option(8)], ENGINE_OPTIONS, ROW_OPTIONS)
def command(**options: Any) -> None:
    """Run tasks of lm-evaluation-harness (extra `lm-eval`), both generation and likelihoods.

    \b
      mdm-sampling evaluate --model GSAI-ML/LLaDA-8B-Instruct --device cuda --tasks gsm8k --apply-chat-template
    """
    follow_leader(options)
    given, options["out"] = options["out"], options["out"].absolute()
    if not options["tasks"]:
        raise click.UsageError("--tasks names no task.")
    if options["limit"] is not None and options["limit"] > 1 and options["limit"] % 1:
        raise click.UsageError("--limit is a number of items, or a part of them below 1.")
    with loading(options["model"]), plain_errors():
        from ..evaluation import evaluate, load_tasks

        refuse_ignored()
        with contextlib.redirect_stdout(sys.stderr):  # what a task's code prints is not part of the result
            loaded = load_tasks(options["tasks"], options["include_path"])
        _check_options(loaded, options["confirm_run_unsafe_code"])
        if options["out"].suffix == ".json":  # which the harness takes for a file
            raise click.UsageError("--out is a folder, which cannot be named .json.")
        engine = make_engine(options)
        with contextlib.redirect_stdout(sys.stderr), resumable(given):
            found = evaluate(
                make_sampler(options),
                loaded,
                folder=options["out"],
                engine=engine,
                progress=show_progress,
                **{name: options[name] for name in _EVALUATED},
            )
        click.echo(found.tables)
        click.echo(f"In {given / found.files[0].parent.name}: {', '.join(file.name for file in found.files)}")


def _check_options(loaded: HarnessTasks, unsafe: bool) -> None:
    """Refuse options that would have no effect on these tasks, and tasks that run what the model wrote."""
    if "generate_until" not in loaded.kinds:
        refuse_given(_ONLY_GENERATION, "as no task generates text")
    if loaded.kinds <= {"generate_until"}:
        refuse_given(["samples"], "as no task asks for likelihoods")
    running = [name for name, task in loaded.tasks.items() if getattr(task, "UNSAFE_CODE", False)]
    if running and not unsafe:
        raise click.UsageError(f"{running[0]} runs code that the model writes; add --confirm-run-unsafe-code.")
