"""Linear schedule: masked fraction 1 - r at progress r, rounding down: the last steps take the remainder (Dream)."""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from ..interfaces import Schedule


@final
@dataclass(frozen=True)
class Linear(Schedule):
    """Let the masked fraction fall linearly, rounding down."""

    def quota(self, masked: Tensor, step: int, steps: Tensor) -> Tensor:
        return masked // (steps - step).clamp(min=1)
