"""The plan of a job: its rows as token ids, in batches of like lengths that are the same whenever the job is run.

A batch is what is decoded, written and, after a crash, decoded again as a whole. So what a row costs, which depends
a little on its neighbours, is the same however often a job was cut off, and on however many workers it runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import Literal
from zlib import crc32

from ..errors import CanvasError, MDMError, require
from ..prompts import Prompt
from ..sampler import Rows, Sampler
from .inputs import Asked
from .rendered import Renderings

BatchSize = int | Literal["auto"]
"""Most rows of a batch; "auto" for as many as fit into memory, found by halving."""
AUTO_ROWS = 64
"""Rows that a batch may have at most where it is chosen by what fits into memory."""


@dataclass(frozen=True)
class Ready:
    """A row that can be decoded.

    Attributes:
        number: its position in the input.
        id: its name.
        row: (prefix, body) token ids.
        seed: draws this row.
        digest: changes with anything that it asks.
        chat: whether the chat template was applied; None for a text with masks.
    """

    number: int
    id: str
    row: tuple[tuple[int, ...], tuple[int, ...]]
    seed: int
    digest: str
    chat: bool | None = None

    @property
    def positions(self) -> int:
        """How long its canvas is."""
        return len(self.row[0]) + len(self.row[1])


@dataclass(frozen=True)
class Batch:
    """Rows that are decoded together, in one of a worker's ways.

    Attributes:
        number: its position in the plan.
        rows: what is decoded.
        way: the number of the way, see `Worker`.
    """

    number: int
    rows: tuple[Ready, ...]
    way: int = 0

    def to_json(self) -> str:
        """The batch as text, to be sent to another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Batch:
        values = json.loads(text)
        return cls(values["number"], tuple(Ready(**row) for row in values["rows"]), values["way"])


def encode(
    sampler: Sampler,
    asked: Sequence[Asked],
    *,
    seed: int,
    chat: bool | None,
    infill: bool,
    renderings: Renderings,
) -> tuple[list[Ready], list[Asked]]:
    """The rows that can be decoded, and the bad ones with their errors.

    Args:
        seed: of the job; a row is drawn with a seed made of this one and its id.
        chat: see `Sampler.generate`.
        infill: whether prompts are texts with masks to fill in.
        renderings: what the chat template made of prompts before; it gets what the template makes now.
    """
    ready, bad = [], []
    for each in asked:
        if each.prompt is None:
            bad.append(each)
            continue
        try:
            applied, rows = _encoded(sampler, each.prompt, chat, infill, renderings)
            sampler.check(rows)
        except MDMError as error:
            bad.append(replace(each, prompt=None, error=str(error).removeprefix("row 0: ")))
            continue
        prefix, body = rows[0]
        row = (tuple(prefix), tuple(body))
        row_seed = crc32(f"{seed}/{each.id}".encode())
        digest = sha256(json.dumps([each.id, each.prompt, row, row_seed], default=repr).encode()).hexdigest()[:16]
        ready.append(Ready(each.number, each.id, row, row_seed, digest, applied))
    return ready, bad


def _encoded(
    sampler: Sampler, prompt: Prompt, chat: bool | None, infill: bool, renderings: Renderings
) -> tuple[bool | None, Rows]:
    """Whether the chat template was applied, None for a text with masks, and the prompt as one row."""
    codec = sampler.backend.codec
    if infill:
        if not isinstance(prompt, str):
            raise CanvasError("a text with masks is needed, not messages")
        return None, sampler.masked_rows([prompt])
    if codec is not None and codec.applies_template(prompt, chat):
        return True, sampler.prompt_rows([renderings.of(codec, prompt)])
    return False, sampler.prompt_rows([prompt], chat=False)


def check_batch_size(batch_size: BatchSize) -> None:
    """Raise `SpecError` unless it is a number of rows, or "auto"."""
    require(
        batch_size == "auto" or (isinstance(batch_size, int) and batch_size >= 1),
        f"batch_size must be at least 1, or 'auto', got {batch_size!r}",
    )


def most_rows(batch_size: BatchSize) -> int:
    """Rows of a batch before any halving."""
    return AUTO_ROWS if batch_size == "auto" else batch_size


def plan(rows: Sequence[Ready], batch_size: BatchSize, batch_tokens: int | None) -> list[Batch]:
    """Batches of rows of like lengths, the longest first, so that what does not fit into memory is seen at once.

    Args:
        batch_size: most rows of a batch.
        batch_tokens: most positions of a batch's canvas, padding included; None for no such limit. A row that is longer
            by itself has a batch of its own.
    """
    ordered = sorted(rows, key=lambda row: (-row.positions, -len(row.row[0]), row.number))
    return [
        Batch(number, tuple(part)) for number, part in enumerate(_parts(ordered, most_rows(batch_size), batch_tokens))
    ]


def _parts(ordered: Sequence[Ready], rows: int, batch_tokens: int | None) -> Iterator[list[Ready]]:
    part: list[Ready] = []
    for row in ordered:
        grown = [*part, row]
        width = max(len(r.row[0]) for r in grown) + max(len(r.row[1]) for r in grown)
        full = len(grown) > rows
        if part and (full or (batch_tokens is not None and width * len(grown) > batch_tokens)):
            yield part
            grown = [row]
        part = grown
    if part:
        yield part
