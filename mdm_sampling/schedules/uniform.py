"""Uniform schedule: the same number of places at every step, the remainder to the first steps (LLaDA)."""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from ..interfaces import Schedule


@final
@dataclass(frozen=True)
class Uniform(Schedule):
    """Share the masked places evenly over the steps left, rounding up."""

    def quota(self, masked: Tensor, step: int, steps: Tensor) -> Tensor:
        left = (steps - step).clamp(min=1)
        return (masked + left - 1) // left
