"""Entropy: fill where the distribution over tokens is sharpest (Dream's alg=entropy, arXiv:2508.15487)."""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from ..interfaces import ScorePlanner, Step


@final
@dataclass(frozen=True)
class Entropy(ScorePlanner):
    """Unmask where the distribution over tokens has the lowest entropy."""

    def score(self, step: Step) -> Tensor:
        return -step.prediction.entropy
