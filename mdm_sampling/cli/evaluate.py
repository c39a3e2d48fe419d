"""`mdm-sampling evaluate`."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .assembly import follow_leader, make_sampler
from .conflicts import refuse_given, refuse_ignored
from .errors import plain_errors
from .loading_line import loading
from .options import (
    BATCH_OPTION,
    MODEL_OPTIONS,
    ROW_OPTIONS,
    SAMPLING_OPTIONS,
    cli_option,
    max_new_tokens_option,
    with_options,
)
from .types import Finite, Whole

if TYPE_CHECKING:
    from ..evaluation.grading import Grading
    from ..evaluation.harness import HarnessModel

ONLY_GENERATION = (
    "max_new_tokens", "planner", "cache", "threshold", "steps", "block_size", "schedule", "temperature", "top_k",
    "top_p", "processors", "eos", "lookahead_batch",
)  # fmt: skip
ONLY_LIKELIHOOD = ("samples",)

EVALUATE_OPTIONS = [
    cli_option("--tasks", multiple=True, required=True, help="Names of tasks, with commas between them. Repeatable."),
    cli_option(
        "--include-path",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="A folder of your own tasks, as YAML files.",
    ),
    cli_option("--num-fewshot", type=Whole(min=0), help="Examples in a prompt.  [default: the task's]"),
    cli_option("--limit", type=Finite(min=0, min_open=True), help="Only so many items of a task, or such a part."),
    cli_option("--apply-chat-template", is_flag=True, help="Prompts become chats, as the model's template has it."),
    cli_option(
        "--fewshot-as-multiturn/--no-fewshot-as-multiturn",
        default=None,
        help="Whether each example is a turn of the chat, or all are in one message.  [default: turns]",
    ),
    max_new_tokens_option("the task's, else the checkpoint's"),
    cli_option(
        "--samples",
        type=Whole(min=1),
        default=128,
        show_default=True,
        help="Masks that a log-likelihood is taken from.",
    ),
    cli_option("--confirm-run-unsafe-code", is_flag=True, help="Let tasks run the code that the model writes."),
    cli_option(
        "--out",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path("evaluations"),
        show_default=True,
        help="Results folder; a call adds files to it.",
    ),
]


@click.command("evaluate")
@with_options(EVALUATE_OPTIONS, MODEL_OPTIONS, SAMPLING_OPTIONS, [BATCH_OPTION], ROW_OPTIONS)
def command(**options: Any) -> None:
    """Run tasks of lm-evaluation-harness (extra `lm-eval`) with a sampler: generation and likelihoods.

    \b
      mdm-sampling evaluate --model GSAI-ML/LLaDA-8B-Instruct --device cuda --tasks gsm8k --apply-chat-template
    """
    follow_leader(options)
    given, options["out"] = options["out"], options["out"].absolute()
    if options["limit"] is not None and options["limit"] > 1 and options["limit"] % 1:
        raise click.UsageError("--limit is a number of items, or a part of them below 1.")
    with loading(options["model"]), plain_errors():
        refuse_ignored()
        import_harness()
        from ..evaluation.grading import Grading
        from ..evaluation.harness import HarnessModel

        with contextlib.redirect_stdout(sys.stderr):  # what a task's code prints is no part of the result
            manager, loaded = load_tasks(names_of(options["tasks"]), options["include_path"])
        check_tasks(loaded["tasks"], options["confirm_run_unsafe_code"])
        make_folder(options["out"])
        model = HarnessModel(
            make_sampler(options),
            max_new_tokens=options["max_new_tokens"],
            samples=options["samples"],
            seed=options["seed"],
            batch_size=options["batch_size"],
        )
        began = time.perf_counter()
        grading = Grading(loaded["tasks"], loaded.get("groups", {}), model_folder(options))
        with contextlib.redirect_stdout(sys.stderr):
            results, tracker = evaluate(model, manager, outermost(loaded), grading, options)
            with grading.errors():
                tables = tables_of(results)
        ours = about(model, results, options) | {"seconds": round(time.perf_counter() - began, 3)}
        folder, files = write(results, ours, tracker)
        grading.forget()
        click.echo(tables)
        click.echo(f"In {given / folder.name}: {', '.join(files)}")


def import_harness() -> None:
    try:
        import lm_eval  # noqa: F401
    except ImportError as error:
        raise click.ClickException(f'evaluate needs lm-eval ({error}); pip install "mdm-sampling[lm-eval]"') from error


def make_folder(folder: Path) -> None:
    """Before any work, since the harness only warns of a file that it cannot write, and takes .json for a file."""
    if folder.suffix == ".json":
        raise click.UsageError("--out is a folder, which cannot be named .json.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"cannot write {folder}: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise click.ClickException(f"cannot write to {folder}")


def model_folder(options: dict[str, Any]) -> Path:
    """Where the harness writes what it found of this model, made before any work."""
    from lm_eval.utils import sanitize_model_name

    folder: Path = options["out"] / sanitize_model_name(options["model"])
    folder.mkdir(exist_ok=True)
    return folder


def names_of(given: Sequence[str]) -> list[str]:
    """The names in `--tasks`, each once."""
    names = [name.strip() for text in given for name in text.split(",") if name.strip()]
    if not names:
        raise click.UsageError("--tasks names no task.")
    return list(dict.fromkeys(names))


@contextmanager
def harness_errors(doing: str, *kinds: type[BaseException]) -> Iterator[None]:
    """Tell in one sentence what the harness, its data sets and its templates raise on a broken task."""
    from ..errors import MDMError
    from ..evaluation.grading import told

    try:
        yield
    except (MDMError, click.ClickException):
        raise
    except kinds as error:
        raise click.ClickException(f"{doing}: {told(error)}") from error


def load_tasks(names: Sequence[str], include: Path | None) -> tuple[Any, dict[str, Any]]:
    """The harness's task manager, and the tasks and groups of these names or patterns as it loads them.

    The harness's own tasks, of which there are 14,000, are only read where a name, or a member of a group that is asked
    for, is not in `include`.
    """
    from lm_eval.tasks import TaskManager

    from ..errors import nearest
    from ..evaluation.groups import check_group, knows_all

    with harness_errors("the tasks cannot be read", Exception):
        manager = TaskManager(include_path=include and str(include), include_defaults=False)
        if not knows_all(manager.task_index, names):
            manager = TaskManager(include_path=include and str(include))
    matches = {name: manager.match_tasks([name]) for name in names}
    for name, found in matches.items():
        if not found:
            hint = nearest(name, manager.all_tasks, "`lm_eval ls tasks` lists them")
            raise click.ClickException(f"there is no task {name!r}; {hint}")
    wanted = list(dict.fromkeys(match for found in matches.values() for match in found))
    for name in wanted:
        check_group(manager.task_index, name)
    return manager, loaded_tasks(manager, wanted)


def loaded_tasks(manager: Any, names: list[str]) -> dict[str, Any]:
    """What the harness loads; an error of one task names it, and its item if it is the first, which is tried then."""
    from ..evaluation.grading import told
    from ..evaluation.groups import first_fault, tasks_in

    try:
        loaded: dict[str, Any] = manager.load(names)
    except (Exception, SystemExit, GeneratorExit) as error:
        each = [task for name in names for task in tasks_in(manager.task_index, name)]
        what = first_fault(manager, each) or told(error)
        raise click.ClickException(f"the tasks cannot be loaded: {what}") from error
    return loaded


def outermost(loaded: dict[str, Any]) -> list[Any]:
    """The groups and tasks that are in no other group."""
    inner = {name for members in loaded["group_map"].values() for name in members}
    return [item for name, item in {**loaded["groups"], **loaded["tasks"]}.items() if name not in inner]


def check_tasks(tasks: dict[str, Any], unsafe: bool) -> None:
    """Refuse options that would have no effect on these tasks, tasks that run what the model wrote, and faulty ones."""
    from ..evaluation.grading import check_task

    kinds = {task.OUTPUT_TYPE for task in tasks.values()}
    for names, used, why in (
        (ONLY_GENERATION, "generate_until" in kinds, "no task generates text"),
        (ONLY_LIKELIHOOD, bool(kinds - {"generate_until"}), "no task asks for likelihoods"),
    ):
        if not used:
            refuse_given(names, f"as {why}")
    running = [name for name, task in tasks.items() if getattr(task, "UNSAFE_CODE", False)]
    if running and not unsafe:
        raise click.UsageError(f"{running[0]} runs code that the model writes; add --confirm-run-unsafe-code.")
    for name, task in tasks.items():
        check_task(name, task)


def evaluate(
    model: HarnessModel, manager: Any, tasks: list[Any], grading: Grading, options: dict[str, Any]
) -> tuple[Any, Any]:
    """The harness's results, and its tracker, which names the files."""
    from jinja2 import TemplateError
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.loggers import EvaluationTracker

    multiturn, limit = options["fewshot_as_multiturn"], options["limit"]
    tracker = EvaluationTracker(output_path=str(options["out"]))
    stops = (ValueError, KeyError, ImportError, OSError, TemplateError, SystemExit)
    with harness_errors("the harness stopped", *stops), grading.errors(), without_commit():
        results = simple_evaluate(
            model,
            model_args={"model": options["model"]},
            tasks=tasks,
            task_manager=manager,
            num_fewshot=options["num_fewshot"],
            batch_size=options["batch_size"],
            device=str(model.sampler.backend.device),
            limit=int(limit) if limit and limit >= 1 else limit,
            apply_chat_template=options["apply_chat_template"],
            fewshot_as_multiturn=options["apply_chat_template"] if multiturn is None else multiturn,
            confirm_run_unsafe_code=options["confirm_run_unsafe_code"],
            evaluation_tracker=tracker,
        )
    return results, tracker


@contextmanager
def without_commit() -> Iterator[None]:
    """Outside of a git repository the harness does not ask git for a commit, which would complain on stderr."""
    from lm_eval import evaluator

    asks = evaluator.get_git_commit_hash
    here = Path.cwd()
    if not any((folder / ".git").exists() for folder in (here, *here.parents)):
        evaluator.get_git_commit_hash = lambda: None
    try:
        yield
    finally:
        evaluator.get_git_commit_hash = asks


def about(model: HarnessModel, results: Any, options: dict[str, Any]) -> dict[str, Any]:
    """What the harness's files don't say: the sampler, what it cost, and on what."""
    from importlib.metadata import version

    from ..provenance import describe_machine

    asked = {name: options[name] for name in ("num_fewshot", "limit", "apply_chat_template", "fewshot_as_multiturn")}
    return {
        "tasks": list(results["configs"]),
        **asked,
        **model.settings(),
        "notes": model.notes,
        **model.costs(),
        "machine": describe_machine(model.sampler.backend.device) | {"lm-eval": version("lm_eval")},
    }


def write(results: Any, ours: dict[str, Any], tracker: Any) -> tuple[Path, list[str]]:
    """The harness's files and ours beside them, all with the time in their names; the folder and their names."""
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    for task in results["configs"]:
        tracker.save_results_samples(task_name=task, samples=samples[task])
    folder = Path(tracker.output_path) / tracker.general_config_tracker.model_name_sanitized
    names = [f"results_{tracker.date_id}.json", *(f"samples_{task}_{tracker.date_id}.jsonl" for task in samples)]
    for name in names:
        if not (folder / name).exists():
            raise click.ClickException(f"the harness could not write {folder / name}")
    from ..folders.files import Output

    own = f"ours_{tracker.date_id}.json"
    Output(folder / own).write(json.dumps(ours, indent=1) + "\n")
    return folder, [*names, own]


def tables_of(results: Any) -> str:
    """The harness's tables of tasks and groups."""
    from lm_eval.utils import make_table

    tables = [make_table(results), *([make_table(results, "groups")] if results.get("groups") else [])]
    return "\n".join(tables)
