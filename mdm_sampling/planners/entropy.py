"""Entropy: fill where the distribution over tokens is sharpest (Dream's alg=entropy, arXiv:2508.15487)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from ..interfaces import ScorePlanner, Step

if TYPE_CHECKING:
    from torch import Tensor


@final
@dataclass(frozen=True)
class Entropy(ScorePlanner):
    """Unmask where the distribution over tokens has the lowest entropy."""

    def score(self, step: Step) -> Tensor:
        return -step.prediction.entropy
