"""The plan of a job: its rows as token ids, in batches of like lengths that are the same whenever the job is run.

A batch is what is decoded, written and, after a crash, decoded again as a whole. So what a row costs, which depends
a little on its neighbours, is the same however often a job was cut off, and on however many workers it runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ..backends.chat import with_system
from ..canvas import Row
from ..errors import CanvasError, MDMError, require
from ..fields import is_whole
from ..folders.lines import Line, digest
from ..prompts import Prompt
from ..randomness import row_seed
from ..sampler import Sampler
from .inputs import InputRow
from .rendered import Renderings

BatchSize = int | Literal["auto"]
"""Most rows of a batch; "auto" for as many as fit into memory, found by halving."""
_AUTO_ROWS = 64
"""Rows that a batch may have at most where it is chosen by what fits into memory."""


@dataclass(frozen=True)
class EncodedRow:
    """A row that can be decoded.

    Attributes:
        row: its token ids.
        seed: draws it.
        identity: what its line of results begins with, JSON-able; by these fields it is told from other rows.
        chat: whether the chat template was applied; None for a text with masks.
        kept: columns of the input that its output gets as well.
    """

    row: Row
    seed: int
    identity: Line
    chat: bool | None = None
    kept: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """Rows that are decoded together, in one of a worker's variants.

    Attributes:
        rows: what is decoded.
        variant: the number of the variant, see `Worker`.
    """

    rows: tuple[EncodedRow, ...]
    variant: int = 0

    def to_json(self) -> str:
        """The batch as text, to be sent to another process."""
        return json.dumps([[[each.row, each.seed, each.identity] for each in self.rows], self.variant])

    @classmethod
    def from_json(cls, text: str) -> Batch:
        rows, variant = json.loads(text)
        return cls(tuple(EncodedRow(Row(*row), seed, identity) for row, seed, identity in rows), variant)


def encode(
    sampler: Sampler,
    asked: Sequence[InputRow],
    *,
    seed: int,
    chat: bool | None,
    system: str | None,
    infill: bool,
    renderings: Renderings,
) -> tuple[list[EncodedRow], list[InputRow]]:
    """The rows that can be decoded, and the bad ones with their errors. Raises as `Sampler.generate` does for `system`.

    Args:
        seed: of the job; a row is drawn with a seed made of this one and its id.
        chat, system: see `Sampler.generate`.
        infill: whether prompts are texts with masks to fill in.
        renderings: what the chat template made of prompts before; it gets what the template makes now.
    """
    encoded, bad = [], []
    if system is not None and sampler.backend.codec is not None:
        sampler.backend.codec.check_system(system, chat)
    for each in asked:
        if each.prompt is None:
            bad.append(each)
            continue
        try:
            prompt = each.prompt if system is None else with_system(each.prompt, system)
            applied, row = _encoded(sampler, prompt, chat, infill, renderings)
            sampler.check([row])
        except MDMError as error:
            bad.append(replace(each, prompt=None, error=str(error).removeprefix("row 0: ")))
            continue
        drawn = row_seed(each.id, seed)
        asks = digest([each.id, each.prompt, row, drawn])
        identity = {"item": each.id, "number": each.number, "digest": asks, "seed": drawn}
        encoded.append(EncodedRow(row, drawn, identity, applied, each.kept))
    return encoded, bad


def _encoded(
    sampler: Sampler, prompt: Prompt, chat: bool | None, infill: bool, renderings: Renderings
) -> tuple[bool | None, Row]:
    """Whether the chat template was applied, None for a text with masks, and the prompt as a row."""
    codec = sampler.backend.codec
    if infill:
        if not isinstance(prompt, str):
            raise CanvasError("a text with masks is needed, not messages")
        return None, sampler.masked_rows([prompt])[0]
    if codec is not None and codec.applies_template(prompt, chat):
        return True, sampler.prompt_rows([renderings.of(codec, prompt)])[0]
    return False, sampler.prompt_rows([prompt], chat=False)[0]


def check_batch_size(batch_size: BatchSize) -> None:
    """Raise `SpecError` unless it is a number of rows, or "auto"."""
    require(
        batch_size == "auto" or (is_whole(batch_size) and batch_size >= 1),
        f"batch_size must be a whole number of at least 1, or 'auto', got {batch_size!r}",
    )


def most_rows(batch_size: BatchSize) -> int:
    """Rows of a batch before any halving."""
    return _AUTO_ROWS if batch_size == "auto" else batch_size


def plan(
    rows: Sequence[EncodedRow], batch_size: BatchSize, batch_tokens: int | None = None, variant: int = 0
) -> list[Batch]:
    """Batches of rows of like lengths, the longest first, so that what does not fit into memory is seen at once.

    Args:
        batch_size: most rows of a batch.
        batch_tokens: most positions of a batch's canvas, padding included; None for no such limit. A row that is longer
            by itself has a batch of its own.
        variant: decodes them.
    """
    ordered = sorted(rows, key=lambda each: (-each.row.positions, -len(each.row.prefix)))
    return [Batch(tuple(part), variant) for part in _parts(ordered, most_rows(batch_size), batch_tokens)]


def padded_positions(rows: Sequence[EncodedRow]) -> int:
    """Positions of the rows' canvas, padding included."""
    return len(rows) * (max(len(each.row.prefix) for each in rows) + max(len(each.row.body) for each in rows))


def _parts(ordered: Sequence[EncodedRow], rows: int, batch_tokens: int | None) -> Iterator[list[EncodedRow]]:
    part: list[EncodedRow] = []
    for row in ordered:
        grown = [*part, row]
        if part and (len(grown) > rows or (batch_tokens is not None and padded_positions(grown) > batch_tokens)):
            yield part
            grown = [row]
        part = grown
    if part:
        yield part
