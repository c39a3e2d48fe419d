"""A row's decoding as a film: its canvas, and a frame for each step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from ..history import RowHistory, Weighed


@dataclass(frozen=True)
class Move:
    """A move that was weighed at a step.

    Attributes:
        positions: those that it fills, in their order.
        tokens: with what.
        cost: C, the summed entropy of the positions, in nats.
        next_entropy: H, the mean entropy of what is still masked after the move, in nats.
        score: J, the larger the better.
        chosen: whether it was made.
    """

    positions: list[int]
    tokens: list[int]
    cost: float
    next_entropy: float
    score: float
    chosen: bool


@dataclass(frozen=True)
class Frame:
    """One step of one row. Positions count from the start of the row's body; lists of positions are in their order.

    Attributes:
        block: the first position of the block and the one behind its last.
        positions: those that the step filled; `tokens`, `confidence`, `entropy` and `top` belong to them.
        tokens: what they were filled with.
        confidence: the model's probability of those tokens.
        entropy: the positions' entropies when they were filled, in nats.
        top: for each, the likeliest tokens and their probabilities.
        masked: the block's masked positions before the step; the next three belong to them.
        masked_entropy: their entropies, in nats.
        likeliest: their likeliest tokens.
        likeliest_confidence: the probabilities of those.
        reopened: positions that were masked again.
        ended: positions that were filled with the end token since the row had ended; the step may have reopened them.
        candidates: the moves that were weighed.
        forwards: model rows computed for it in this step.
        token_forwards: tokens computed for it in this step.
        sequential_forwards: how often the model was called for it in this step, one call after the other.
    """

    block: tuple[int, int]
    positions: list[int]
    tokens: list[int]
    confidence: list[float]
    entropy: list[float]
    top: list[list[tuple[int, float]]]
    masked: list[int]
    masked_entropy: list[float]
    likeliest: list[int]
    likeliest_confidence: list[float]
    reopened: list[int]
    ended: list[int]
    candidates: list[Move]
    forwards: int
    token_forwards: int
    sequential_forwards: int

    def all_tokens(self) -> Iterator[int]:
        """All tokens that it names, some of them several times."""
        yield from self.tokens
        yield from self.likeliest
        yield from (token for position in self.top for token, _ in position)
        yield from (token for move in self.candidates for token in move.tokens)


@dataclass(eq=False)
class Film:
    """One row's decoding.

    Attributes:
        prefix: token ids before the body.
        body: token ids of the body before the first step.
        mask_id: the id of the mask token.
        end_id: what the positions behind a row's end are filled with, or None.
        seed: the row's.
        spec: the sampler's settings.
        names: the texts of tokens; shared by the rows of a batch.
        frames: its steps so far.
        canvas: token ids of the body after the last of them.
    """

    prefix: list[int]
    body: list[int]
    mask_id: int
    end_id: int | None
    seed: int
    spec: Mapping[str, Any]
    names: dict[int, str]
    frames: list[Frame] = field(default_factory=list)
    canvas: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.canvas = list(self.body)

    def name(self, token: int) -> str:
        """The text of a token; its id in brackets where the model has no tokenizer."""
        return self.names.get(token, f"[{token}]")

    @property
    def cumulative_entropy(self) -> list[float]:
        """After each step, the entropies of all positions that were filled so far, in nats."""
        return list(accumulate(sum(frame.entropy) for frame in self.frames))

    @property
    def history(self) -> RowHistory:
        """What a result keeps of the row, for figures."""
        order, entropy = [-1] * len(self.body), [0.0] * len(self.body)
        for step, frame in enumerate(self.frames):
            for position, paid in zip(frame.positions, frame.entropy, strict=True):
                order[position], entropy[position] = step, paid
            for position in frame.reopened:
                order[position], entropy[position] = -1, 0.0
        weighed = [_weighed(step, frame.candidates) for step, frame in enumerate(self.frames) if frame.candidates]
        return RowHistory(order, entropy, [sum(frame.entropy) for frame in self.frames], weighed)

    def add(self, frame: Frame) -> None:
        """Take the next step."""
        self._change(self.canvas, frame)
        self.frames.append(frame)

    def _change(self, canvas: list[int], frame: Frame) -> None:
        for position, token in zip(frame.positions, frame.tokens, strict=True):
            canvas[position] = token
        for position in frame.reopened:
            canvas[position] = self.mask_id
        for position in frame.ended:
            canvas[position] = self.mask_id if self.end_id is None else self.end_id

    def after(self, steps: int) -> tuple[list[int], list[int]]:
        """The body's token ids after so many steps, and for each position the step that filled it, from 0; -1 for
        none.
        """
        canvas, filled = list(self.body), [-1] * len(self.body)
        for number, frame in enumerate(self.frames[:steps]):
            self._change(canvas, frame)
            for position in frame.reopened:
                filled[position] = -1
            for position in (*frame.positions, *frame.ended):
                filled[position] = number
        return canvas, filled

    def masked(self, start: int, stop: int) -> list[int]:
        """The masked positions of [start, stop)."""
        return [
            position for position in range(start, min(stop, len(self.canvas))) if self.canvas[position] == self.mask_id
        ]


def _weighed(step: int, moves: list[Move]) -> Weighed:
    costs, nexts, scores = ([getattr(move, name) for move in moves] for name in ("cost", "next_entropy", "score"))
    return Weighed(step, costs, nexts, scores, [move.chosen for move in moves].index(True))
