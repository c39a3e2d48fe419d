"""Uniform schedule: the same number of positions at every step, the remainder to the first steps (LLaDA)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from ..interfaces import Schedule

if TYPE_CHECKING:
    from torch import Tensor


@final
@dataclass(frozen=True)
class Uniform(Schedule):
    """Share the masked positions evenly over the steps left, rounding up."""

    def quota(self, masked: Tensor, step: int, steps: Tensor) -> Tensor:
        left = (steps - step).clamp(min=1)
        return (masked + left - 1) // left
