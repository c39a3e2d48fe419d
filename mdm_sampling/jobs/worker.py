"""Decoding one batch: what every engine does, in this process or in another."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

import torch

from ..device_faults import is_device_fault, is_out_of_memory
from ..errors import MDMError, SpecError
from ..folders.store import Line
from ..loading import from_spec
from ..provenance import describe_machine
from ..registry.observers import plugin_observers
from ..registry.registry import registry
from ..registry.specs import NOT_REGISTERED
from ..sampler import Sampler
from .batches import Batch, Ready

FOR_OTHERS = "name it as FILE.py:Class or write a plug-in, so that other processes can build it"


@dataclass(frozen=True)
class Way:
    """How a batch is decoded.

    Attributes:
        sampler: decodes.
        until_eos: whether a row's text ends at its first end token, or is its whole body, as in infilling.
    """

    sampler: Sampler
    until_eos: bool


class Worker:
    """A model that turns batches into lines of results, each batch in one of several ways.

    Args:
        ways: a batch names one by its number; all have the same model.
        splits: whether a batch that does not fit into memory is halved until it does.
        warms_up: whether the first row is decoded once before any batch, so that what is done once in a process
            belongs to no batch's seconds.

    Attributes:
        specs: what rebuilds the sampler of each way.
        weights: tells the model from others, see `ModelBackend.fingerprint`.
        settings: for each way what tells its lines from those of another spec or model.
    """

    def __init__(self, ways: Sequence[Way], *, splits: bool, warms_up: bool = False) -> None:
        self.ways = list(ways)
        self.splits = splits
        self.warms_up = warms_up
        self.warm = not warms_up
        self.too_many: dict[int, int] = {}  # for a way the positions of its smallest batch that did not fit
        self.specs = [way.sampler.spec() for way in ways]
        self.weights = ways[0].sampler.backend.fingerprint() if ways else None
        self.machine = describe_machine(ways[0].sampler.backend.device if ways else None)
        files = [file.source for file in registry().files.values()]  # an edited file is another setting
        self.settings = [
            digest([spec, self.weights, w.until_eos, *files]) for spec, w in zip(self.specs, ways, strict=True)
        ]

    def recipe(self) -> dict[str, Any]:
        """What another process needs to decode as this one would, as JSON-able values.

        Raises:
            SpecError: for a model or a part that only this process has.
        """
        for spec in self.specs:
            if spec["backend"] is None:
                raise SpecError("this model was passed in memory, so other processes cannot load it; load it by name")
            for part in [*spec.values(), *spec["processors"]]:
                if str(part).startswith(NOT_REGISTERED):
                    raise SpecError(f"a part is {part}; {FOR_OTHERS}")
        for way in self.ways:
            for name in registry().names_only_here(way.sampler):
                raise SpecError(f"{name!r} was registered in this process alone; {FOR_OTHERS}")
        ways = [{"spec": s, "until_eos": w.until_eos} for s, w in zip(self.specs, self.ways, strict=True)]
        files = registry().files_to_send()
        return {"ways": ways, "splits": self.splits, "warms_up": self.warms_up, "files": files}

    @classmethod
    def from_recipe(cls, recipe: dict[str, Any]) -> Worker:
        """The worker of a recipe. The model is loaded once for all ways."""
        registry().receive_files(recipe["files"])
        ways: list[Way] = []
        for way in recipe["ways"]:
            sampler = from_spec(way["spec"], ways[0].sampler.backend if ways else None)
            ways.append(Way(sampler, way["until_eos"]))
        return cls(ways, splits=recipe["splits"], warms_up=recipe["warms_up"])

    def decode(self, batch: Batch) -> list[Line]:
        """A line for each row. One that cannot be decoded, not even alone, gets its error.

        A device that has failed is no row's error: it is raised, as is a full memory unless batches are split.
        """
        if not self.warm:
            self.warm = True
            self._lines(batch.way, batch.rows[:1])
        common: Line = {"batch": [batch.number, len(batch.rows)], "settings": self.settings[batch.way]}
        common |= {"spec": self.specs[batch.way], "machine": self.machine}
        return [line | common for line in self._lines(batch.way, batch.rows)]

    def _lines(self, way: int, rows: Sequence[Ready]) -> list[Line]:
        if self._is_too_large(way, rows):
            return self._halves(way, rows)
        try:
            return self._decoded(self.ways[way], rows)
        except (MDMError, RuntimeError, MemoryError) as error:
            # A device that has failed fails every row after it; that is told of none of them.
            if is_device_fault(error) or (is_out_of_memory(error) and not self.splits):
                raise
            is_full, line = is_out_of_memory(error), failed(rows[0], error)
        # Only here, where the error is gone, does nothing hold on to the memory of the batch that failed.
        if is_full:
            _free_memory()
            self.too_many[way] = min(self.too_many.get(way, _positions(rows)), _positions(rows))
        # What is wrong with one row is no reason to lose the others.
        return self._halves(way, rows) if len(rows) > 1 else [line]

    def _is_too_large(self, way: int, rows: Sequence[Ready]) -> bool:
        return len(rows) > 1 and way in self.too_many and _positions(rows) >= self.too_many[way]

    def _halves(self, way: int, rows: Sequence[Ready]) -> list[Line]:
        middle = len(rows) // 2
        return self._lines(way, rows[:middle]) + self._lines(way, rows[middle:])

    def _decoded(self, way: Way, rows: Sequence[Ready]) -> list[Line]:
        began = time.perf_counter()
        found = way.sampler.fill(
            [each.row for each in rows],
            [each.seed for each in rows],
            batch_size=len(rows),
            until_eos=way.until_eos,
            observers=plugin_observers(way.sampler),
        )
        together = {"batch_size": len(rows), "batch_seconds": time.perf_counter() - began, "error": None}
        columns = zip(rows, found.texts, found.sequences, found.rows, found.histories, strict=True)
        return [
            identity(each) | {"text": text, "tokens": tokens} | asdict(report) | {"order": history.order} | together
            for each, text, tokens, report, history in columns
        ]


def digest(values: Any) -> str:
    """A few characters that differ between different values."""
    return sha256(json.dumps(values, sort_keys=True, default=repr).encode()).hexdigest()[:16]


def identity(row: Ready) -> Line:
    """What tells a row's line from all others."""
    return {"item": row.id, "number": row.number, "digest": row.digest, "seed": row.seed}


def failed(row: Ready, error: BaseException) -> Line:
    """The line of a row that could not be decoded."""
    text = str(error) if isinstance(error, MDMError) else f"{type(error).__name__}: {error}"
    return identity(row) | {"text": None, "error": " ".join(text.split())[:500]}


def _positions(rows: Sequence[Ready]) -> int:
    """Positions of the rows' canvas, padding included."""
    return len(rows) * (max(len(each.row[0]) for each in rows) + max(len(each.row[1]) for each in rows))


def _free_memory() -> None:
    """Give back what a failed batch left, also where an error and its frames hold each other."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
