"""Countdown: combine the given numbers, each once, by + - * / until the target is left."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

from ..errors import require
from ..kinds import check_fields
from .arithmetic import Problem, is_derivation, random_problem
from .base import Grade, Item, Task
from .split import draw_distinct, is_held_out

_DEFAULT_COUNT = 100
_LENGTHS = {3: 16, 4: 24}  # characters of the longest answer within the default range, and an end token
_INSTRUCTION = """Use the numbers {numbers}, each exactly once, and the operations + - * / to reach {target}. \
Every division must come out whole. Write one equation a line, each using numbers that are left: the given ones and \
earlier results. The last result must be {target}.

For the numbers 2, 3, 7 and the target 13 an answer is
<answer>
2*3=6
6+7=13
</answer>

Answer with the equations between <answer> and </answer>, and nothing else."""


@final
@dataclass(frozen=True)
class Countdown(Task):
    """Solvable Countdown problems. None was in the embedded model's training, whose range the defaults are.

    Args:
        numbers: how many numbers are given.
        largest: the given numbers lie between 1 and this.
        limit: the target and all results of the derivation that made the problem lie between 1 and this.
        form: "prompt" writes `3,5,8=23`, which the embedded model reads; "instruct" asks in words.
    """

    numbers: Literal[3, 4] = 3
    largest: int = 9
    limit: int = 99
    form: Literal["prompt", "instruct"] = "prompt"

    def __post_init__(self) -> None:
        check_fields(self, "countdown")
        require(1 <= self.largest <= self.limit, "countdown: it takes 1 <= largest <= limit")

    @property
    def max_new_tokens(self) -> int:
        if self.form == "instruct":
            return 96
        if self.largest <= 9 and self.limit <= 99:
            return _LENGTHS[self.numbers]
        equation = 3 * len(str(self.limit)) + 2
        return (self.numbers - 1) * (equation + 1)

    def items(self, count: int | None, seed: int) -> Sequence[Item]:
        """Problems that differ in their numbers or their target."""
        problems = draw_distinct(
            lambda rng: random_problem(self.numbers, self.largest, self.limit, rng),
            key=lambda problem: problem.key,
            fits=lambda problem: is_held_out(problem.key),
            count=_DEFAULT_COUNT if count is None else count,
            seed=seed,
            task="countdown",
        )
        return [self._item(problem) for problem in problems]

    def grade(self, item: Item, text: str) -> Grade:
        """Right if every equation holds, each given number is used exactly once and the last result is the target."""
        answers = re.findall(r"<answer>(.*?)</answer>", text, re.DOTALL)
        answer = (answers[-1] if answers else text).strip()
        right = is_derivation(item.data["numbers"], item.data["target"], answer)
        return Grade(answer or None, float(right))

    def _item(self, problem: Problem) -> Item:
        numbers, target = ",".join(map(str, problem.numbers)), problem.target
        prompt = f"{numbers}={target}"
        if self.form == "instruct":
            prompt = _INSTRUCTION.format(numbers=numbers.replace(",", ", "), target=target)
        return Item(problem.key, prompt, data={"numbers": list(problem.numbers), "target": target})
