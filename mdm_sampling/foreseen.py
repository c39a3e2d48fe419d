"""What has been looked at and may come true: predictions of canvases that a lookahead computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .lazy import torch
from .prediction import Prediction

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Foreseen:
    """Canvases that a lookahead predicted, to be found again if a row comes to stand on one of them.

    Attributes:
        numbers: which row of the run each belongs to, int64 [n].
        spans: start and stop of the span that was recomputed for each, int64 [n 2].
        prediction: of the block's positions, [n l].
    """

    numbers: Tensor
    spans: Tensor
    prediction: Prediction

    def joined(self, other: Foreseen | None) -> Foreseen:
        """With those of another lookahead before it."""
        if other is None:
            return self
        return Foreseen(
            torch.cat([other.numbers, self.numbers]),
            torch.cat([other.spans, self.spans]),
            other.prediction.joined(self.prediction),
        )

    def find(self, numbers: Tensor, context: Tensor, spans: Tensor) -> Tensor:
        """Which canvas here each row stands on, int64 [b]; -1 if on none.

        Args:
            numbers: of the rows, rising, int64 [b].
            context: their canvases' tokens, as predictions keep them, int64 [b t].
            spans: what the forward that is to be replaced would recompute, int64 [b 2].
        """
        row = torch.searchsorted(numbers, self.numbers).clamp(max=len(numbers) - 1)
        same = (numbers[row] == self.numbers) & (spans[row] == self.spans).all(-1)
        same &= (context[row] == self.prediction.context).all(-1)
        place = torch.where(same, torch.arange(len(same), device=same.device), -1)
        return torch.full_like(numbers, -1).scatter_reduce(0, row, place, "amax")
