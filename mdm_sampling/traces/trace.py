"""Traces: a JSON line for each step, with what was filled, how sure the model was and which moves were weighed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

import torch
from torch import Tensor

from ..backends.base import ModelBackend
from ..canvas import Canvas
from ..prediction import Prediction
from ..records import Candidates, StepRecord

VERSION = 3
TOP = 5
"""The likeliest tokens of a position that are kept when it is filled."""

DIGITS = 4
"""Decimals of the numbers of positions that a step only looked at; those that it filled are kept as they are."""

AT_ONCE = 16
"""Steps that are written together: the likeliest tokens of a few positions cost as much as those of many."""


class Trace:
    """An observer that writes the lines of `TraceLines` to a file, a few steps at a time. `read_trace` reads them.

    Args:
        file: open for writing text.
        backend: names the tokens.
        spec: the sampler's settings, repeated in each opening line.
        asked: what else of the rows belongs into each opening line, such as whether they are texts to infill.
    """

    def __init__(
        self, file: IO[str], backend: ModelBackend, spec: dict[str, Any], asked: Mapping[str, Any] | None = None
    ) -> None:
        self.file = file
        self.lines = TraceLines(backend, spec, asked)
        self.records: list[StepRecord] = []

    def begin(self, canvas: Canvas, seeds: list[int]) -> None:
        self.flush()
        self._write(self.lines.opening(canvas, seeds))

    def add(self, record: StepRecord) -> None:
        self.records.append(record)
        if len(self.records) == AT_ONCE or not bool(record.canvas.masked.any()):
            self.flush()

    def flush(self) -> None:
        """Write the steps that are held back; only a run that was cut off leaves any."""
        records, self.records = self.records, []
        for line in self.lines.steps(records):
            self._write(line)

    def _write(self, line: dict[str, Any]) -> None:
        self.file.write(json.dumps(line, separators=(",", ":")) + "\n")


class TraceLines:
    """Makes the lines of a trace, see docs/traces.md. Positions count from the start of a row's body.

    Args:
        backend: names the tokens.
        spec, asked: see `Trace`.
    """

    def __init__(self, backend: ModelBackend, spec: dict[str, Any], asked: Mapping[str, Any] | None = None) -> None:
        self.codec = backend.codec
        self.end_id = backend.eos_ids[0] if backend.eos_ids else None
        self.spec = spec
        self.asked = dict(asked or {})
        self.texts: dict[int, str] = {}

    def opening(self, canvas: Canvas, seeds: list[int]) -> dict[str, Any]:
        """The line that opens a batch: the rows' token ids and seeds."""
        self.start = canvas.start
        self.masked = canvas.masked
        self.named: set[int] = set()
        bodies = [canvas.body(i) for i in range(canvas.batch)]
        prefixes = [canvas.row(i)[: -len(body)] for i, body in enumerate(bodies)]
        return {
            "trace": VERSION,
            "canvas": {"prefixes": prefixes, "bodies": bodies, "mask_id": canvas.mask_id, "end_id": self.end_id},
            "seeds": seeds,
            "spec": self.spec,
            **self.asked,
            "names": self._new_names(token for row in (*prefixes, *bodies) for token in row),
        }

    def steps(self, records: Sequence[StepRecord]) -> list[dict[str, Any]]:
        """The lines of consecutive steps."""
        return [self._step(record, top) for record, top in zip(records, _top_tokens(records), strict=True)]

    def _step(self, record: StepRecord, tops: list[list[Any]]) -> dict[str, Any]:
        first = record.block.start - self.start
        after = record.canvas.masked
        # What the step left masked, and what it reopened: of that, only a row's end can have filled any.
        ended = self.masked[record.rows]
        ended[:, record.block.positions] &= ~record.unmask
        ended[:, record.block.positions] |= record.remask
        ended &= ~after[record.rows]
        self.masked = after
        seen = _seen(record.prediction)
        filled = _by_row(record.unmask, record.tokens, record.confidence, record.entropy)
        rows = []
        for i, (row, top) in enumerate(zip(record.rows.tolist(), tops, strict=True)):
            tokens, confidence, entropy = filled[i]
            rows.append(
                {
                    "row": row,
                    "positions": _positions(record.unmask[i], first),
                    **self._tokens(tokens),
                    "confidence": confidence,
                    "entropy": entropy,
                    "top": top,
                    "masked": seen[i],
                    "reopened": _positions(record.remask[i], first),
                    "ended": _positions(ended[i], -self.start),
                    "forwards": int(record.forwards[i]),
                    "token_forwards": int(record.token_forwards[i]),
                    "candidates": [] if record.candidates is None else self._candidates(record.candidates, i, first),
                }
            )
        span = [first, record.block.stop - self.start]
        names = self._new_names(token for row in rows for token in _ids(row))
        return {"step": record.step, "block": span, "rows": rows, "names": names}

    def _candidates(self, candidates: Candidates, row: int, first: int) -> list[dict[str, Any]]:
        """The moves of one row that were looked at."""
        figures = (values[:, row].tolist() for values in (candidates.cost, candidates.next_entropy, candidates.score))
        chosen = int(candidates.chosen[row])
        moves = []
        for n, (cost, after, score) in enumerate(zip(*figures, strict=True)):
            if not math.isnan(score):
                where = candidates.unmask[n, row]
                moves.append(
                    {
                        "positions": _positions(where, first),
                        **self._tokens(candidates.tokens[n, row][where].tolist()),
                        "cost": cost,
                        "next_entropy": after,
                        "score": score,
                        "chosen": n == chosen,
                    }
                )
        return moves

    def _tokens(self, ids: list[int]) -> dict[str, Any]:
        return {"tokens": ids, "texts": [] if self.codec is None else [self._text(i) for i in ids]}

    def _text(self, token: int) -> str:
        if token not in self.texts:
            assert self.codec is not None
            self.texts[token] = self.codec.token_text(token)
        return self.texts[token]

    def _new_names(self, ids: Iterable[int]) -> dict[str, str]:
        """The texts of tokens that no line has named yet."""
        if self.codec is None:
            return {}
        new = sorted(set(ids) - self.named)
        self.named.update(new)
        return {str(token): self._text(token) for token in new}


def _seen(prediction: Prediction) -> list[dict[str, Any]]:
    """What the model said, before the step, of each masked position of the block, in their order."""
    found = prediction.statistics
    rows = _by_row(prediction.masked, found.entropy, found.token, found.confidence)
    return [
        {"entropy": _rounded(entropy), "tokens": tokens, "confidence": _rounded(confidence)}
        for entropy, tokens, confidence in rows
    ]


def _top_tokens(records: Sequence[StepRecord]) -> list[list[list[list[tuple[int, float]]]]]:
    """For each step, row and position that was filled, the likeliest tokens and their probabilities before the step."""
    found: list[list[list[list[tuple[int, float]]]]] = [[[] for _ in record.rows] for record in records]
    if not records:
        return found
    where = [record.unmask.nonzero(as_tuple=True) for record in records]
    owners = [(number, row) for number, (rows, _) in enumerate(where) for row in rows.tolist()]
    predictions = [record.prediction for record in records]
    hidden = torch.cat([each.hidden[here] for each, here in zip(predictions, where, strict=True)])
    context = torch.cat([each.context[rows] for each, (rows, _) in zip(predictions, where, strict=True)])
    filled = Prediction(
        hidden[:, None], torch.ones_like(context[:, :1], dtype=torch.bool), predictions[0].head, context
    )
    for (positions, _), logits in filled.chunks():
        values, ids = (logits - logits.logsumexp(-1, keepdim=True)).topk(min(TOP, logits.shape[-1] - 1), dim=-1)
        for position, tokens, shares in zip(positions.tolist(), ids.tolist(), values.exp().tolist(), strict=True):
            number, row = owners[position]
            found[number][row].append(list(zip(tokens, _rounded(shares), strict=True)))
    return found


def _by_row(where: Tensor, *values: Tensor) -> list[tuple[list[Any], ...]]:
    """The values [b l] at the positions `where`, bool [b l], of each row."""
    counts = where.sum(1).tolist()
    columns = [iter(value[where].tolist()) for value in values]
    return [tuple([next(column) for _ in range(count)] for column in columns) for count in counts]


def _positions(where: Tensor, first: int) -> list[int]:
    return [first + position for position in where.nonzero()[:, 0].tolist()]


def _rounded(numbers: list[float]) -> list[float]:
    return [round(number, DIGITS) for number in numbers]


def _ids(row: dict[str, Any]) -> Iterable[int]:
    """All tokens that a row of a step names."""
    yield from row["tokens"]
    yield from row["masked"]["tokens"]
    yield from (token for position in row["top"] for token, _ in position)
    yield from (token for move in row["candidates"] for token in move["tokens"])
