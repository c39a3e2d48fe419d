"""Decoding one batch: what every engine does, in this process or in another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256

import torch

from ..errors import MDMError
from ..machine import describe_machine, is_out_of_memory
from ..results.store import Line
from ..sampler import Sampler
from ..weights import fingerprint
from .plan import Batch, Ready


class Worker:
    """A sampler that turns batches into lines of results.

    Args:
        sampler: decodes.
        until_eos: whether a row's text ends at its first end token, or is its whole body, as in infilling.
        splits: whether a batch that does not fit into memory is halved until it does.
    """

    def __init__(self, sampler: Sampler, until_eos: bool, splits: bool) -> None:
        self.sampler = sampler
        self.until_eos = until_eos
        self.splits = splits
        self.too_many: int | None = None  # places of the smallest batch that did not fit
        self.spec = sampler.spec()
        self.weights = fingerprint(sampler.backend)
        self.machine = describe_machine()
        what = [self.spec, self.weights, until_eos]
        self.settings = sha256(json.dumps(what, sort_keys=True, default=repr).encode()).hexdigest()[:16]

    def decode(self, batch: Batch) -> list[Line]:
        """A line for each row. One that cannot be decoded, not even alone, gets its error."""
        common: Line = {"batch": [batch.number, len(batch.rows)], "settings": self.settings}
        common |= {"spec": self.spec, "machine": self.machine}
        return [line | common for line in self._lines(batch.rows)]

    def _lines(self, rows: Sequence[Ready]) -> list[Line]:
        if self._is_too_large(rows):
            return self._halves(rows)
        try:
            return self._decoded(rows)
        except (MDMError, RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                _free_memory()
                if not self.splits:
                    raise
                self.too_many = min(self.too_many or _places(rows), _places(rows))
            # What is wrong with one row is no reason to lose the others.
            return self._halves(rows) if len(rows) > 1 else [failed(rows[0], error)]

    def _is_too_large(self, rows: Sequence[Ready]) -> bool:
        return len(rows) > 1 and self.too_many is not None and _places(rows) >= self.too_many

    def _halves(self, rows: Sequence[Ready]) -> list[Line]:
        middle = len(rows) // 2
        return self._lines(rows[:middle]) + self._lines(rows[middle:])

    def _decoded(self, rows: Sequence[Ready]) -> list[Line]:
        found = self.sampler.fill(
            [each.row for each in rows],
            [each.seed for each in rows],
            batch_size=len(rows),
            until_eos=self.until_eos,
        )
        lines = []
        for each, text, sequence, report in zip(rows, found.texts, found.sequences, found.rows, strict=True):
            line = identity(each) | {"text": text, "tokens": sequence} | asdict(report) | {"error": None}
            lines.append(line)
        return lines


def identity(row: Ready) -> Line:
    """What tells a row's line from all others."""
    return {"item": row.id, "number": row.number, "digest": row.digest, "seed": row.seed}


def failed(row: Ready, error: BaseException) -> Line:
    """The line of a row that could not be decoded."""
    text = str(error) if isinstance(error, MDMError) else f"{type(error).__name__}: {error}"
    return identity(row) | {"text": None, "error": " ".join(text.split())[:500]}


def _places(rows: Sequence[Ready]) -> int:
    """Places of the rows' canvas, padding included."""
    return len(rows) * (max(len(each.row[0]) for each in rows) + max(len(each.row[1]) for each in rows))


def _free_memory() -> None:
    """Give back what a failed batch left in the allocator's cache."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
