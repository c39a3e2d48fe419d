"""Confidence: fill where the proposed token is most probable (LLaDA's low-confidence remasking, arXiv:2502.09992)."""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from ..interfaces import ScorePlanner, Step


@final
@dataclass(frozen=True)
class Confidence(ScorePlanner):
    """Unmask where the proposed token is most probable."""

    def score(self, step: Step) -> Tensor:
        return step.confidence
