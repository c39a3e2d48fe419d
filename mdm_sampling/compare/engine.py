"""Decode every item with every setting and seed, in batches, keeping what was decoded before."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any
from zlib import crc32

from ..at_work import at_work
from ..errors import MDMError, SpecError, require
from ..fields import HALF_A_PAIR, is_number, is_whole
from ..folders.files import UNGRADED, new_file
from ..folders.store import Line, Store
from ..jobs.batches import Batch, BatchSize, Ready, check_batch_size, most_rows
from ..jobs.engine import Engine, LocalEngine
from ..jobs.worker import Way, Worker
from ..sampler import Sampler
from ..tasks.base import Grade, Item, Task
from ..tasks.split import MOST_ITEMS
from .settings import KEY, Setting, text_of_part
from .statistics import Summary, summarise

QUESTION = "compare.json"
"""Where a batch is kept that was decoded and could not be graded; it is decoded again."""


@dataclass(frozen=True)
class Comparison:
    """What was found.

    Attributes:
        question: the task, the model and whatever else all settings share.
        settings: in the order in which they were asked.
        lines: one for each item, setting and seed, in the order in which they were asked.
    """

    question: dict[str, Any]
    settings: Sequence[Setting]
    lines: Sequence[Line]

    @cached_property
    def summaries(self) -> list[Summary]:
        """One for each setting: accuracy, entropy and cost with their intervals."""
        return summarise(self.settings, self.lines)

    def markdown(self) -> str:
        """The report: question, table, how to read it, and what it was measured on."""
        from .report import markdown

        return markdown(self)

    def plot(self, folder: Path | str, *, overwrite: bool = False) -> list[Path]:
        """Draw the figures as PNG and SVG into a folder, which is made. Needs the extra `plot`.

        Raises `SpecError` for a file of such a name that holds anything else, unless `overwrite` is set.
        """
        from .plots import draw

        return draw(self, Path(folder), overwrite=overwrite)


def compare(
    base: Sampler,
    task: Task,
    settings: Sequence[Setting],
    *,
    seeds: Sequence[int] = (0,),
    items: int | None = None,
    item_seed: int = 0,
    batch_size: BatchSize = 16,
    chat: bool | None = None,
    folder: Path | str | None = None,
    engine: Engine | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Comparison:
    """Decode the same items with the same seeds under every setting, and grade them.

    Args:
        base: the model and what all settings share: token sampler, processors, end tokens.
        settings: see `grid`.
        seeds: each item is decoded once with each.
        items: how many; None for the task's own number.
        item_seed: draws the items.
        batch_size: rows decoded together; it does not change what is decoded. "auto" for as many as fit into memory,
            found by halving.
        chat: whether to apply the chat template; None applies it if the model has one.
        folder: keeps the results; a call that was cut off goes on from there, and more settings, seeds or items add
            to it. Raises `SpecError` if it holds the results of another task or model.
        engine: where batches are decoded; None for this process.
        progress: called with the numbers of rows that are done and wanted, also before the first.

    Raises:
        MDMError: for a row that cannot be decoded; what was decoded is in the folder.
    """
    require(len(seeds) > 0 and len(settings) > 0, "a comparison needs a setting and a seed")
    require(items is None or (is_whole(items) and items >= 1), f"items must be at least 1, got {items}")
    require(items is None or items <= MOST_ITEMS, f"at most {MOST_ITEMS:,} items can be compared, got {items}")
    check_batch_size(batch_size)
    # A part that changes the working folder must not move what is written.
    position = None if folder is None else Path(folder).absolute()
    seeds = list(dict.fromkeys(seeds))
    length = length_of(task)
    base = base if length is None else replace(base, max_new_tokens=length)
    asked = [Asked(item, row_of(item, base, chat)) for item in checked_items(task, items, item_seed)]
    base.check([each.row for each in asked])
    longest = max(len(each.row[1]) for each in asked)
    question = question_of(base, task, item_seed, chat, longest)
    if folder is not None:
        check_can_resume(question, settings)
    with Store(position, question, name=QUESTION, complete=whole_batches) as store:
        done = {line_key(line) for line in store.lines}
        every = [Trial(setting, each, seed) for setting in settings for seed in seeds for each in asked]
        wanted = {trial.key: trial for trial in every}
        count = len(done & wanted.keys())
        progress(count, len(wanted))
        trials = [trial for key, trial in wanted.items() if key not in done]
        ways, batches = planned(trials, base, longest, batch_size)
        worker = Worker(ways, splits=batch_size == "auto", warms_up=True)
        with closing((engine or LocalEngine()).decode(worker, batches)) as decoded:
            for lines in decoded:
                good = [line for line in lines if line["error"] is None]
                with kept_ungraded(good, position):
                    graded_lines = [trials[line["number"]].line(line, task) for line in good]
                store.add(graded_lines)
                count += len(good)
                progress(count, len(wanted))
                refuse_failed(lines, trials)
        held = {line_key(line): line for line in store.lines}
    found = [held[key] for key in wanted if key in held]
    if len(found) < len(wanted):
        raise MDMError(f"the engine ended with {len(found)} of {len(wanted)} rows decoded")
    return Comparison(question | {"items": len(asked), "seeds": seeds}, settings, found)


@dataclass(frozen=True)
class Asked:
    """An item, as (prefix, body) token ids as well, with a digest that changes with anything that it asks."""

    item: Item
    row: tuple[Sequence[int], Sequence[int]]

    @cached_property
    def digest(self) -> str:
        item = self.item
        text = json.dumps([item.name, item.prompt, item.body, dict(item.data)], sort_keys=True, default=repr)
        return sha256(text.encode()).hexdigest()[:16]

    @property
    def is_prompt(self) -> bool:
        return self.item.body is None


@dataclass(frozen=True)
class Trial:
    """One line that is wanted: an item decoded under a setting with a seed."""

    setting: Setting
    asked: Asked
    seed: int

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells the result from all others of a question."""
        return (self.asked.digest, self.seed, *self.setting.key.values())

    def ready(self, number: int) -> Ready:
        """The trial as a row of a batch."""
        item, (prefix, body) = self.asked.item, self.asked.row
        row = (tuple(prefix), tuple(body))
        return Ready(number, item.name, row, row_seed(item, self.seed), self.asked.digest)

    def line(self, decoded: Line, task: Task) -> Line:
        """The graded result, from a worker's line."""
        grade = graded(task, self.asked.item, decoded["text"])
        return {
            "item": self.asked.item.name,
            "digest": self.asked.digest,
            "seed": self.seed,
            "row_seed": decoded["seed"],
            **self.setting.key,
            "score": grade.score,
            "answer": grade.answer,
            "text": decoded["text"],
            "tokens": sum(step >= 0 for step in decoded["order"]),
            **{name: decoded[name] for name in ("steps", "forwards", "token_forwards", "cumulative_entropy")},
            "seconds": decoded["batch_seconds"] / decoded["batch_size"],
            **{name: decoded[name] for name in ("batch_size", "order", "spec", "machine")},
        }


def line_key(line: Line) -> tuple[Any, ...]:
    """What tells a line from all others, as `Trial.key`."""
    return (line["digest"], line["seed"], *(line[name] for name in KEY))


def whole_batches(lines: Sequence[Line]) -> int:
    """How many lines belong to batches that were written whole; only the last batch can be torn.

    The lines of a batch stand together, with one setting, one size and the same seconds.
    """
    if not lines:
        return 0

    def batch(line: Line) -> tuple[Any, ...]:
        return (line["seconds"], line.get("batch_size"), *(line[name] for name in KEY))

    written = sum(1 for _ in takewhile(lambda line: batch(line) == batch(lines[-1]), reversed(lines)))
    return len(lines) - written % (lines[-1].get("batch_size") or 1)


@contextmanager
def kept_ungraded(lines: Sequence[Line], folder: Path | None) -> Iterator[None]:
    """Write what was decoded to a new file beside the results if it cannot be graded."""
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException:
        if folder is not None:
            with new_file(folder / UNGRADED) as file:
                file.write("".join(json.dumps(line) + "\n" for line in lines))
        raise


def checked_items(task: Task, count: int | None, item_seed: int) -> Sequence[Item]:
    """The items. Raises `SpecError` for none, what is no item, or equal names."""
    items = items_of(task, count, item_seed)
    require(len(items) > 0, f"task {text_of_part(task)} gave no item")
    wrong = next((item for item in items if not isinstance(item, Item)), None)
    require(wrong is None, f"task {text_of_part(task)} gave {wrong!r:.40}, expected items")
    for item in items:
        named = isinstance(item.name, str) and not HALF_A_PAIR.search(item.name)
        require(named, f"task {text_of_part(task)} gave an item the name {item.name!r:.40}, expected a Unicode text")
    names = Counter(item.name for item in items)
    name, times = names.most_common(1)[0]
    require(times == 1, f"task {text_of_part(task)} gave {times} items the name {name!r}")
    return items


def planned(
    trials: Sequence[Trial], base: Sampler, longest: int, batch_size: BatchSize
) -> tuple[list[Way], list[Batch]]:
    """The ways and the batches that decode trials, which are ordered by setting; no body is longer than `longest`.

    Prompts and canvases, whose texts end differently, are kept in batches apart. The number of a row in a batch is its
    trial's.
    """
    ways: list[Way] = []
    batches: list[Batch] = []
    rows = most_rows(batch_size)
    for setting, mine in groupby(enumerate(trials), key=lambda each: each[1].setting):
        sampler, pending = setting.applied_to(base, longest), list(mine)
        for is_prompt in (True, False):
            alike = [trial.ready(number) for number, trial in pending if trial.asked.is_prompt == is_prompt]
            if alike:
                ways.append(Way(sampler, until_eos=is_prompt))
            for first in range(0, len(alike), rows):
                batches.append(Batch(len(batches), tuple(alike[first : first + rows]), len(ways) - 1))
    return ways, batches


def refuse_failed(lines: Sequence[Line], trials: Sequence[Trial]) -> None:
    """Raise `MDMError` for a row that could not be decoded: without it the others would answer another question."""
    for line in lines:
        if line["error"] is not None:
            trial = trials[line["number"]]
            what = f"item {trial.asked.item.name!r} could not be decoded with {trial.setting.key['planner']}"
            raise MDMError(f"{what}: {line['error']}")


def check_can_resume(question: dict[str, Any], settings: Sequence[Setting]) -> None:
    """Raise `SpecError` where a later call could not tell whether it asks the same."""
    require(question["weights"] is not None, "this model's weights cannot be told from others; leave out the folder")
    parts = [question["task"], question["token_sampler"], *question["processors"]]
    for text in (*parts, *(setting.key[name] for setting in settings for name in ("planner", "cache"))):
        require(" object at 0x" not in text, f"{text} needs a __repr__ that says what it does, to be kept in a folder")


def row_of(item: Item, sampler: Sampler, chat: bool | None) -> tuple[Sequence[int], Sequence[int]]:
    """An item as (prefix, body) token ids."""
    if item.body is None:
        return sampler.prompt_rows([item.prompt], chat)[0]
    prefix, body = sampler.masked_rows([item.body])[0]
    return (sampler.prompt_rows([item.prompt], chat)[0][0], body) if item.prompt else (prefix, body)


def question_of(base: Sampler, task: Task, item_seed: int, chat: bool | None, longest: int) -> dict[str, Any]:
    """What all lines of a folder have in common; noise is drawn for as many positions as the longest body has."""
    return {
        "task": text_of_part(task),
        "item_seed": item_seed,
        "chat": chat,
        "backend": base.spec()["backend"],
        "weights": base.backend.fingerprint(),
        "token_sampler": text_of_part(base.token_sampler),
        "processors": [text_of_part(processor) for processor in base.processors],
        "max_new_tokens": base.max_new_tokens,
        "longest": longest,
        "eos": base.eos,
    }


def length_of(task: Task) -> int | None:
    """Positions that a task's answers need, as it says; `ContractError` for whatever it raises."""
    with at_work("task", text_of_part(task), decodes=False):
        return task.max_new_tokens


def items_of(task: Task, count: int | None, item_seed: int) -> Sequence[Item]:
    """The items as the task gives them, unchecked; `ContractError` for whatever it raises."""
    with at_work("task", text_of_part(task), "making its items", decodes=False):
        return list(task.items(count, item_seed))


def graded(task: Task, item: Item, text: str) -> Grade:
    """The grade. Raises `SpecError` for a score that is none, `ContractError` for whatever else the task raises."""
    name = text_of_part(task)
    with at_work("task", name, f"grading item {item.name!r}", decodes=False):
        grade = task.grade(item, text)
    require(isinstance(grade, Grade), f"task {name} gave item {item.name!r} {grade!r:.40}, expected a grade")
    grade = replace(grade, score=float(grade.score)) if isinstance(grade.score, bool) else grade
    score, answer = grade.score, grade.answer
    if not is_number(score) or not 0 <= score <= 1:
        raise SpecError(f"task {name} gave a score of {score!s:.40}, expected 0 to 1, for item {item.name!r}")
    if answer is not None and (not isinstance(answer, str) or HALF_A_PAIR.search(answer)):
        raise SpecError(
            f"task {name} gave item {item.name!r} the answer {answer!r:.40}, expected a Unicode text or none"
        )
    return grade


def row_seed(item: Item, seed: int) -> int:
    """The seed of an item's row: the same under all settings, and not shared by items, or they'd share their noise."""
    return crc32(f"{seed}/{item.name}".encode())
