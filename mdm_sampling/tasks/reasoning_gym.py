"""Tasks of the reasoning-gym package, graded by its own scorers. Needs the extra `reasoning-gym`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, final

from ..errors import SpecError, require
from ..kinds import check_fields
from .base import Grade, Item, Task
from .split import check_count

_DEFAULT_COUNT = 100


@final
@dataclass(frozen=True)
class ReasoningGym(Task):
    """A task of the reasoning-gym package by name, such as `reasoning-gym:mini_sudoku`.

    Args:
        name: the dataset's name.
        length: positions to generate; none for the model's default.
    """

    name: str
    length: int | None = None

    def __post_init__(self) -> None:
        check_fields(self, "reasoning-gym")
        require(self.length is None or self.length >= 1, f"reasoning-gym: length must be at least 1, got {self.length}")
        _package()

    @property
    def max_new_tokens(self) -> int | None:
        return self.length

    def items(self, count: int | None, seed: int) -> Sequence[Item]:
        size = _DEFAULT_COUNT if count is None else count
        check_count(size, "reasoning-gym")
        return [
            Item(f"{self.name}-{seed}-{i}", entry["question"], data={"size": size, "seed": seed, "index": i})
            for i, entry in enumerate(_dataset(self.name, size, seed))
        ]

    def grade(self, item: Item, text: str) -> Grade:
        """The score of the task's own scorer, from 0 to 1."""
        dataset = _dataset(self.name, item.data["size"], item.data["seed"])
        answer = text.strip()
        return Grade(answer or None, float(dataset.score_answer(answer, dataset[item.data["index"]])))


@lru_cache(maxsize=4)
def _dataset(name: str, size: int, seed: int) -> Any:
    try:
        return _package().create_dataset(name, size=size, seed=seed)
    except ValueError as error:
        raise SpecError(f"reasoning-gym: {error}") from error


def _package() -> Any:
    try:
        import reasoning_gym
    except ImportError as error:
        raise SpecError('reasoning-gym is not installed; pip install "mdm-sampling[reasoning-gym]"') from error
    return reasoning_gym
