"""Fast-dLLM's factor-based parallel decoding: the surer the positions, the more of them at once (arXiv:2505.22618,
3.3).

The paper's theorem: n positions with confidences of at least c may be filled greedily at once, with the same result as
one by one, if (n + 1)(1 - c) <= 1. The factor strategy replaces the 1 on the right by a factor f and fills the n surest
positions for the largest n with (n + 1)(1 - c(n)) < f, where c(1) >= c(2) >= ... are the sorted confidences.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import final

from ..errors import require
from ..kinds import check_fields
from ..lazy import torch
from ..records import Plan
from .base import Needs, PositionPlanner, Step, top_positions


@final
@dataclass(frozen=True)
class Factor(PositionPlanner):
    """Unmask the n most confident positions for the largest n with (n + 1)(1 - c(n)) < factor, and at least one.

    c(n) is the n-th largest confidence (the probability of the proposed token). The left side never falls as n grows,
    so the rule stops at the first position that fails it. The inequality is strict, as in the paper. (The published
    code asks for c(n) >= 1 - factor / (n + 1), so it also fills a position with equality. It also fills the last masked
    position if that alone fails the rule.)

    The schedule's quota is not used. A row's last step of a block fills all positions that are left.

    Args:
        factor: above 0; the larger it is, the more positions a step fills.
    """

    factor: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self, "factor")
        require(0 < self.factor < inf, f"factor: factor must be finite and above 0, got {self.factor}")

    @property
    def needs(self) -> Needs:
        return Needs(quota=False)

    def plan(self, step: Step) -> Plan:
        confidence = step.confidence
        ordered = confidence.masked_fill(~step.masked, 0).sort(dim=-1, descending=True).values
        n = torch.arange(1, ordered.shape[-1] + 1, device=ordered.device)
        fitting = ((n + 1) * (1 - ordered) < self.factor).sum(-1).clamp(min=1)
        return Plan(unmask=top_positions(confidence, step.masked, fitting.masked_fill(step.is_last, len(n))))
