"""EB-Sampler: fill as many positions at once as a bound on what they know of each other allows (arXiv:2505.24857).

Filling a set U of positions independently ignores what they say about each other. That error is at most
sum of H over U - max of H over U, with H the entropies of the positions' distributions (the paper's bound on the joint
dependence error). The sampler orders the masked positions by how good the model's prediction seems to be and takes the
longest prefix U of that order whose bound stays within gamma.
"""

from dataclasses import dataclass
from math import inf
from typing import Literal, final

import torch
from torch import Tensor
from torch.nn.functional import pad

import mdm_sampling as mdm


@final
@dataclass(frozen=True)
class EBSampler(mdm.PositionPlanner):
    """Unmask the longest prefix of the best positions whose entropies, without the largest, sum to gamma at most.

    One position always fits, since nothing is left of its sum. The schedule's quota plays no part: gamma alone decides
    how many positions a step fills. At the last of the steps that a row may take in a block, all that is left is
    filled, so that the sampler's `steps` remain the bound that they are for every planner.

    Args:
        gamma: the bound in nats, 0 or more; the larger it is, the fewer steps. At 0 only positions that are certain
            ride along with the best one.
        proxy: what is called best: the lowest "entropy", the highest "confidence" (the probability of the proposed
            token) or the largest "margin" between the two likeliest tokens. Ties go to the left.
    """

    gamma: float = 0.1
    proxy: Literal["entropy", "confidence", "margin"] = "entropy"

    def __post_init__(self) -> None:
        if self.proxy not in ("entropy", "confidence", "margin"):
            raise mdm.SpecError(f"eb: proxy must be entropy, confidence or margin, got {self.proxy!r}")
        mdm.check_fields(self, "eb")
        if not 0 <= self.gamma < inf:
            raise mdm.SpecError(f"eb: gamma must be finite and 0 or more, got {self.gamma}")

    def plan(self, step: mdm.Step) -> mdm.Plan:
        score = self._score(step)
        order = score.masked_fill(~step.masked, -inf).argsort(dim=-1, descending=True, stable=True)
        entropy = step.prediction.entropy.gather(-1, order)
        largest_before = pad(entropy.cummax(-1).values[:, :-1], (1, 0))
        # Each position adds the smaller of its entropy and the largest before it: the sum without its largest term, and
        # unlike the difference of the two it neither cancels nor falls, so that counting finds the longest prefix.
        bound = torch.minimum(entropy, largest_before).cumsum(-1)
        fitting = (bound <= self.gamma).sum(-1)
        return mdm.Plan(
            unmask=mdm.top_positions(score, step.masked, fitting.masked_fill(step.is_last, score.shape[-1]))
        )

    def _score(self, step: mdm.Step) -> Tensor:
        """The larger, the sooner: [b l]."""
        statistics = step.prediction.statistics
        if self.proxy == "entropy":
            return -statistics.entropy
        return step.confidence if self.proxy == "confidence" else statistics.confidence - statistics.second


@mdm.hookimpl
def register_planners(register: mdm.Register) -> None:
    register("eb", EBSampler)
