"""The records that the parts exchange. Axes: b batch, t canvas, l block, n candidates, v vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

    from .canvas import Canvas, Span
    from .prediction import Prediction


@dataclass(frozen=True, eq=False)
class Proposal:
    """What a token sampler drew: a token for every masked position, and the probability the model gives it.

    Attributes:
        tokens: int64 [n b l], n draws; anything at positions that are not masked.
        confidence: the model's probability of the drawn token, before temperature, [n b l].
    """

    tokens: Tensor
    confidence: Tensor

    def select(self, rows: Tensor) -> Proposal:
        """Only the rows with the indices `rows`, [n]."""
        return Proposal(self.tokens[:, rows], self.confidence[:, rows])


@dataclass(frozen=True, eq=False)
class Filled:
    """When, and how surely, the loop filled the positions of the block.

    Attributes:
        at: the step of the block, counted from 0, int64 [b l]; -1 where it did not fill the position: masked positions,
            and those that were there from the start.
        confidence: the model's probability of the token when it was filled, [b l]; 0 where `at` is -1.
    """

    at: Tensor
    confidence: Tensor

    @classmethod
    def nothing(cls, masked: Tensor) -> Filled:
        """For positions [b l] of which none has been filled yet."""
        return cls(torch.full_like(masked, -1, dtype=torch.long), torch.zeros_like(masked, dtype=torch.float32))

    def after(self, unmask: Tensor, remask: Tensor | None, confidence: Tensor, taken: Tensor) -> Filled:
        """With what each row's step number `taken`, [b], filled and reopened: bool [b l], bool [b l] or None, and
        confidences [b l].
        """
        at = torch.where(unmask, taken.unsqueeze(-1), self.at)
        confidence = torch.where(unmask, confidence.to(self.confidence), self.confidence)
        if remask is None:
            return Filled(at, confidence)
        return Filled(at.masked_fill(remask, -1), confidence.masked_fill(remask, 0))

    def select(self, rows: Tensor) -> Filled:
        """Only the rows with the indices `rows`, [n]."""
        return Filled(self.at[rows], self.confidence[rows])

    def updated(self, at: Tensor, rows: Filled) -> Filled:
        """With `rows` in place of those with the indices `at`, [n]."""
        return Filled(self.at.index_copy(0, at, rows.at), self.confidence.index_copy(0, at, rows.confidence))


@dataclass(frozen=True, eq=False)
class Candidates:
    """The moves that a planner weighed, for traces.

    Attributes:
        unmask: positions, bool [n b l].
        tokens: int64 [n b l].
        cost: C(a), summed entropy of the positions filled, [n b].
        next_entropy: H(a), mean entropy of the positions still masked after the move, [n b]; nan if not looked at.
        score: J(a), the larger the better, [n b]; nan if not looked at.
        chosen: the winner's number, int64 [b].
    """

    unmask: Tensor
    tokens: Tensor
    cost: Tensor
    next_entropy: Tensor
    score: Tensor
    chosen: Tensor

    def select(self, rows: Tensor) -> Candidates:
        """Only the rows with the indices `rows`, [n]."""
        return Candidates(
            unmask=self.unmask[:, rows],
            tokens=self.tokens[:, rows],
            cost=self.cost[:, rows],
            next_entropy=self.next_entropy[:, rows],
            score=self.score[:, rows],
            chosen=self.chosen[rows],
        )


@dataclass(frozen=True, eq=False)
class Plan:
    """A planner's answer.

    Attributes:
        unmask: the positions to fill now, bool [b l]; at least one in each row, but for rows that may wait.
        tokens: what to fill them with, int64 [b l]; None for the step's proposal.
        candidates: the moves that were weighed, for traces.
        memory: tensors whose first axis is the batch; the next step of the same block gets them back.
        remask: filled positions to mask again, bool [b l], of those that the step calls reopenable. Only for planners
            whose `needs` say so.
    """

    unmask: Tensor
    tokens: Tensor | None = None
    candidates: Candidates | None = None
    memory: Mapping[str, Tensor] = field(default_factory=dict)
    remask: Tensor | None = None

    def tokens_or(self, proposed: Tensor) -> Tensor:
        """What the plan fills with: its own tokens, or those that were proposed, int64 [b l]."""
        return proposed if self.tokens is None else self.tokens

    def select(self, rows: Tensor) -> Plan:
        """Only the rows with the indices `rows`, [n]."""
        return Plan(
            unmask=self.unmask[rows],
            tokens=None if self.tokens is None else self.tokens[rows],
            candidates=None if self.candidates is None else self.candidates.select(rows),
            memory={name: tensor[rows] for name, tensor in self.memory.items()},
            remask=None if self.remask is None else self.remask[rows],
        )


@dataclass(frozen=True, eq=False)
class StepRecord:
    """One step of the loop, as `Sampler.iterate` yields it.

    Only rows that were still unfinished take part, and of those only the ones that step now: rows whose next steps were
    looked at take them while the others wait.

    Attributes:
        step: counts from 0 over the whole run.
        block: the span of the block that is being filled.
        rows: which rows of the run's canvas took part, [b].
        unmask: the positions filled, bool [b l].
        tokens: what they were filled with, int64 [b l].
        confidence: the model's probability of those tokens, [b l].
        entropy: the entropies of the positions when they were filled, in nats, [b l].
        remask: the positions that were masked again, bool [b l].
        candidates: the moves that the planner weighed, if it weighed any.
        forwards: forwards spent on each row in this step, lookahead included, int64 [b].
        token_forwards: tokens computed for each row in this step, int64 [b].
        sequential_forwards: how often the model was called for each row in this step, however many canvases of the row
            a call computed, int64 [b].
        finished: rows with no mask left anywhere, bool [b].
        canvas: the whole run's canvas after the step, all rows.
        prediction: the model's distributions at the block's positions before the step, its statistics computed, [b l].
    """

    step: int
    block: Span
    rows: Tensor
    unmask: Tensor
    tokens: Tensor
    confidence: Tensor
    entropy: Tensor
    remask: Tensor
    candidates: Candidates | None
    forwards: Tensor
    token_forwards: Tensor
    sequential_forwards: Tensor
    finished: Tensor
    canvas: Canvas
    prediction: Prediction
