"""Linear schedule: masked fraction 1 - r at progress r, rounding down: the last steps take the remainder (Dream)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from ..interfaces import Schedule

if TYPE_CHECKING:
    from torch import Tensor


@final
@dataclass(frozen=True)
class Linear(Schedule):
    """Let the masked fraction fall linearly, rounding down."""

    def quota(self, masked: Tensor, step: int, steps: Tensor) -> Tensor:
        return masked // (steps - step).clamp(min=1)
