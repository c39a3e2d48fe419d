"""Decode every item with every setting and seed, in batches, keeping what was decoded before."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from zlib import crc32

import torch

from ..errors import SpecError, require
from ..interfaces import ModelBackend, Task
from ..machine import describe_machine
from ..records import Canvas, Grade, Item, StepRecord
from ..sampler import Rows, Sampler
from .settings import Setting, text_of_part
from .statistics import Summary, summarise
from .store import Line, Store

SAMPLED = 64  # numbers of each weight that tell models apart


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
    batch_size: int = 32,
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
    asked = checked_items(task, task.items(items, item_seed))
    rows = dict(zip(asked, (row_of(item, base, chat) for item in asked.values()), strict=True))
    base.check(list(rows.values()))
    longest = max(len(body) for _, body in rows.values())
    question = question_of(base, task, item_seed, chat)
    if folder is not None:
        check_can_resume(question, settings)
    with Store(folder, question) as store:
        done = {_key(line, line["digest"], line["seed"]) for line in store.lines}
        total = len(asked) * len(seeds) * len(settings)
        work = [
            (setting, [(d, s) for s in seeds for d in asked if _key(setting.key, d, s) not in done])
            for setting in settings
        ]
        count = total - sum(len(pending) for _, pending in work)
        progress(count, total)
        warm = False
        for setting, pending in work:
            decoder = Decoder(setting, setting.applied_to(base, longest), task)
            for batch in batches(pending, asked, batch_size):
                part = [asked[d] for d, _ in batch], [rows[d] for d, _ in batch], [s for _, s in batch]
                if not warm:  # what is done once in a process belongs to no setting's time
                    decoder.decode(part[0][:1], part[1][:1], part[2][:1])
                    warm = True
                store.add(decoder.decode(*part))
                count += len(batch)
                progress(count, total)
        wanted = {_key(setting.key, digest, seed) for setting in settings for digest in asked for seed in seeds}
        lines = [line for line in store.lines if _key(line, line["digest"], line["seed"]) in wanted]
    return Comparison(question | {"items": len(asked), "seeds": seeds}, settings, lines)


def checked_items(task: Task, items: Sequence[Item]) -> dict[str, Item]:
    """Items by their digest, which changes with anything that they ask. Raises `SpecError` for none or equal names."""
    require(len(items) > 0, f"task {text_of_part(task)} gave no item")
    names = Counter(item.name for item in items)
    name, times = names.most_common(1)[0]
    require(times == 1, f"task {text_of_part(task)} gave {times} items the name {name!r}")
    return {digest_of(item): item for item in items}


def digest_of(item: Item) -> str:
    """A few characters that differ between items that ask different things."""
    text = json.dumps([item.name, item.prompt, item.body, dict(item.data)], sort_keys=True, default=repr)
    return sha256(text.encode()).hexdigest()[:16]


def batches(
    pending: Sequence[tuple[str, int]], asked: dict[str, Item], size: int
) -> Iterator[Sequence[tuple[str, int]]]:
    """Cut what is to be decoded into batches; prompts and canvases, whose texts end differently, are kept apart."""
    for is_prompt in (True, False):
        part = [(digest, seed) for digest, seed in pending if (asked[digest].body is None) == is_prompt]
        for first in range(0, len(part), size):
            yield part[first : first + size]


def check_can_resume(question: dict[str, Any], settings: Sequence[Setting]) -> None:
    """Raise `SpecError` where a later call could not tell whether it asks the same."""
    require(question["weights"] is not None, "this model's weights cannot be told from others; leave out the folder")
    for text in (question["task"], question["token_sampler"], *(setting.key["planner"] for setting in settings)):
        require(" object at 0x" not in text, f"{text} needs a __repr__ that says what it does, to be kept in a folder")


def row_of(item: Item, sampler: Sampler, chat: bool | None) -> tuple[Sequence[int], Sequence[int]]:
    """An item as (prefix, body) token ids."""
    if item.body is None:
        return sampler.prompt_rows([item.prompt], chat)[0]
    prefix, body = sampler.masked_rows([item.body])[0]
    return (sampler.prompt_rows([item.prompt], chat)[0][0], body) if item.prompt else (prefix, body)


def question_of(base: Sampler, task: Task, item_seed: int, chat: bool | None) -> dict[str, Any]:
    """What all lines of a folder have in common."""
    return {
        "task": text_of_part(task),
        "item_seed": item_seed,
        "chat": chat,
        "backend": base.spec()["backend"],
        "weights": fingerprint(base.backend),
        "token_sampler": text_of_part(base.token_sampler),
        "processors": [text_of_part(processor) for processor in base.processors],
        "gen_length": base.gen_length,
        "eos": base.eos,
    }


def fingerprint(backend: ModelBackend) -> str | None:
    """A few characters that differ between models with different weights; None if there are no weights to be seen."""
    model = getattr(backend, "model", None)
    if not isinstance(model, torch.nn.Module):
        return None
    digest = sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {list(tensor.shape)}".encode())
        if tensor.device.type != "meta":
            few = tensor.detach().flatten()[:: max(1, tensor.numel() // SAMPLED)][:SAMPLED]
            digest.update(few.double().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


class Decoder:
    """Decodes and grades batches under one setting."""

    def __init__(self, setting: Setting, sampler: Sampler, task: Task) -> None:
        self.setting = setting
        self.sampler = sampler
        self.task = task
        self.constant = {"spec": sampler.spec(), "machine": describe_machine()}

    def decode(self, items: Sequence[Item], rows: Rows, seeds: Sequence[int]) -> list[Line]:
        order = Order()
        began = time.perf_counter()
        until_eos = items[0].body is None
        row_seeds = [row_seed(item, seed) for item, seed in zip(items, seeds, strict=True)]
        result = self.sampler.fill(rows, row_seeds, batch_size=len(rows), observers=[order], until_eos=until_eos)
        seconds = (time.perf_counter() - began) / len(rows)
        lines = []
        for item, seed, text, report, filled in zip(
            items, seeds, result.texts, result.rows, order.steps(), strict=True
        ):
            grade = self._grade(item, text)
            lines.append(
                {
                    "item": item.name,
                    "digest": digest_of(item),
                    "seed": seed,
                    "row_seed": report.seed,
                    **self.setting.key,
                    "score": grade.score,
                    "answer": grade.answer,
                    "text": text,
                    "tokens": sum(step >= 0 for step in filled),
                    "steps": report.steps,
                    "forwards": report.forwards,
                    "token_forwards": report.token_forwards,
                    "cumulative_entropy": report.cumulative_entropy,
                    "seconds": seconds,
                    "batch_size": len(rows),
                    "order": filled,
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


class Order:
    """An observer that notes at which of its row's steps each place of a body was filled."""

    def begin(self, canvas: Canvas, seeds: list[int]) -> None:
        self.canvas = canvas
        self.filled = torch.full_like(canvas.tokens, -1)
        self.taken = torch.zeros(canvas.batch, 1, dtype=torch.long, device=canvas.tokens.device)

    def add(self, record: StepRecord) -> None:
        here = (record.rows, record.block.places)
        step = self.taken[record.rows]
        self.filled[here] = torch.where(record.unmask, step, self.filled[here])
        self.taken[record.rows] += 1

    def steps(self) -> list[list[int]]:
        """For each row and place of its body the step, from 0; -1 for a place that no step filled."""
        body = slice(self.canvas.start, None)
        rows = zip(self.filled[:, body].tolist(), self.canvas.valid[:, body].tolist(), strict=True)
        return [[step for step, valid in zip(steps, places, strict=True) if valid] for steps, places in rows]


def _key(setting: dict[str, Any], digest: str, seed: int) -> tuple[Any, ...]:
    names = ("planner", "cache", "tokens_per_step", "block_length")
    return (digest, seed, *(setting[name] for name in names))
