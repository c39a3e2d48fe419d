"""Countdown problems: combine given numbers by + - * / until one number, the target, is left."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

_EQUATION = re.compile(r"\s*(-?[0-9]{1,12})\s*([-+*/])\s*(-?[0-9]{1,12})\s*=\s*(-?[0-9]{1,12})\s*")
SIGNS = str.maketrans({"\u00d7": "*", "\u00b7": "*", "\u00f7": "/", "\u2212": "-", "\u2013": "-"})


@dataclass(frozen=True)
class Problem:
    """Numbers to use once each, a target, and one derivation of it, such as `8*3=24,24+5=29`."""

    numbers: tuple[int, ...]
    target: int
    derivation: str

    @property
    def key(self) -> str:
        """The same for problems that differ only in the order of their numbers."""
        return f"{','.join(map(str, sorted(self.numbers)))}={self.target}"


def _combine(a: int, operation: str, b: int) -> int | None:
    """The exact result of a step, or None where a division leaves a remainder."""
    if operation == "/":
        return a // b if b and a % b == 0 else None
    return a + b if operation == "+" else a - b if operation == "-" else a * b


def random_problem(numbers: int, largest: int, limit: int, rng: Random) -> Problem:
    """A solvable problem: numbers in 1 to `largest`, every result in 1 to `limit`. The larger operand comes first."""
    while True:
        given = tuple(rng.randint(1, largest) for _ in range(numbers))
        pool, steps = list(given), []
        while len(pool) > 1:
            b, a = sorted(pool.pop(rng.randrange(len(pool))) for _ in range(2))
            operation = rng.choice("+-*/")
            result = _combine(a, operation, b)
            if result is None or not 1 <= result <= limit:
                break
            steps.append(f"{a}{operation}{b}={result}")
            pool.append(result)
        else:
            return Problem(given, pool[0], ",".join(steps))


def is_derivation(numbers: Sequence[int], target: int, text: str) -> bool:
    """Whether equations, separated by commas, semicolons or line breaks, use each number once and end at the target.

    Every equation must hold, and take its operands from the numbers given and the results before it. A full stop at
    the end and the mathematical signs for times, divided by and minus are understood.
    """
    pool, result = Counter(numbers), None
    text = text.strip().removesuffix(".").translate(SIGNS)
    steps = [step for step in re.split(r"[,;\n]", text) if step.strip()]
    for step in steps:
        match = _EQUATION.fullmatch(step)
        if not match:
            return False
        a, operation, b, result = int(match[1]), match[2], int(match[3]), int(match[4])
        used = Counter((a, b))
        if _combine(a, operation, b) != result or used - pool:
            return False
        pool = pool - used + Counter((result,))
    return len(steps) == len(numbers) - 1 and result == target
