"""Decode every item with every setting and seed, in batches, keeping what was decoded before."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

from ..at_work import at_work
from ..canvas import Row
from ..errors import SpecError, require
from ..fields import HALF_A_PAIR, is_number, is_whole
from ..folders.files import UNGRADED, new_file
from ..folders.lines import COUNTS, Line, LineFormat, digest
from ..folders.store import Store
from ..jobs.batches import Batch, BatchSize, EncodedRow, check_batch_size, most_rows
from ..jobs.engine import Engine, LocalEngine
from ..jobs.resume import decode_missing
from ..jobs.worker import Variant, Worker
from ..kinds import as_kind
from ..progress import Progress
from ..randomness import row_seed
from ..sampler import Sampler
from ..tasks.base import Grade, Item, Task
from ..tasks.split import MOST_ITEMS
from .comparison import Comparison
from .settings import KEY, Setting, text_of_part

_COSTS = (*COUNTS, "cumulative_entropy")
"""What a line has from the row's `RowCost` under the same name."""
COMPARISON_LINES = LineFormat(
    kind="comparison",
    key=("digest", "seed", *KEY),
    required=("item", "digest", "seed", *KEY, "score", "answer"),
    decoded=("text", "filled", "order", *_COSTS, "seconds", "spec", "machine"),
)


def compare(
    base: Sampler,
    task: Task | str,
    settings: Sequence[Setting],
    *,
    seeds: Sequence[int] = (0,),
    items: int | None = None,
    item_seed: int = 0,
    batch_size: BatchSize = 16,
    chat: bool | None = None,
    folder: Path | str | None = None,
    engine: Engine | None = None,
    progress: Progress = lambda done, total: None,
) -> Comparison:
    """Decode the same items with the same seeds under every setting, and grade them.

    Args:
        base: the model and what all settings share: token sampler, processors, end tokens.
        task: makes the items and grades them; it may be given as its spec, such as "sudoku:6".
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
    task = as_kind("task", task, Task)
    assert isinstance(task, Task)
    # A part that changes the working folder must not move what is written.
    position = None if folder is None else Path(folder).absolute()
    seeds = list(dict.fromkeys(seeds))
    length = length_of(task)
    base = base if length is None else replace(base, max_new_tokens=length)
    asked = [_EncodedItem(item, row_of(item, base, chat)) for item in checked_items(task, items, item_seed)]
    base.check([each.row for each in asked])
    longest = max(len(each.row.body) for each in asked)
    manifest = _manifest_of(base, task, item_seed, chat, longest)
    if folder is not None:
        _check_can_resume(manifest, settings)
    key_of = COMPARISON_LINES.key_of
    every = [_Trial(setting, each, seed) for setting in settings for seed in seeds for each in asked]
    trials = {key_of(trial.identity): trial for trial in every}
    variants, batches = _planned(list(trials.values()), base, longest, batch_size)
    worker = Worker(variants, splits=batch_size == "auto", warms_up=True)

    def graded_lines(lines: list[Line]) -> list[Line]:
        with _kept_ungraded(lines, position):
            return [trials[key_of(line)].line(line, task) for line in lines]

    with Store(position, manifest, COMPARISON_LINES) as store:
        held = decode_missing(
            store, engine or LocalEngine(), worker, batches, finish=graded_lines, progress=progress
        ).lines
    return Comparison(manifest | {"items": len(asked), "seeds": seeds}, settings, [held[key] for key in trials])


@dataclass(frozen=True)
class _EncodedItem:
    """An item, as token ids as well, with a digest that changes with anything that it asks."""

    item: Item
    row: Row

    @cached_property
    def digest(self) -> str:
        item = self.item
        return digest([item.name, item.prompt, item.body, dict(item.data)])


@dataclass(frozen=True)
class _Trial:
    """One line that is wanted: an item decoded under a setting with a seed."""

    setting: Setting
    asked: _EncodedItem
    seed: int

    @property
    def is_prompt(self) -> bool:
        return self.asked.item.body is None

    @cached_property
    def identity(self) -> Line:
        """What the trial's line begins with, and what tells it from all others."""
        name = self.asked.item.name
        # The same seed under all settings, so that they share their noise.
        named = {"item": name, "digest": self.asked.digest, "seed": self.seed, "row_seed": row_seed(name, self.seed)}
        return named | self.setting.key

    def encoded(self) -> EncodedRow:
        """The trial as a row of a batch."""
        return EncodedRow(self.asked.row, self.identity["row_seed"], self.identity)

    def line(self, decoded: Line, task: Task) -> Line:
        """The graded result, from a worker's line."""
        grade = graded(task, self.asked.item, decoded["text"])
        return {
            **self.identity,
            "score": grade.score,
            "answer": grade.answer,
            "text": decoded["text"],
            "filled": sum(step >= 0 for step in decoded["order"]),
            **{name: decoded[name] for name in _COSTS},
            "seconds": decoded["batch_seconds"] / decoded["batch_size"],
            **{name: decoded[name] for name in ("batch_size", "order", "spec", "machine")},
        }


@contextmanager
def _kept_ungraded(lines: Sequence[Line], folder: Path | None) -> Iterator[None]:
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
    """The items. Raises `SpecError` for none, for what is not an item and for equal names, `ContractError` for the
    task's own errors.
    """
    who = f"task {text_of_part(task)}"
    with at_work("task", text_of_part(task), "making its items", decodes=False):
        items = list(task.items(count, item_seed))
    require(len(items) > 0, f"{who} gave no item")
    for item in items:
        if not isinstance(item, Item):
            raise SpecError(f"{who} gave {item!r:.40}, expected items")
        named = isinstance(item.name, str) and not HALF_A_PAIR.search(item.name)
        require(named, f"{who} gave an item the name {item.name!r:.40}, expected a Unicode text")
    names = Counter(item.name for item in items)
    name, times = names.most_common(1)[0]
    require(times == 1, f"{who} gave {times} items the name {name!r}")
    return items


def _planned(
    trials: Sequence[_Trial], base: Sampler, longest: int, batch_size: BatchSize
) -> tuple[list[Variant], list[Batch]]:
    """The variants and the batches that decode trials, which are ordered by setting.

    Prompts and canvases, whose texts end differently, are kept in batches apart.

    Args:
        longest: positions of the longest body.
    """
    variants: list[Variant] = []
    batches: list[Batch] = []
    rows = most_rows(batch_size)
    for setting, part in groupby(trials, key=lambda trial: trial.setting):
        sampler, mine = setting.applied_to(base, longest), list(part)
        for is_prompt in (True, False):
            alike = [trial.encoded() for trial in mine if trial.is_prompt == is_prompt]
            if alike:
                variants.append(Variant(sampler, until_eos=is_prompt))
            for first in range(0, len(alike), rows):
                batches.append(Batch(tuple(alike[first : first + rows]), len(variants) - 1))
    return variants, batches


def _check_can_resume(manifest: dict[str, Any], settings: Sequence[Setting]) -> None:
    """Raise `SpecError` where a later call could not tell whether it asks the same."""
    require(manifest["weights"] is not None, "this model's weights cannot be told from others; leave out the folder")
    parts = [manifest["task"], manifest["token_sampler"], *manifest["processors"]]
    for text in (*parts, *(setting.key[name] for setting in settings for name in ("planner", "cache"))):
        require(" object at 0x" not in text, f"{text} needs a __repr__ that says what it does, to be kept in a folder")


def row_of(item: Item, sampler: Sampler, chat: bool | None) -> Row:
    """An item as token ids."""
    if item.body is None:
        return sampler.prompt_rows([item.prompt], chat)[0]
    row = sampler.masked_rows([item.body])[0]
    return row._replace(prefix=sampler.prompt_rows([item.prompt], chat)[0].prefix) if item.prompt else row


def _manifest_of(base: Sampler, task: Task, item_seed: int, chat: bool | None, longest: int) -> dict[str, Any]:
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
        "growing": base.growing,
    }


def length_of(task: Task) -> int | None:
    """Positions that a task's answers need, as it says; `ContractError` for whatever it raises."""
    with at_work("task", text_of_part(task), decodes=False):
        return task.max_new_tokens


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
