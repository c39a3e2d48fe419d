"""Evaluating a sampler on tasks of lm-evaluation-harness (extra `lm-eval`), from Python as from the command line."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import MDMError, SpecError, nearest
from ..folders.files import Output
from ..jobs.batches import BatchSize
from ..jobs.engine import Engine
from ..progress import ShowProgress, no_progress
from ..provenance import describe_machine
from ..sampler import Sampler
from .grading import Grading, check_task, told
from .groups import check_group, first_fault, knows_all, tasks_in

if TYPE_CHECKING:
    from .harness import HarnessModel


@dataclass(frozen=True)
class HarnessTasks:
    """Tasks as the harness has loaded them.

    Attributes:
        manager: the harness's own, which loaded them.
        tasks: its task objects by name.
        groups: its groups by name.
        outermost: those of both that are in no other group.
    """

    manager: Any
    tasks: dict[str, Any]
    groups: dict[str, Any]
    outermost: list[Any]

    @property
    def kinds(self) -> set[str]:
        """What the tasks ask a model for, such as `generate_until`."""
        return {task.OUTPUT_TYPE for task in self.tasks.values()}


@dataclass(frozen=True)
class Evaluation:
    """What came out.

    Attributes:
        results: what the harness found: scores, standard errors, configurations, versions.
        samples: for each task its items with their prompts, answers and scores.
        about: what the harness does not say: the sampler's spec, its seed, what it cost, and on what.
        tables: the scores as text.
        files: what was written.
    """

    results: dict[str, Any]
    samples: dict[str, Any]
    about: dict[str, Any]
    tables: str
    files: list[Path]


def load_tasks(names: str | Sequence[str], include: Path | str | None = None) -> HarnessTasks:
    """Load tasks and groups by their names or patterns.

    The harness's own tasks, of which there are 14,000, are only read where a name, or a member of a group that is asked
    for, is not in `include`.

    Args:
        names: one, or several.
        include: a folder of tasks of your own, as YAML files.

    Raises:
        SpecError: for a name that is not known, and a task that cannot be loaded, graded or written.
    """
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise SpecError(f'evaluate needs lm-eval ({error}); pip install "mdm-sampling[lm-eval]"') from error
    names = [names] if isinstance(names, str) else names
    include = include and str(include)
    with _harness_errors("the tasks cannot be read", Exception):
        manager = TaskManager(include_path=include, include_defaults=False)
        if not knows_all(manager.task_index, names):
            manager = TaskManager(include_path=include)
    matches = {name: manager.match_tasks([name]) for name in names}
    for name, found in matches.items():
        if not found:
            hint = nearest(name, manager.all_tasks, "`lm_eval ls tasks` lists them")
            raise SpecError(f"there is no task {name!r}; {hint}")
    wanted = list(dict.fromkeys(match for found in matches.values() for match in found))
    for name in wanted:
        check_group(manager.task_index, name)
    loaded = _loaded(manager, wanted)
    for name, task in loaded["tasks"].items():
        check_task(name, task)
    inner = {name for members in loaded["group_map"].values() for name in members}
    outermost = [item for name, item in {**loaded["groups"], **loaded["tasks"]}.items() if name not in inner]
    return HarnessTasks(manager, loaded["tasks"], loaded["groups"], outermost)


def _loaded(manager: Any, names: list[str]) -> dict[str, Any]:
    """What the harness loads; an error of one task names it, and its item if it is the first, which is tried then."""
    try:
        loaded: dict[str, Any] = manager.load(names)
    except (Exception, SystemExit, GeneratorExit) as error:
        each = [task for name in names for task in tasks_in(manager.task_index, name)]
        what = first_fault(manager, each) or told(error)
        raise SpecError(f"the tasks cannot be loaded: {what}") from error
    return loaded


def evaluate(
    sampler: Sampler,
    tasks: str | Sequence[str] | HarnessTasks,
    *,
    folder: Path | str | None = None,
    num_fewshot: int | None = None,
    limit: float | None = None,
    apply_chat_template: bool = False,
    fewshot_as_multiturn: bool | None = None,
    confirm_run_unsafe_code: bool = False,
    max_new_tokens: int | None = None,
    samples: int = 128,
    seed: int = 0,
    batch_size: BatchSize = 8,
    engine: Engine | None = None,
    progress: ShowProgress = no_progress,
) -> Evaluation:
    """Let a sampler answer the tasks, and let the harness grade it.

    Args:
        tasks: a name, several, or what `load_tasks` returned.
        folder: gets a folder named after the model, with the harness's files, ours, and every answer as soon as it is
            decoded: a call that was cut off goes on from there. None writes nothing.
        num_fewshot: examples in a prompt; None for the task's own number.
        limit: number of items of each task, or a fraction below 1.
        apply_chat_template: whether prompts become chats.
        fewshot_as_multiturn: whether each example is a turn of the chat; None where there is a chat.
        confirm_run_unsafe_code: whether tasks may run the code that the model writes.
        max_new_tokens: positions of every answer; None for the task's, else the sampler's.
        samples: masks that a log-likelihood is taken from.
        seed: draws rows and masks.
        batch_size: rows decoded together; "auto" for as many as fit into memory, found by halving.
        engine: where answers are decoded; None for this process. Likelihoods are always computed in this process.
        progress: called with what is counted, such as "answers"; gives a context in which it is told of progress.

    Raises:
        MDMError: for a row that cannot be decoded, and for what the harness or a task raises.
    """
    loaded = tasks if isinstance(tasks, HarnessTasks) else load_tasks(tasks)
    from .harness import HarnessModel

    source = sampler.backend.source
    name = "in-memory" if source is None else source.model
    kept_in = None if folder is None else _model_folder(Path(folder).absolute(), name)
    model = HarnessModel(
        sampler,
        max_new_tokens=max_new_tokens,
        samples=samples,
        seed=seed,
        batch_size=batch_size,
        engine=engine,
        folder=kept_in,
        progress=progress,
    )
    asked = {"num_fewshot": num_fewshot, "limit": limit, "apply_chat_template": apply_chat_template}
    asked["fewshot_as_multiturn"] = apply_chat_template if fewshot_as_multiturn is None else fewshot_as_multiturn
    began = time.perf_counter()
    with Grading(loaded.tasks, loaded.groups, kept_in) as grading:
        results, tracker = _graded(
            model, loaded, grading, asked, confirm_run_unsafe_code, kept_in and kept_in.parent, name
        )
        found = results.pop("samples")
        with grading.errors():
            tables = _tables_of(results)
        about = {"tasks": list(results["configs"]), **asked, **_about_model(model)}
        about["seconds"] = round(time.perf_counter() - began, 3)
        files = [] if kept_in is None else _write(results, found, about, tracker, kept_in)
        grading.forget()
    return Evaluation(results, found, about, tables, files)


def _graded(
    model: HarnessModel,
    loaded: HarnessTasks,
    grading: Grading,
    asked: dict[str, Any],
    unsafe: bool,
    folder: Path | None,
    name: str,
) -> tuple[Any, Any]:
    """The harness's results, and its tracker, which names the files."""
    from jinja2 import TemplateError
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.loggers import EvaluationTracker

    limit = asked["limit"]
    tracker = EvaluationTracker(output_path=folder and str(folder))
    stops = (ValueError, KeyError, ImportError, OSError, TemplateError, SystemExit)
    with _harness_errors("the harness stopped", *stops), grading.errors(), _without_commit():
        results = simple_evaluate(
            model,
            model_args={"model": name},
            tasks=loaded.outermost,
            task_manager=loaded.manager,
            batch_size=model.batch_size,
            device=str(model.sampler.backend.device),
            confirm_run_unsafe_code=unsafe,
            evaluation_tracker=tracker,
            **asked | {"limit": int(limit) if limit and limit >= 1 else limit},
        )
    return results, tracker


def _model_folder(folder: Path, model: str) -> Path:
    """Where the harness writes what it found of a model; made before any work, as it only warns where it cannot."""
    from lm_eval.utils import sanitize_model_name

    found = folder / str(sanitize_model_name(model))
    try:
        found.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(f"cannot write {folder}: {error.strerror}") from error
    if not os.access(found, os.W_OK):
        raise SpecError(f"cannot write to {found}")
    return found


@contextmanager
def _harness_errors(doing: str, *kinds: type[BaseException]) -> Iterator[None]:
    """Tell in one sentence what the harness, its data sets and its templates raise on a broken task."""
    try:
        yield
    except MDMError:
        raise
    except kinds as error:
        raise MDMError(f"{doing}: {told(error)}") from error


@contextmanager
def _without_commit() -> Iterator[None]:
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


def _about_model(model: HarnessModel) -> dict[str, Any]:
    """What the harness's files don't say: the sampler, what it cost, and on what."""
    from importlib.metadata import version

    machine = describe_machine(model.sampler.backend.device) | {"lm-eval": version("lm_eval")}
    return {**model.settings(), "notes": model.notes, **model.costs(), "machine": machine}


def _write(results: Any, samples: Any, about: dict[str, Any], tracker: Any, folder: Path) -> list[Path]:
    """The harness's files and ours beside them, all with the time in their names."""
    samples = deepcopy(samples)  # which the harness makes texts of
    tracker.save_results_aggregated(results=results, samples=samples)
    for task in results["configs"]:
        tracker.save_results_samples(task_name=task, samples=samples[task])
    names = [f"results_{tracker.date_id}.json", *(f"samples_{task}_{tracker.date_id}.jsonl" for task in samples)]
    files = [folder / name for name in names]
    missing = next((file for file in files if not file.exists()), None)
    if missing is not None:
        raise MDMError(f"the harness could not write {missing}")
    own = folder / f"ours_{tracker.date_id}.json"
    Output(own).write(json.dumps(about, indent=1) + "\n")
    return [*files, own]


def _tables_of(results: Any) -> str:
    """The harness's tables of tasks and groups."""
    from lm_eval.utils import make_table

    return "\n".join(make_table(results, part) for part in ("results", "groups") if results.get(part))
