"""Following the harness through others' tasks: answers are on disk before any is graded, and errors name the item.

The harness calls a task's own code to make requests, to grade each item and to aggregate the scores. None of it is
known, and it runs after the model's work. So the methods that the harness calls are followed on the task objects.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

from ..backends.files import first_sentence
from ..errors import ContractError, MDMError, SpecError, repr_of
from ..fields import HALF_A_PAIR, is_whole
from ..folders.files import Output, replace_file

_LONGEST_NAME = 200  # bytes of a task's name; its file adds a time to it


class Grading(AbstractContextManager["Grading"]):
    """Follows tasks while the harness evaluates them, until the end of its context.

    Args:
        tasks: the harness's task objects by name; their methods are replaced by ones that are followed.
        groups: its groups likewise.
        folder: where the answers are kept, from before the first is graded until `forget`; None keeps none.

    Attributes:
        doing: the task and the item whose code runs, in words; None while the model works.
        files: what is kept.
    """

    def __init__(self, tasks: Mapping[str, Any], groups: Mapping[str, Any], folder: Path | None) -> None:
        self.tasks = tasks
        self.folder = folder
        self.doing: str | None = None
        self.files: dict[str, Path] = {}
        self.items: dict[int, tuple[Any, int]] = {}  # by the identity of an item's document
        self.graded: dict[str, list[tuple[int, dict[str, Any]]]] = {name: [] for name in tasks}
        self.functions: dict[str, dict[str, Any]] = {}  # those that aggregate a task's metrics, of the tasks so far
        self.aggregating = ""
        self.followed: list[tuple[Any, str, Any]] = []
        for name, task in tasks.items():
            for method, followed in (
                ("build_all_requests", self._requests),
                ("doc_iterator", self._documents),
                ("doc_to_prefix", self._of_item),
                ("fewshot_context", self._of_item),
                ("construct_requests", self._of_item),
                ("apply_filters", self._filters),
                ("process_results", self._grade),
                ("aggregation", self._aggregations),
            ):
                if hasattr(task, method):
                    self._follow(task, method, partial(followed, name))
        for name, group in groups.items():
            self._follow(group, "aggregate", partial(self._group, name))

    def _follow(self, part: Any, method: str, followed: Callable[..., Any]) -> None:
        """Let `followed` be called instead of a method, which it gets first."""
        own = getattr(part, method)
        self.followed.append((part, method, own))
        setattr(part, method, partial(followed, own))

    def __exit__(self, *error: object) -> None:
        for part, method, own in self.followed:
            setattr(part, method, own)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Tell what a task's code raises, whatever it is, in a sentence with the task and the item."""
        try:
            yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if self.doing is None:
                raise
            if self.doing == self.aggregating:
                self.doing = self._find_aggregated() or self.doing
            kept = f"; the answers are kept in {self.folder}" if self.files else ""
            what = str(error) if isinstance(error, MDMError) else told(error)
            raise ContractError(f"{self.doing}: {what}{kept}") from error

    def forget(self) -> None:
        """Remove what was kept, once the harness has written the same."""
        for file in self.files.values():
            file.unlink(missing_ok=True)
        self.files = {}

    def _requests(self, name: str, build: Callable[..., None], **settings: Any) -> None:
        self.doing = f"task {name!r}"
        build(**settings)
        requests = self.tasks[name].instances
        asked = {request.doc_id for request in requests}
        without = next((number for _, number in self.items.values() if number not in asked), None)
        if without is not None:
            self.doing = f"task {name!r}, item {without}"
            raise ContractError("it asks for nothing; has it no choices?")
        for request in requests:
            self.doing = f"task {name!r}, item {request.doc_id}"
            texts = request.args if request.request_type.startswith("loglikelihood") else request.args[:1]
            wrong = next((text for text in texts if not isinstance(text, str)), None)
            if wrong is not None:
                raise ContractError(f"it asks for {wrong!r:.40}, expected a text")
        self.items = {}
        self.doing = None

    def _documents(self, name: str, iterate: Callable[..., Any], **settings: Any) -> Iterator[tuple[int, Any]]:
        self.items = {}
        for number, document in iterate(**settings):
            self.items[id(document)] = (document, number)
            self.doing = f"task {name!r}, item {number}"
            yield number, document

    def _of_item(self, name: str, method: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
        document = arguments[0] if arguments else settings.get("doc")
        _, number = self.items.get(id(document), (None, None))
        if number is not None:
            self.doing = f"task {name!r}, item {number}"
        return method(*arguments, **settings)

    def _filters(self, name: str, apply: Callable[[], Any]) -> Any:
        if not self.files:
            self._keep_answers()
        self.doing = f"task {name!r}, its filters"
        try:
            return apply()
        except Exception:
            self._find_filtered(name)
            raise

    def _find_filtered(self, name: str) -> None:
        """Name the first item whose answers the filters cannot take by themselves."""
        task = self.tasks[name]
        for request in task.instances:
            for each in getattr(task, "_filters", ()):
                if raises(partial(each.apply, [request])):
                    self.doing = f"task {name!r}, item {request.doc_id}, its filter {each.name!r}"
                    return

    def _grade(self, name: str, process: Callable[..., Any], document: Any, results: Any) -> Any:
        scores = process(document, results)
        if not isinstance(scores, Mapping) or not all(isinstance(metric, str) for metric in scores):
            raise ContractError(f"process_results gave {scores!r:.60}, expected values by the names of metrics")
        if HALF_A_PAIR.search(json.dumps(scores, ensure_ascii=False, default=str)):
            raise ContractError("process_results gave a text that is not Unicode")
        if id(document) in self.items:
            self.graded[name].append((self.items[id(document)][1], dict(scores)))
        return scores

    def _aggregations(self, name: str, aggregation: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The functions that aggregate each metric; perplexities that no float can hold are infinite."""
        if not self.functions:
            self._keep_scores()
        self.doing = self.aggregating = f"task {name!r}, aggregating its scores"
        if name not in self.functions:
            self.functions[name] = dict(aggregation())
            self._allow_infinity(name)
        return self.functions[name]

    def _allow_infinity(self, name: str) -> None:
        from lm_eval.api.metrics import perplexity, weighted_perplexity

        functions = self.functions[name]
        for _, scores in self.graded[name]:
            for metric, value in scores.items():
                function = functions.get(metric)
                if function in (perplexity, weighted_perplexity) and raises(partial(function, [value]), OverflowError):
                    functions[metric] = partial(_or_infinite, function)

    def _find_aggregated(self) -> str | None:
        """The first item with a value that cannot be aggregated by itself, in the task that was aggregated last."""
        from lm_eval.api.metrics import mean

        name, functions = list(self.functions.items())[-1]
        for number, scores in self.graded[name]:
            for metric, value in scores.items():
                if raises(partial(functions.get(metric, mean), [value])):
                    return f"task {name!r}, item {number}, aggregating {metric!r}, which is {value!r:.40}"
        return None

    def _group(self, name: str, aggregate: Callable[..., Any], metrics: Any) -> Any:
        self.doing = f"group {name!r}"
        return aggregate(metrics)

    def _keep_answers(self) -> None:
        """A file for each task with a line for each item, as the harness writes them, but for the scores."""
        if self.folder is None:
            return
        time = datetime.now().isoformat().replace(":", "-")
        for name in self.tasks:
            file = self.folder / f"samples_{name}_{time}.jsonl"
            Output(file).write(_as_lines(answers(self.tasks[name])))
            self.files[name] = file

    def _keep_scores(self) -> None:
        """The same with the scores of each item, a line for each filter."""
        for name, task in self.tasks.items() if self.files else ():
            lines = {line["doc_id"]: line for line in answers(task)}
            graded = [lines[number] | {"metrics": list(scores)} | scores for number, scores in self.graded[name]]
            replace_file(self.files[name], _as_lines(graded))


def answers(task: Any) -> list[dict[str, Any]]:
    """For each item of a task its document, what was asked and what was answered."""
    found: dict[int, dict[str, Any]] = {}
    for request in task.instances:
        line = found.setdefault(
            request.doc_id, {"doc_id": request.doc_id, "doc": request.doc, "arguments": [], "resps": []}
        )
        line["arguments"].append(request.args)
        line["resps"].append(request.resps)
    return list(found.values())


def _as_lines(values: list[dict[str, Any]]) -> str:
    """Lines of JSON; what is not JSON is in them as Python writes it."""
    return "".join(json.dumps(value, default=repr_of) + "\n" for value in values)


def _or_infinite(function: Callable[[Any], float], items: Any) -> float:
    try:
        return function(items)
    except OverflowError:
        return inf


def raises(call: Callable[[], Any], kind: type[Exception] = Exception) -> bool:
    try:
        call()
    except Exception as error:
        return isinstance(error, kind)
    return False


def told(error: BaseException) -> str:
    """What another's code raised, as a sentence with its kind."""
    text = first_sentence(error) if isinstance(error, Exception) else str(error)
    name = type(error).__name__
    return text if text.startswith(name) else f"{name} {text}".strip()


def check_task(name: str, task: Any) -> None:
    """Raise `SpecError` for a task that could not be graded or written, before the model does any work."""
    from .arguments import read_generation

    if not _is_file_name(name):
        raise SpecError(f"task {name!r:.80} cannot name a file of results; give it another name")
    repeats = getattr(task.config, "repeats", 1)
    if not is_whole(repeats) or repeats < 1:
        raise SpecError(f"task {name!r}: repeats must be a whole number of at least 1, got {repeats!r:.40}")
    for each in getattr(task, "_filters", ()):
        if HALF_A_PAIR.search(str(each.name)):
            raise SpecError(f"task {name!r}: the name of a filter, {each.name!r}, is not Unicode")
        for make in each.filters:
            try:
                make()
            except (Exception, SystemExit) as error:
                raise SpecError(f"task {name!r}: its filter {each.name!r} cannot be made: {told(error)}") from error
    if task.OUTPUT_TYPE == "generate_until":
        try:
            read_generation(task.config.generation_kwargs or {})
        except SpecError as error:
            raise SpecError(f"task {name!r}: {error}") from error


def _is_file_name(name: Any) -> bool:
    """Whether files can be named after a task."""
    if not isinstance(name, str) or not name or HALF_A_PAIR.search(name):
        return False
    return not any(c in "/\\\0" or ord(c) < 32 for c in name) and len(name.encode()) <= _LONGEST_NAME
