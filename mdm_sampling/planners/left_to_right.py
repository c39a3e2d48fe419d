"""Left to right: fill the leftmost masked positions, as an autoregressive model would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from ..interfaces import ScorePlanner, Step
from ..lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


@final
@dataclass(frozen=True)
class LeftToRight(ScorePlanner):
    """Unmask the leftmost positions first."""

    def score(self, step: Step) -> Tensor:
        width = step.masked.shape[1]
        return -torch.arange(width, device=step.masked.device, dtype=torch.float32).expand(step.masked.shape)
