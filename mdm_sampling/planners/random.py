"""Random: fill positions in a random order, as in the reverse process that MDMs are trained for (arXiv:2502.09992)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from ..interfaces import ScorePlanner, Step

if TYPE_CHECKING:
    from torch import Tensor


@final
@dataclass(frozen=True)
class Random(ScorePlanner):
    """Unmask positions in a random order."""

    def score(self, step: Step) -> Tensor:
        return step.uniform(1)[0]
