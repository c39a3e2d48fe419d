"""Token samplers: what a position would be filled with.

`gumbel` draws by argmax(logits / temperature + Gumbel noise). The noise is float64: in single precision its largest
values tie, which is known to lower the quality of MDM samples (arXiv:2409.02908).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, final

from .errors import require
from .kinds import check_fields
from .lazy import torch
from .prediction import Prediction
from .randomness import RowNoise
from .records import Proposal

if TYPE_CHECKING:
    from torch import Tensor


class TokenSampler(ABC):
    """Draws a token for every masked position, before any position is chosen."""

    @abstractmethod
    def propose(self, prediction: Prediction, noise: RowNoise, count: int) -> Proposal:
        """`count` independent draws for each masked position: [n b l]. All randomness comes from `noise`."""


@final
@dataclass(frozen=True)
class Greedy(TokenSampler):
    """Propose the likeliest token of each position."""

    def propose(self, prediction: Prediction, noise: RowNoise, count: int) -> Proposal:
        best = prediction.statistics
        shape = (count, *best.token.shape)
        return Proposal(tokens=best.token.expand(shape), confidence=best.confidence.expand(shape))


@final
@dataclass(frozen=True)
class GumbelMax(TokenSampler):
    """Draw each position's token at a temperature, from its top-k and top-p tokens.

    Args:
        temperature: above 0; 1 draws from the model's own distribution.
        top_k: keep only the k likeliest tokens, and all that tie with the k-th, which half precision makes common; 0
            keeps all.
        top_p: keep the likeliest tokens that together reach this probability, any of those that tie at its end; 1
            keeps all.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self, "gumbel")
        require(
            0 < self.temperature < inf,
            f"gumbel: temperature must be finite and above 0, got {self.temperature}; greedy is temperature 0",
        )
        require(self.top_k >= 0, f"gumbel: top_k must be 0 or more, got {self.top_k}")
        require(0 < self.top_p <= 1, f"gumbel: top_p must be in (0, 1], got {self.top_p}")

    def propose(self, prediction: Prediction, noise: RowNoise, count: int) -> Proposal:
        shape = (count, *prediction.masked.shape)
        tokens = torch.zeros(shape, dtype=torch.long, device=prediction.masked.device)
        confidence = torch.zeros(shape, dtype=prediction.statistics.confidence.dtype, device=tokens.device)
        # Noise and scores are float64, twice a logit's size, for each draw: a few positions at a time, while the head
        # projects as many as it can.
        few = prediction.chunk_size(4 * count)
        for (rows, columns), logits in prediction.chunks(copies=2):
            positions = zip(torch.split(logits, few), torch.split(rows, few), strict=True)
            drawn = torch.cat([self._draw(part, noise, of.tolist(), count) for part, of in positions])
            chosen = logits.gather(-1, drawn) - logits.logsumexp(-1, keepdim=True)
            tokens[:, rows, columns] = drawn.T.to(tokens.device)
            confidence[:, rows, columns] = chosen.exp().T.to(confidence)
        return Proposal(tokens, confidence)

    def _draw(self, logits: Tensor, noise: RowNoise, rows: list[int], count: int) -> Tensor:
        """Draws for positions with logits [r v] in the batch rows `rows`: [r n]."""
        scores = self._warped(logits.double())
        gumbel = noise.gumbel(rows, count, logits.shape[-1]).to(logits.device)
        return gumbel.add_(scores.unsqueeze(1)).argmax(-1)

    def _warped(self, scores: Tensor) -> Tensor:
        from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

        scores = scores - scores.amax(-1, keepdim=True)  # so that a tiny temperature cannot overflow
        nothing = scores.new_empty(len(scores), 0, dtype=torch.long)
        scores = TemperatureLogitsWarper(float(self.temperature))(nothing, scores)
        if self.top_k > 0:
            scores = TopKLogitsWarper(self.top_k)(nothing, scores)
        return TopPLogitsWarper(self.top_p)(nothing, scores) if self.top_p < 1 else scores
