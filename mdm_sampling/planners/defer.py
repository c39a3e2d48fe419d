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
    """Plan only positions that do not propose an end token, for as long as a row has any.

    Nor does one of them propose an end token when the other planner asks for more draws: where such a draw is an end
    token, it is the position's first draw again. A row's last step of a block fills all that is left.

    Args:
        otherwise: plans the positions that are left.
        ids: the tokens to position last; empty for the model's own end tokens.
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
