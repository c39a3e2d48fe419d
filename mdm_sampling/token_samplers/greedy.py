"""Greedy: propose the likeliest token."""

from dataclasses import dataclass
from typing import final

from ..interfaces import TokenSampler
from ..prediction import Prediction
from ..randomness import RowNoise
from ..records import Proposal


@final
@dataclass(frozen=True)
class Greedy(TokenSampler):
    """Propose the likeliest token of each position."""

    def propose(self, prediction: Prediction, noise: RowNoise, count: int) -> Proposal:
        best = prediction.statistics
        shape = (count, *best.token.shape)
        return Proposal(tokens=best.token.expand(shape), confidence=best.confidence.expand(shape))
