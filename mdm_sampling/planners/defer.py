"""Defer: position end tokens last. Their logits stay as they are; only their turn comes later.

LLaDA's evaluation calls the same idea `confidence_eos_eot_inf`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import final

from ..errors import require
from ..kinds import check_fields
from ..lazy import torch
from ..records import Plan, Proposal
from .base import PositionPlanner, Step
from .scores import Confidence


@final
@dataclass(frozen=True)
class Defer(PositionPlanner):
    """Let another planner choose only positions that do not propose an end token, while a row has any.

    If the other planner asks for more draws, end tokens are replaced by the position's first draw. A row's last step of
    a block fills all positions that are left.

    Args:
        otherwise: the other planner.
        ids: the tokens to fill last; empty for the model's own end tokens.
    """

    otherwise: PositionPlanner = field(default_factory=Confidence)
    ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self, "defer")
        require(all(token >= 0 for token in self.ids), f"defer: ids must be token ids, got {list(self.ids)}")

    def plan(self, step: Step) -> Plan:
        late = torch.tensor(self.ids or step.eos_ids, dtype=torch.long, device=step.tokens.device)
        early = ~torch.isin(step.tokens, late)
        held = step.masked & early & ~step.is_last.unsqueeze(-1)

        def propose(count: int) -> Proposal:
            drawn = step.propose(count)
            again = held & torch.isin(drawn.tokens, late)
            return Proposal(
                tokens=torch.where(again, step.tokens, drawn.tokens),
                confidence=torch.where(again, step.confidence, drawn.confidence),
            )

        return self.otherwise.plan(replace(step.only(early), propose=propose))
