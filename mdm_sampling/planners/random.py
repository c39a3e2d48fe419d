"""Random: fill places in a random order, as in the reverse process that MDMs are trained for (arXiv:2502.09992)."""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from ..interfaces import ScorePlanner, Step


@final
@dataclass(frozen=True)
class Random(ScorePlanner):
    """Unmask places in a random order."""

    def score(self, step: Step) -> Tensor:
        return step.uniform(1)[0]
