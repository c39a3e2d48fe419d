"""Traces: a JSON line for each step, with what was filled, how sure the model was and which moves were weighed."""

from __future__ import annotations

import json
import math
from typing import IO, Any

from torch import Tensor

from .interfaces import ModelBackend
from .records import Candidates, Canvas, StepRecord


class Trace:
    """An observer that writes JSON lines. Places count from the start of a row's body.

    A line with "canvas" opens a batch and holds the rows' token ids and seeds; each further line is a step.

    Args:
        file: open for writing text.
        backend: names the tokens.
        spec: the sampler's settings, repeated in each opening line.
    """

    def __init__(self, file: IO[str], backend: ModelBackend, spec: dict[str, Any]) -> None:
        self.file = file
        self.codec = backend.codec
        self.spec = spec

    def begin(self, canvas: Canvas, seeds: list[int]) -> None:
        bodies = [canvas.body(i) for i in range(canvas.batch)]
        prefixes = [canvas.row(i)[: -len(body)] for i, body in enumerate(bodies)]
        self.start = canvas.start
        self._write(
            {
                "canvas": {"prefixes": prefixes, "bodies": bodies, "mask_id": canvas.mask_id},
                "seeds": seeds,
                "spec": self.spec,
            }
        )

    def add(self, record: StepRecord) -> None:
        first = record.block.start - self.start
        rows = []
        for i, row in enumerate(record.rows.tolist()):
            where = record.unmask[i]
            rows.append(
                {
                    "row": row,
                    "places": self._places(where, first),
                    **self._tokens(record.tokens[i][where]),
                    "confidence": _numbers(record.confidence[i][where]),
                    "entropy": _numbers(record.entropy[i][where]),
                    "reopened": self._places(record.remask[i], first),
                    "forwards": int(record.forwards[i]),
                    "token_forwards": int(record.token_forwards[i]),
                    "candidates": [] if record.candidates is None else self._candidates(record.candidates, i, first),
                }
            )
        span = [first, record.block.stop - self.start]
        self._write({"step": record.step, "block": span, "rows": rows})

    def _candidates(self, candidates: Candidates, row: int, first: int) -> list[dict[str, Any]]:
        """The moves of one row that were looked at."""
        moves = []
        for n in range(candidates.unmask.shape[0]):
            score = float(candidates.score[n, row])
            if not math.isnan(score):
                where = candidates.unmask[n, row]
                moves.append(
                    {
                        "places": self._places(where, first),
                        **self._tokens(candidates.tokens[n, row][where]),
                        "cost": float(candidates.cost[n, row]),
                        "next_entropy": float(candidates.next_entropy[n, row]),
                        "score": score,
                        "chosen": n == int(candidates.chosen[row]),
                    }
                )
        return moves

    def _places(self, where: Tensor, first: int) -> list[int]:
        return [first + int(place) for place in where.nonzero()[:, 0]]

    def _tokens(self, tokens: Tensor) -> dict[str, Any]:
        ids = tokens.tolist()
        return {"tokens": ids, "texts": [] if self.codec is None else [self.codec.token_text(i) for i in ids]}

    def _write(self, line: dict[str, Any]) -> None:
        self.file.write(json.dumps(line) + "\n")


def _numbers(values: Tensor) -> list[float]:
    numbers: list[float] = values.tolist()
    return numbers
