"""High-confidence bypass: what the model is sure of is filled at once, without planning.

Around `confidence` it is Fast-dLLM's parallel decoding (arXiv:2505.22618, section 3.3); around `info-gain` it is the
bypass of arXiv:2602.18176.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import final

from ..errors import require
from ..kinds import check_fields
from ..lazy import torch
from ..records import Plan
from .base import Needs, PositionPlanner, Step, top_positions
from .scores import Confidence


@final
@dataclass(frozen=True)
class Bypass(PositionPlanner):
    """Unmask every position whose likeliest token reaches the threshold; if there is none, ask another planner.

    The proposed token is filled. Tokens are drawn before positions are chosen. So at a token temperature it may be an
    unlikely token, although the likeliest one reaches the threshold. (Fast-dLLM's code tests the probability of the
    drawn token.) The other planner plans a row's last step of a block, which fills all positions that are left.

    Args:
        threshold: probability in (0, 1].
        otherwise: plans the rows in which no position reaches the threshold.
        capped: fill at most the step's quota of such positions, as the published code does. This saves no steps.
    """

    threshold: float = 0.9
    otherwise: PositionPlanner = field(default_factory=Confidence)
    capped: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "bypass")
        require(0 < self.threshold <= 1, f"bypass: threshold must be in (0, 1], got {self.threshold}")

    @property
    def needs(self) -> Needs:
        return super().needs | Needs(quota=self.capped)

    def plan(self, step: Step) -> Plan:
        confidence = step.prediction.statistics.confidence
        sure = step.masked & (confidence >= self.threshold)
        rest = step.decided(top_positions(confidence, sure, step.quota) if self.capped else sure)
        sure = rest.fixed & ~step.fixed
        # The other planner is always asked, so that its memory doesn't depend on a row's neighbours.
        plan = self.otherwise.plan(rest)
        tokens = None if plan.tokens is None else torch.where(plan.unmask, plan.tokens, step.tokens)
        return replace(plan, unmask=torch.where(sure.any(-1, keepdim=True), sure, plan.unmask), tokens=tokens)
