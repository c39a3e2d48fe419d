"""The engine that decodes in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, final

from ..results.store import Line
from .plan import Batch
from .worker import Worker


class Engine(Protocol):
    """Decodes batches, in any order, somewhere."""

    def decode(self, worker: Worker, batches: Sequence[Batch]) -> Iterator[list[Line]]:
        """The lines of each batch, as soon as it is finished."""


@final
@dataclass(frozen=True)
class LocalEngine:
    """One batch after the other, with the model that is loaded already."""

    def decode(self, worker: Worker, batches: Sequence[Batch]) -> Iterator[list[Line]]:
        for batch in batches:
            yield worker.decode(batch)
