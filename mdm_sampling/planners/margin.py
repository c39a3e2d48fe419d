"""Margin: fill where the best token leads the second best by most (top-k margin, arXiv:2502.06768)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from ..interfaces import ScorePlanner, Step

if TYPE_CHECKING:
    from torch import Tensor


@final
@dataclass(frozen=True)
class Margin(ScorePlanner):
    """Unmask where the likeliest token leads the second likeliest by most."""

    def score(self, step: Step) -> Tensor:
        statistics = step.prediction.statistics
        return statistics.confidence - statistics.second
