"""Defer: place end tokens last. Their logits stay as they are; only their turn comes later.

LLaDA's evaluation calls the same idea `confidence_eos_eot_inf`.
"""

from dataclasses import dataclass, field, replace
from typing import final

import torch

from ..errors import require
from ..interfaces import PositionPlanner, Step
from ..records import Plan
from .confidence import Confidence


@final
@dataclass(frozen=True)
class Defer(PositionPlanner):
    """Plan only places that do not propose an end token, for as long as a row has any.

    Args:
        otherwise: plans the places that are left.
        ids: the tokens to place last; empty for the model's own end tokens.
    """

    otherwise: PositionPlanner = field(default_factory=Confidence)
    ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        require(all(token >= 0 for token in self.ids), f"defer: ids must be token ids, got {list(self.ids)}")

    def plan(self, step: Step) -> Plan:
        late = torch.tensor(self.ids or step.eos_ids, dtype=torch.long, device=step.tokens.device)
        early = step.masked & ~torch.isin(step.tokens, late)
        masked = torch.where(early.any(-1, keepdim=True), early, step.masked)
        return self.otherwise.plan(replace(step, masked=masked, quota=torch.minimum(step.quota, masked.sum(-1))))
