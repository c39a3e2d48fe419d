"""Margin: fill where the best token leads the second best by most (top-k margin, arXiv:2502.06768)."""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from ..interfaces import ScorePlanner, Step


@final
@dataclass(frozen=True)
class Margin(ScorePlanner):
    """Unmask where the likeliest token leads the second likeliest by most."""

    def score(self, step: Step) -> Tensor:
        statistics = step.prediction.statistics
        return statistics.confidence - statistics.second
