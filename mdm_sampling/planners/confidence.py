"""Confidence: fill where the proposed token is most probable (LLaDA's low-confidence remasking, arXiv:2502.09992)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from ..interfaces import ScorePlanner, Step

if TYPE_CHECKING:
    from torch import Tensor


@final
@dataclass(frozen=True)
class Confidence(ScorePlanner):
    """Unmask where the proposed token is most probable."""

    def score(self, step: Step) -> Tensor:
        return step.confidence
