"""Decode every item with every setting and seed, in batches, keeping what was decoded before."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any
from zlib import crc32

from ..errors import SpecError, require
from ..interfaces import Task
from ..machine import describe_machine
from ..records import Grade, Item
from ..results.store import Line, Store
from ..sampler import Sampler
from ..weights import fingerprint
from .settings import KEY, Setting, text_of_part
from .statistics import Summary, summarise

QUESTION = "compare.json"
IDENTITY = ("item", "digest", "seed", *KEY)


@dataclass(frozen=True)
class Comparison:
    """What was found.

    Attributes:
        question: the task, the model and whatever else all settings share.
        settings: in the order in which they were asked.
        lines: one for each item, setting and seed.
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

    def plot(self, folder: Path) -> list[Path]:
        """Draw the figures as PNG and SVG. Needs the extra `plot`."""
        from .plots import draw

        return draw(self, folder)


def compare(
    base: Sampler,
    task: Task,
    settings: Sequence[Setting],
    *,
    seeds: Sequence[int] = (0,),
    items: int | None = None,
    item_seed: int = 0,
    batch_size: int = 16,
    chat: bool | None = None,
    folder: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Comparison:
    """Decode the same items with the same seeds under every setting, and grade them.

    Args:
        base: the model and what all settings share: token sampler, processors, end tokens.
        settings: see `grid`.
        seeds: each item is decoded once with each.
        items: how many; None for the task's own number.
        item_seed: draws the items.
        batch_size: rows decoded together; it does not change what is decoded.
        chat: whether to apply the chat template; None applies it if the model has one.
        folder: keeps the results; a call that was cut off goes on from there, and more settings, seeds or items add
            to it. Raises `SpecError` if it holds the results of another task or model.
        progress: called with the numbers of rows that are done and wanted, also before the first.
    """
    require(len(seeds) > 0 and len(settings) > 0, "a comparison needs a setting and a seed")
    require(batch_size >= 1 and (items is None or items >= 1), "items and batch_size must be at least 1")
    seeds = list(dict.fromkeys(seeds))
    length = task.gen_length
    base = base if length is None else replace(base, gen_length=length)
    asked = [Asked(item, row_of(item, base, chat)) for item in checked_items(task, task.items(items, item_seed))]
    base.check([each.row for each in asked])
    longest = max(len(each.row[1]) for each in asked)
    question = question_of(base, task, item_seed, chat, longest)
    if folder is not None:
        check_can_resume(question, settings)
    with Store(folder, question, name=QUESTION, identity=IDENTITY) as store:
        done = {line_key(line) for line in store.lines}
        wanted = {
            each_key(setting, each, seed): (setting, each, seed)
            for setting in settings
            for seed in seeds
            for each in asked
        }
        count = len(done & wanted.keys())
        progress(count, len(wanted))
        work = [what for key, what in wanted.items() if key not in done]
        for lines in decoded(work, base, task, batch_size, longest):
            store.add(lines)
            count += len(lines)
            progress(count, len(wanted))
        found = [line for line in store.lines if line_key(line) in wanted]
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


def each_key(setting: Setting, asked: Asked, seed: int) -> tuple[Any, ...]:
    """What tells a result from all others of a question."""
    return (asked.digest, seed, *setting.key.values())


def line_key(line: Line) -> tuple[Any, ...]:
    """The same, from the result's line."""
    return (line["digest"], line["seed"], *(line[name] for name in KEY))


def checked_items(task: Task, items: Sequence[Item]) -> Sequence[Item]:
    """The items. Raises `SpecError` for none or equal names."""
    require(len(items) > 0, f"task {text_of_part(task)} gave no item")
    names = Counter(item.name for item in items)
    name, times = names.most_common(1)[0]
    require(times == 1, f"task {text_of_part(task)} gave {times} items the name {name!r}")
    return items


def decoded(
    work: Sequence[tuple[Setting, Asked, int]], base: Sampler, task: Task, batch_size: int, longest: int
) -> Iterator[list[Line]]:
    """Decode the work, which is ordered by setting, a batch at a time; no body is longer than `longest` places.

    Prompts and canvases, whose texts end differently, are kept in batches apart.
    """
    warm = False
    for setting, mine in groupby(work, key=lambda what: what[0]):
        decoder = Decoder(setting, setting.applied_to(base, longest), task)
        pending = [(asked, seed) for _, asked, seed in mine]
        for is_prompt in (True, False):
            alike = [each for each in pending if each[0].is_prompt == is_prompt]
            for first in range(0, len(alike), batch_size):
                if not warm:  # what is done once in a process belongs to no setting's time
                    decoder.decode(alike[:1])
                    warm = True
                yield decoder.decode(alike[first : first + batch_size])


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
    """What all lines of a folder have in common; noise is drawn for as many places as the longest body has."""
    return {
        "task": text_of_part(task),
        "item_seed": item_seed,
        "chat": chat,
        "backend": base.spec()["backend"],
        "weights": fingerprint(base.backend),
        "token_sampler": text_of_part(base.token_sampler),
        "processors": [text_of_part(processor) for processor in base.processors],
        "gen_length": base.gen_length,
        "longest": longest,
        "eos": base.eos,
    }


class Decoder:
    """Decodes and grades batches under one setting."""

    def __init__(self, setting: Setting, sampler: Sampler, task: Task) -> None:
        self.setting = setting
        self.sampler = sampler
        self.task = task
        self.constant = {"spec": sampler.spec(), "machine": describe_machine()}

    def decode(self, batch: Sequence[tuple[Asked, int]]) -> list[Line]:
        """Results of items with their seeds: all prompts or all canvases."""
        began = time.perf_counter()
        row_seeds = [row_seed(asked.item, seed) for asked, seed in batch]
        result = self.sampler.fill(
            [asked.row for asked, _ in batch],
            row_seeds,
            batch_size=len(batch),
            until_eos=batch[0][0].is_prompt,
        )
        seconds = (time.perf_counter() - began) / len(batch)
        lines = []
        for (asked, seed), text, report, history in zip(
            batch, result.texts, result.rows, result.histories, strict=True
        ):
            grade = self._grade(asked.item, text)
            lines.append(
                {
                    "item": asked.item.name,
                    "digest": asked.digest,
                    "seed": seed,
                    "row_seed": report.seed,
                    **self.setting.key,
                    "score": grade.score,
                    "answer": grade.answer,
                    "text": text,
                    "tokens": sum(step >= 0 for step in history.order),
                    "steps": report.steps,
                    "forwards": report.forwards,
                    "token_forwards": report.token_forwards,
                    "cumulative_entropy": report.cumulative_entropy,
                    "seconds": seconds,
                    "batch_size": len(batch),
                    "order": history.order,
                    **self.constant,
                }
            )
        return lines

    def _grade(self, item: Item, text: str) -> Grade:
        grade = self.task.grade(item, text)
        if not 0 <= grade.score <= 1:
            raise SpecError(f"task {text_of_part(self.task)} gave a score of {grade.score}, expected 0 to 1")
        return grade


def row_seed(item: Item, seed: int) -> int:
    """The seed of an item's row: the same under all settings, and not shared by items, or they'd share their noise."""
    return crc32(f"{seed}/{item.name}".encode())
