"""The rows of a block that are not finished yet, with all that is kept of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .canvas import Canvas
from .prediction import Prediction
from .records import Filled


@dataclass(frozen=True, eq=False)
class BlockRows:
    """The unfinished rows of one block and all that is kept of each of them. No field has a default.

    Attributes:
        numbers: which rows of the run's canvas they are, rising, int64 [b].
        canvas: their part of it.
        seeds: one for each.
        taken: steps that each has taken in the block, which is also how many forwards it has behind it there.
        steps: steps that each may take in the block, int64 [b].
        memory: what the planner remembers of them.
        filled: when and how surely the block's positions were filled.
        history: the block's earlier predictions, the latest first; as many as the planner needs.
    """

    numbers: Tensor
    canvas: Canvas
    seeds: list[int]
    taken: list[int]
    steps: Tensor
    memory: Mapping[str, Tensor]
    filled: Filled
    history: tuple[Prediction, ...]

    def select(self, keep: Tensor) -> BlockRows:
        """Only the rows with the indices `keep`, [n]."""
        kept = keep.tolist()
        return BlockRows(
            numbers=self.numbers[keep],
            canvas=self.canvas.select(keep),
            seeds=[self.seeds[row] for row in kept],
            taken=[self.taken[row] for row in kept],
            steps=self.steps[keep],
            memory={name: tensor[keep] for name, tensor in self.memory.items()},
            filled=self.filled.select(keep),
            history=tuple(prediction.select(keep) for prediction in self.history),
        )

    def updated(self, at: Tensor, rows: BlockRows) -> BlockRows:
        """With `rows` in place of those with the indices `at`, [n]."""
        taken = list(self.taken)
        for row, steps in zip(at.tolist(), rows.taken, strict=True):
            taken[row] = steps
        tokens = self.canvas.tokens.index_copy(0, at, rows.canvas.tokens)
        pairs = zip(self.history, rows.history, strict=True)
        return replace(
            self,
            canvas=replace(self.canvas, tokens=tokens),
            taken=taken,
            memory={name: tensor.index_copy(0, at, rows.memory[name]) for name, tensor in self.memory.items()},
            filled=self.filled.updated(at, rows.filled),
            history=tuple(old.updated(at, new) for old, new in pairs),
        )

    @property
    def steps_taken(self) -> Tensor:
        """`taken` as int64 [b]."""
        return torch.tensor(self.taken, device=self.numbers.device)


@dataclass(frozen=True, eq=False)
class Turn:
    """Rows that take a step together.

    Attributes:
        rows: the rows.
        at: which of the block's unfinished rows they are, int64 [b]; None for all.
        spent: forwards, tokens and sequential forwards of each in this step, int64 [3 b]; what is computed is added.
        may_wait: whether the step costs no forward, so that a row may wait for one in which the planner looks ahead.
    """

    rows: BlockRows
    at: Tensor | None
    spent: Tensor
    may_wait: bool

    @classmethod
    def of(cls, rows: BlockRows, at: Tensor | None, may_wait: bool = False) -> Turn:
        """The turn of those `rows` with the indices `at`, [n]; None for all."""
        chosen = rows if at is None else rows.select(at)
        spent = torch.zeros(3, len(chosen.seeds), dtype=torch.long, device=rows.numbers.device)
        return cls(chosen, at, spent, may_wait)

    def select(self, keep: Tensor) -> Turn:
        """Only the rows with the indices `keep`, [n]."""
        return Turn(self.rows.select(keep), self.among_all(keep), self.spent[:, keep], self.may_wait)

    def among_all(self, rows: Tensor) -> Tensor:
        """Indices of this turn's rows as indices of all unfinished rows, [n]."""
        return rows if self.at is None else self.at[rows]


def context_of(canvas: Canvas) -> Tensor:
    """A canvas's tokens for processors, [b t]; padding shows as masks, so that no processor counts it."""
    return canvas.tokens.masked_fill(~canvas.valid, canvas.mask_id) if canvas.padded else canvas.tokens
