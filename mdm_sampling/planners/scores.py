"""Planners that score positions: random, left-to-right, confidence, margin, entropy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from ..lazy import torch
from .base import ScorePlanner, Step

if TYPE_CHECKING:
    from torch import Tensor


@final
@dataclass(frozen=True)
class Random(ScorePlanner):
    """Unmask positions in a random order."""

    def score(self, step: Step) -> Tensor:
        return step.noise.uniform(1)[0]


@final
@dataclass(frozen=True)
class LeftToRight(ScorePlanner):
    """Unmask the leftmost positions first."""

    def score(self, step: Step) -> Tensor:
        width = step.masked.shape[1]
        return -torch.arange(width, device=step.masked.device, dtype=torch.float32).expand(step.masked.shape)


@final
@dataclass(frozen=True)
class Confidence(ScorePlanner):
    """Unmask where the proposed token is most probable."""

    def score(self, step: Step) -> Tensor:
        return step.confidence


@final
@dataclass(frozen=True)
class Margin(ScorePlanner):
    """Unmask where the likeliest token leads the second likeliest by most."""

    def score(self, step: Step) -> Tensor:
        statistics = step.prediction.statistics
        return statistics.confidence - statistics.second


@final
@dataclass(frozen=True)
class Entropy(ScorePlanner):
    """Unmask where the distribution over tokens has the lowest entropy."""

    def score(self, step: Step) -> Tensor:
        return -step.prediction.entropy
