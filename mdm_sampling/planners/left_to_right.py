"""Left to right: fill the leftmost masked places, as an autoregressive model would."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ..interfaces import ScorePlanner, Step


@final
@dataclass(frozen=True)
class LeftToRight(ScorePlanner):
    """Unmask the leftmost places first."""

    def score(self, step: Step) -> Tensor:
        width = step.masked.shape[1]
        return -torch.arange(width, device=step.masked.device, dtype=torch.float32).expand(step.masked.shape)
