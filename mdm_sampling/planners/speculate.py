"""Speculation: look ahead at where a planner may soon stand, and take its next steps there without a forward.

Drafts that are verified in one batched forward are those of Spiffy (arXiv:2509.18085) and FreeDave (arXiv:2510.00294).
Here they are drafts of canvases, so any planner can be wrapped, under any cache, and nothing is trained or calibrated.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NoReturn, final

from ..errors import SpecError, require
from ..kinds import check_fields
from ..lazy import torch
from ..records import Plan
from .base import Needs, PositionPlanner, Step
from .draft_shapes import DraftShape, Lattice, filled_by
from .info_gain import distinct
from .scores import Confidence

if TYPE_CHECKING:
    from torch import Tensor


@final
@dataclass(frozen=True)
class Speculate(PositionPlanner):
    """Take the steps of another planner, and several of them after one forward if they were drafted.

    Each forward computes the planner's next canvas and `drafts` more that it may reach soon. As long as the planner
    moves to one of these canvases, its next steps cost no forward. Tokens, order and entropies are those of the planner
    alone. Only the forwards differ: there are fewer of them, with more canvases in each.

    Args:
        planner: the planner whose steps are taken. It must not look ahead itself.
        drafts: how many canvases are computed for each row besides the planner's next one.
        shape: which canvases these are.
    """

    planner: PositionPlanner = field(default_factory=Confidence)
    drafts: int = 8
    shape: DraftShape = field(default_factory=Lattice)

    def __post_init__(self) -> None:
        check_fields(self, "speculate")
        require(self.drafts >= 1, f"speculate: drafts must be at least 1, got {self.drafts}")
        require(not self.planner.needs.drafts, "speculate: the planner inside drafts by itself")

    @property
    def needs(self) -> Needs:
        return super().needs | Needs(drafts=True, quota=False)

    def plan(self, step: Step) -> Plan:
        plan = self.planner.plan(replace(step, lookahead=_refused))
        filled, tokens = filled_by(step, plan)
        goes_on = (step.open & ~filled).any(-1)  # a move that ends the block needs no prediction after it
        if step.may_wait:
            return waiting(plan, goes_on & ~step.foreseen(filled, tokens))
        if plan.remask is not None:
            goes_on &= ~plan.remask.any(-1)  # a lookahead cannot see what is reopened
        if bool(goes_on.any()):
            _look_at(step, *self._moves(step, plan), goes_on)
        return plan

    def _moves(self, step: Step, plan: Plan) -> tuple[Tensor, Tensor]:
        """The planner's move and the drafts: bool [n b l] and int64 [n b l]."""
        own = filled_by(step, plan)
        drafts = self.shape.drafts(replace(step, lookahead=_refused), plan, self.planner, self.drafts)
        unmask, tokens = (torch.cat([mine[None], others]) for mine, others in zip(own, drafts, strict=True))
        return unmask, tokens


def waiting(plan: Plan, rows: Tensor) -> Plan:
    """The plan in which these rows, bool [b], wait."""
    here = ~rows.unsqueeze(-1)
    return replace(plan, unmask=plan.unmask & here, remask=None if plan.remask is None else plan.remask & here)


def _look_at(step: Step, unmask: Tensor, tokens: Tensor, rows: Tensor) -> None:
    """Look ahead at moves, [n b l] each, of the rows `rows`, bool [b]: each move once, and none that ends the block."""
    going = (step.open & ~unmask).any(-1) & rows
    number, row = (distinct(unmask, tokens) & going).nonzero(as_tuple=True)
    step.lookahead(row, unmask[number, row], tokens[number, row])


def _refused(*_: Any, **__: Any) -> NoReturn:
    raise SpecError("speculate: the planner inside looks ahead itself; only one that does not can be speculated on")
