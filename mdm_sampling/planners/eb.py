"""EB-Sampler: fill as many positions at once as a bound on what they know of each other allows (arXiv:2505.24857).

Filling a set U of positions independently ignores what they say about each other. That error is at most
sum of H over U - max of H over U, with H the entropies of the positions' distributions (the paper's bound on the joint
dependence error). The sampler orders the masked positions by how good the model's prediction seems to be and takes the
longest prefix U of that order whose bound stays within gamma.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Literal, final

from ..errors import require
from ..kinds import check_fields
from ..lazy import torch
from ..records import Plan
from .base import Needs, PositionPlanner, Step, top_positions

if TYPE_CHECKING:
    from torch import Tensor


@final
@dataclass(frozen=True)
class EBSampler(PositionPlanner):
    """Unmask the longest prefix of the best positions whose entropies, without the largest, sum to gamma at most.

    One position always fits, because its sum is empty. The schedule's quota is not used: gamma alone decides how many
    positions a step fills. A row's last step of a block fills all positions that are left.

    Args:
        gamma: the bound in nats, 0 or more; the larger it is, the fewer steps. At 0 only certain positions are filled
            besides the best one.
        proxy: which positions are best: those with the lowest "entropy", the highest "confidence" (the probability of
            the proposed token) or the largest "margin" between the two likeliest tokens. Ties go to the left.
    """

    gamma: float = 0.1
    proxy: Literal["entropy", "confidence", "margin"] = "entropy"

    def __post_init__(self) -> None:
        check_fields(self, "eb")
        require(0 <= self.gamma < inf, f"eb: gamma must be finite and 0 or more, got {self.gamma}")

    @property
    def needs(self) -> Needs:
        return Needs(quota=False)

    def plan(self, step: Step) -> Plan:
        score = self._score(step)
        fitting = longest_prefix(step.prediction.entropy, score, step.masked, self.gamma)
        return Plan(unmask=top_positions(score, step.masked, fitting.masked_fill(step.is_last, score.shape[-1])))

    def _score(self, step: Step) -> Tensor:
        """The larger, the sooner: [b l]."""
        statistics = step.prediction.statistics
        if self.proxy == "entropy":
            return -statistics.entropy
        return step.confidence if self.proxy == "confidence" else statistics.confidence - statistics.second


def longest_prefix(entropy: Tensor, score: Tensor, eligible: Tensor, bound: float) -> Tensor:
    """How many eligible positions, the best score first, have entropies that without the largest sum to the bound at
    most: [... l] three times -> int64 [...].
    """
    order = score.masked_fill(~eligible, -inf).argsort(dim=-1, descending=True, stable=True)
    sorted_entropy = entropy.gather(-1, order)
    largest_before = torch.nn.functional.pad(sorted_entropy.cummax(-1).values[..., :-1], (1, 0))
    # Each position adds the smaller of its entropy and the largest before it: the sum without its largest term, and
    # unlike the difference of the two it neither cancels nor falls, so that counting finds the longest prefix.
    return (torch.minimum(sorted_entropy, largest_before).cumsum(-1) <= bound).sum(-1)
