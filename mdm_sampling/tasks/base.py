"""A task: items that are asked and answers that are graded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..prompts import Prompt


@dataclass(frozen=True)
class Item:
    """One question of a task.

    Attributes:
        name: unique within the task and stable, so that results can be told apart.
        prompt: text or chat messages; "" if there is only a body.
        body: a text with `[MASK]` tokens to fill in after the prompt, or None to generate an answer.
        data: what the grader needs to know.
    """

    name: str
    prompt: Prompt
    body: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Grade:
    """What a grader found.

    Attributes:
        answer: the answer as it was read out of the text; None if there is none.
        score: 1 if it is right, 0 if it is wrong; in between where a task gives partial credit.
    """

    answer: str | None
    score: float


class Task(ABC):
    """A set of items with an exact grader, on which samplers are compared."""

    @property
    def max_new_tokens(self) -> int | None:
        """Positions that an answer needs; None for the model's own default. Items with a body don't need it."""
        return None

    @abstractmethod
    def items(self, count: int | None, seed: int) -> Sequence[Item]:
        """The first `count` items of a seed; None for as many as the task thinks fit. More are a longer list."""

    @abstractmethod
    def grade(self, item: Item, text: str) -> Grade:
        """Read the answer out of a text and grade it. The text is what was generated, or the body, filled."""
