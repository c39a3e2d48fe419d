"""Films made from the step records of a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..history import looked_at
from ..lazy import torch
from ..prediction import Prediction
from .film import Film, Frame, Move

if TYPE_CHECKING:
    from torch import Tensor

    from ..backends.base import ModelBackend
    from ..canvas import Canvas
    from ..records import Candidates, StepRecord

TOP = 5
"""The likeliest tokens of a position that are kept when it is filled."""


class FilmKeeper:
    """An observer that keeps the films of a run.

    Args:
        backend: names the tokens.
        spec: the sampler's settings.

    Attributes:
        films: one for each row of all batches, in their order.
        batch: those of the batch that is being decoded.
        names: the texts of the batch's tokens so far, by the token; none where the model has no tokenizer.
    """

    def __init__(self, backend: ModelBackend, spec: Mapping[str, Any]) -> None:
        self.codec = backend.codec
        self.end_id = backend.eos_ids[0] if backend.eos_ids else None
        self.spec = spec
        self.films: list[Film] = []

    def begin(self, canvas: Canvas, seeds: Sequence[int]) -> None:
        self.start, self.masked = canvas.start, canvas.masked
        self.batch: list[Film] = []
        self.names: dict[int, str] = {}
        for row, seed in enumerate(seeds):
            body = canvas.body(row)
            prefix = canvas.row(row)[: -len(body)]
            self._name((*prefix, *body))
            self.batch.append(Film(prefix, body, canvas.mask_id, self.end_id, seed, self.spec, self.names))
        self.films += self.batch

    def add(self, record: StepRecord) -> None:
        for frames in self.frames([record]):
            for row, frame in frames.items():
                self.batch[row].add(frame)

    def frames(self, records: Sequence[StepRecord]) -> Iterator[dict[int, Frame]]:
        """For each of consecutive steps the frames of the rows that took part, by the row's number. It keeps none.

        Several steps at once cost less: the likeliest tokens of a few positions cost as much as those of many.
        """
        for record, tops in zip(records, _top_tokens(records), strict=True):
            yield self._frames(record, tops)

    def _frames(self, record: StepRecord, tops: list[Any]) -> dict[int, Frame]:
        first, filled, masked = record.block.start - self.start, record.unmask, record.prediction.masked
        block, said = (first, first + len(record.block)), record.prediction.statistics
        columns: dict[str, list[Any]] = {
            "positions": _positions(filled, first),
            "tokens": _by_row(filled, record.tokens),
            "confidence": _by_row(filled, record.confidence),
            "entropy": _by_row(filled, record.entropy),
            "top": tops,
            "masked": _positions(masked, first),
            "masked_entropy": _by_row(masked, said.entropy),
            "likeliest": _by_row(masked, said.token),
            "likeliest_confidence": _by_row(masked, said.confidence),
            "reopened": _positions(record.remask, first),
            "ended": _positions(self._ended(record), -self.start),
            "candidates": _moves(record.candidates, len(filled), first),
            "forwards": record.forwards.tolist(),
            "token_forwards": record.token_forwards.tolist(),
            "sequential_forwards": record.sequential_forwards.tolist(),
        }
        rows = zip(record.rows.tolist(), *columns.values(), strict=True)
        frames = {row: Frame(block=block, **dict(zip(columns, values, strict=True))) for row, *values in rows}
        self._name(token for frame in frames.values() for token in frame.all_tokens())
        return frames

    def _ended(self, record: StepRecord) -> Tensor:
        """What a row's end has filled, bool [b t]: it alone fills what the step left masked, or what it reopened."""
        left = self.masked[record.rows]
        left[:, record.block.positions] &= ~record.unmask
        left[:, record.block.positions] |= record.remask
        self.masked = record.canvas.masked
        return left & ~self.masked[record.rows]

    def _name(self, tokens: Iterable[int]) -> None:
        """Add the texts of tokens that have none yet."""
        if self.codec is not None:
            for token in sorted(set(tokens) - self.names.keys()):
                self.names[token] = self.codec.token_text(token)


def _moves(candidates: Candidates | None, rows: int, first: int) -> list[list[Move]]:
    """The moves of each row that were looked at."""
    if candidates is None:
        return [[] for _ in range(rows)]
    figures = torch.stack([candidates.cost, candidates.next_entropy, candidates.score]).permute(2, 0, 1).tolist()
    found: list[list[Move]] = []
    for row, (chosen, (cost, after, score)) in enumerate(zip(candidates.chosen.tolist(), figures, strict=True)):
        where = candidates.unmask[:, row]
        positions, tokens = _positions(where, first), _by_row(where, candidates.tokens[:, row])
        seen = looked_at(score, chosen)
        found.append([Move(positions[n], tokens[n], cost[n], after[n], score[n], n == chosen) for n in seen])
    return found


def _top_tokens(records: Sequence[StepRecord]) -> list[list[list[Any]]]:
    """For each step and row the likeliest tokens and their probabilities before the step, of each filled position."""
    if not records:
        return []
    predictions = [record.prediction for record in records]
    where = [record.unmask.nonzero(as_tuple=True) for record in records]
    hidden = torch.cat([each.hidden[here] for each, here in zip(predictions, where, strict=True)])
    context = torch.cat([each.context[rows] for each, (rows, _) in zip(predictions, where, strict=True)])
    every = torch.ones_like(context[:, :1], dtype=torch.bool)
    tops: list[Any] = []
    for _, logits in Prediction(hidden[:, None], every, predictions[0].head, context).chunks():
        values, ids = (logits - logits.logsumexp(-1, keepdim=True)).topk(min(TOP, logits.shape[-1] - 1), dim=-1)
        pairs = zip(ids.tolist(), values.exp().tolist(), strict=True)
        tops += [list(zip(tokens, shares, strict=True)) for tokens, shares in pairs]
    flat = iter(tops)
    return [[list(islice(flat, count)) for count in record.unmask.sum(1).tolist()] for record in records]


def _by_row(where: Tensor, values: Tensor) -> list[list[Any]]:
    """The values [b l] at the positions `where`, bool [b l], of each row."""
    flat = iter(values[where].tolist())
    return [list(islice(flat, count)) for count in where.sum(1).tolist()]


def _positions(where: Tensor, first: int) -> list[list[int]]:
    """The positions `where`, bool [b l], of each row, counted from `first`."""
    found: list[list[int]] = [[] for _ in where]
    for row, position in where.nonzero().tolist():
        found[row].append(first + position)
    return found
