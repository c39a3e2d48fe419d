"""What an engine is, and the one that decodes in this process."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol, final

from ..folders.lines import Line
from .batches import Batch
from .worker import Worker


class Engine(Protocol):
    """Decodes batches somewhere: `worker.decode(batch)` of each batch once, in any order.

    Another process decodes with a worker of its own: `worker.recipe()` and `batch.to_json()` are what to send, and
    `Worker.from_recipe` and `Batch.from_json` read them.
    """

    def decode(self, worker: Worker, batches: Sequence[Batch]) -> Generator[list[Line], None, None]:
        """The lines of each batch, as soon as it is finished. Closing the generator early ends all work."""


@final
@dataclass(frozen=True)
class LocalEngine:
    """One batch after the other, with the model that is loaded already."""

    def decode(self, worker: Worker, batches: Sequence[Batch]) -> Generator[list[Line], None, None]:
        for batch in batches:
            yield worker.decode(batch)
