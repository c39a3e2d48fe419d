"""Decoding one batch: what every engine does, in this process or in another."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ..device_faults import is_device_fault, is_out_of_memory
from ..errors import MDMError, SpecError
from ..folders.lines import Line, digest
from ..loading import from_spec
from ..provenance import describe_machine
from ..registry.observers import plugin_observers
from ..registry.registry import registry
from ..registry.specs import NOT_REGISTERED
from ..sampler import Sampler
from .batches import Batch, EncodedRow, padded_positions

_FOR_OTHERS = "name it as FILE.py:Class or write a plug-in, so that other processes can build it"


@dataclass(frozen=True)
class Variant:
    """How a batch is decoded.

    Attributes:
        sampler: decodes.
        until_eos: whether a row's text ends at its first end token, or is its whole body, as in infilling.
        stop: strings before which a row's text ends.
    """

    sampler: Sampler
    until_eos: bool
    stop: tuple[str, ...] = ()


class Worker:
    """A model that turns batches into lines of results, each batch in one of several variants.

    Args:
        variants: a batch names one by its number; all have the same model.
        splits: whether a batch that does not fit into memory is halved until it does.
        warms_up: whether the first row is decoded once before any batch, so that what is done once in a process
            belongs to no batch's seconds.

    Attributes:
        specs: what rebuilds the sampler of each variant.
        weights: tells the model from others, see `ModelBackend.fingerprint`.
        settings: for each variant what tells its lines from those of another spec or model.
    """

    def __init__(self, variants: Sequence[Variant], *, splits: bool, warms_up: bool = False) -> None:
        self.variants = list(variants)
        self.splits = splits
        self.warms_up = warms_up
        self.warm = not warms_up
        self.too_many: dict[int, int] = {}  # for a variant the positions of its smallest batch that did not fit
        self.specs = [variant.sampler.spec() for variant in variants]
        self.weights = variants[0].sampler.backend.fingerprint() if variants else None
        self.machine = describe_machine(variants[0].sampler.backend.device if variants else None)
        files = [file.source for file in registry().files.values()]  # an edited file is another setting
        kinds = zip(self.specs, variants, strict=True)
        self.settings = [digest([spec, self.weights, each.until_eos, each.stop, *files]) for spec, each in kinds]

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
                    raise SpecError(f"a part is {part}; {_FOR_OTHERS}")
        for variant in self.variants:
            for name in registry().names_only_here(variant.sampler):
                raise SpecError(f"{name!r} was registered in this process alone; {_FOR_OTHERS}")
        kinds = zip(self.specs, self.variants, strict=True)
        variants = [{"spec": spec, "until_eos": each.until_eos, "stop": each.stop} for spec, each in kinds]
        files = registry().files_to_send()
        return {"variants": variants, "splits": self.splits, "warms_up": self.warms_up, "files": files}

    @classmethod
    def from_recipe(cls, recipe: dict[str, Any]) -> Worker:
        """The worker of a recipe. The model is loaded once for all variants."""
        registry().receive_files(recipe["files"])
        variants: list[Variant] = []
        for each in recipe["variants"]:
            sampler = from_spec(each["spec"], variants[0].sampler.backend if variants else None)
            variants.append(Variant(sampler, each["until_eos"], tuple(each["stop"])))
        return cls(variants, splits=recipe["splits"], warms_up=recipe["warms_up"])

    def identity(self, row: EncodedRow, variant: int) -> Line:
        """What the line of a row begins with, and what tells it from other lines."""
        return row.identity | {"settings": self.settings[variant]}

    def decode(self, batch: Batch) -> list[Line]:
        """A line for each row. One that cannot be decoded, not even alone, gets its error.

        A device that has failed is not a row's error: it is raised, as is a full memory unless batches are split.
        """
        if not self.warm:
            self.warm = True
            self._lines(batch.variant, batch.rows[:1])
        made_with: Line = {"spec": self.specs[batch.variant], "machine": self.machine}
        return [line | made_with for line in self._lines(batch.variant, batch.rows)]

    def _lines(self, variant: int, rows: Sequence[EncodedRow]) -> list[Line]:
        if self._is_too_large(variant, rows):
            return self._halves(variant, rows)
        try:
            return self._decoded(variant, rows)
        except (MDMError, RuntimeError, MemoryError) as error:
            # A device that has failed fails every row after it; that is told of none of them.
            if is_device_fault(error) or (is_out_of_memory(error) and not self.splits):
                raise
            is_full, line = is_out_of_memory(error), failed(self.identity(rows[0], variant), error)
        # Only here, where the error is gone, does nothing hold on to the memory of the batch that failed.
        if is_full:
            free_memory()
            self.too_many[variant] = min(self.too_many.get(variant, padded_positions(rows)), padded_positions(rows))
        # What is wrong with one row is not a reason to lose the others.
        return self._halves(variant, rows) if len(rows) > 1 else [line]

    def _is_too_large(self, variant: int, rows: Sequence[EncodedRow]) -> bool:
        return len(rows) > 1 and variant in self.too_many and padded_positions(rows) >= self.too_many[variant]

    def _halves(self, variant: int, rows: Sequence[EncodedRow]) -> list[Line]:
        middle = len(rows) // 2
        return self._lines(variant, rows[:middle]) + self._lines(variant, rows[middle:])

    def _decoded(self, variant: int, rows: Sequence[EncodedRow]) -> list[Line]:
        began = time.perf_counter()
        how = self.variants[variant]
        found = how.sampler.fill(
            [each.row for each in rows],
            [each.seed for each in rows],
            batch_size=len(rows),
            until_eos=how.until_eos,
            stop=how.stop,
            observers=plugin_observers(how.sampler),
        )
        together = {"batch_size": len(rows), "batch_seconds": time.perf_counter() - began, "error": None}
        columns = zip(rows, found.texts, found.sequences, found.rows, found.histories, strict=True)
        return [
            {"text": text, "tokens": tokens, **asdict(cost), "order": history.order}
            | together
            | self.identity(each, variant)  # whose seed is that of the run, where an item has several
            for each, text, tokens, cost, history in columns
        ]


def failed(identity: Line, error: BaseException) -> Line:
    """The line of a row that could not be decoded."""
    text = str(error) if isinstance(error, MDMError) else f"{type(error).__name__}: {error}"
    return identity | {"error": " ".join(text.split())[:500]}


def free_memory() -> None:
    """Give back what a failed batch left, also where an error and its frames hold each other."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
