"""How the rows of a batch were decoded: order of filling, entropies and the moves weighed, and what each row cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .canvas import Canvas
from .lazy import torch
from .records import Candidates, StepRecord

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Weighed:
    """The moves that a planner weighed for one row at one step.

    Attributes:
        step: the row's step, from 0.
        cost: C of each move.
        next_entropy: H of each.
        score: J of each.
        chosen: the number of the winner in these lists.
    """

    step: int
    cost: list[float]
    next_entropy: list[float]
    score: list[float]
    chosen: int


@dataclass(frozen=True)
class RowHistory:
    """How one row was decoded. Steps are the row's own, from 0; positions are those of its body.

    Attributes:
        order: for each position the step that filled it last; -1 for one that no step filled.
        entropy: for each position its entropy when it was filled, in nats; 0 where `order` is -1.
        step_entropy: for each step the summed entropies of the positions that it filled, in nats.
        weighed: the moves of each step that weighed any.
    """

    order: list[int]
    entropy: list[float]
    step_entropy: list[float]
    weighed: list[Weighed]


@dataclass(frozen=True)
class RowCost:
    """What one row cost.

    Attributes:
        seed: the seed that draws this row again.
        steps: steps in which the row took part.
        forwards: model rows computed for it; a lookahead at 8 candidates counts 8.
        token_forwards: tokens computed for it over all forwards.
        sequential_forwards: how often the model was called for it, one call after the other; a lookahead is one call.
        cumulative_entropy: the entropies of all positions at the moment they were filled, summed, in nats. A position
            that is reopened and filled again counts each time.
        seconds: from the start of its batch until the row was finished, without the time that observers took.
    """

    seed: int
    steps: int
    forwards: int
    token_forwards: int
    sequential_forwards: int
    cumulative_entropy: float
    seconds: float


class HistoryKeeper:
    """Keeps a few numbers a step on the canvas's device; they are read when the batch is finished."""

    def __init__(self, canvas: Canvas) -> None:
        self.canvas = canvas
        self.order = torch.full_like(canvas.tokens, -1)
        self.entropy = torch.zeros(canvas.tokens.shape, device=canvas.tokens.device)
        self.taken = torch.zeros(canvas.batch, 1, dtype=torch.long, device=canvas.tokens.device)
        self.steps: list[tuple[Tensor, Tensor]] = []  # rows [b] and the entropies that they paid [b]
        self.weighed: list[tuple[Tensor, Tensor, Tensor]] = []  # rows [b], their steps [b], and `_figures`

    def add(self, record: StepRecord) -> None:
        rows, here = record.rows, (record.rows, record.block.positions)
        steps = self.taken[rows]
        self.order[here] = torch.where(record.unmask, steps, self.order[here])
        self.order[here] = self.order[here].masked_fill(record.remask, -1)
        self.entropy[here] = torch.where(record.unmask, record.entropy.to(self.entropy), self.entropy[here])
        self.entropy[here] = self.entropy[here].masked_fill(record.remask, 0)
        self.taken[rows] += 1
        self.steps.append((rows, record.entropy.sum(1)))
        if record.candidates is not None:
            self.weighed.append((rows, steps[:, 0], _figures(record.candidates)))

    def histories(self) -> list[RowHistory]:
        """One for each row of the batch."""
        paid: list[list[float]] = [[] for _ in range(self.canvas.batch)]
        if self.steps:
            rows, entropies = (torch.cat(parts).tolist() for parts in zip(*self.steps, strict=True))
            for row, entropy in zip(rows, entropies, strict=True):
                paid[row].append(entropy)
        weighed = self._weighed()
        valid = self.canvas.valid[:, self.canvas.start :]
        order, entropy = (kept[:, self.canvas.start :] for kept in (self.order, self.entropy))
        return [
            RowHistory(order[i][valid[i]].tolist(), entropy[i][valid[i]].tolist(), paid[i], weighed[i])
            for i in range(self.canvas.batch)
        ]

    def _weighed(self) -> list[list[Weighed]]:
        """The moves of each row, step by step; those that were not looked at are left out."""
        found: list[list[Weighed]] = [[] for _ in range(self.canvas.batch)]
        for rows, steps, figures in self.weighed:
            by_row = figures.permute(2, 1, 0).tolist()
            for row, step, (cost, after, score) in zip(rows.tolist(), steps.tolist(), by_row, strict=True):
                chosen = int(score.pop())
                seen = looked_at(score, chosen)
                if seen:
                    costs, nexts, scores = ([values[n] for n in seen] for values in (cost, after, score))
                    found[row].append(Weighed(step, costs, nexts, scores, seen.index(chosen)))
        return found


def looked_at(score: Sequence[float], chosen: int) -> list[int]:
    """The numbers of the moves that have a score; none where the winner has none, for then the row weighed nothing."""
    return [] if math.isnan(score[chosen]) else [n for n, value in enumerate(score) if not math.isnan(value)]


def _figures(candidates: Candidates) -> Tensor:
    """Cost, next entropy and score of each move, and below them the winner's number, [n+1 3 b]."""
    figures = torch.stack([candidates.cost, candidates.next_entropy, candidates.score], dim=1).double()
    return torch.cat([figures, candidates.chosen.expand(1, 3, -1).to(figures)])
