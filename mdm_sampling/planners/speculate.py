"""Speculation: look ahead at where another planner may soon be, and take its steps there without further forwards."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NoReturn, final

from ..errors import SpecError, require
from ..kinds import check_fields
from ..lazy import torch
from ..records import Plan
from .base import Needs, PositionPlanner, Step, top_positions
from .scores import Confidence

if TYPE_CHECKING:
    from torch import Tensor


@final
@dataclass(frozen=True)
class Speculate(PositionPlanner):
    """Take the steps of another planner, several after one forward where one of its drafts foresaw them.

    Args:
        planner: whose steps are taken.
        drafts: canvases that are looked at in a step, the planner's next one among them.
        shape: own or prefix
    """

    planner: PositionPlanner = field(default_factory=Confidence)
    drafts: int = 8
    shape: str = "own"

    def __post_init__(self) -> None:
        check_fields(self, "speculate")
        require(self.drafts >= 1, f"speculate: drafts must be at least 1, got {self.drafts}")

    @property
    def needs(self) -> Needs:
        return super().needs | Needs(drafts=True)

    def plan(self, step: Step) -> Plan:
        plan = self.planner.plan(replace(step, lookahead=_refused))
        tokens = step.tokens if plan.tokens is None else plan.tokens
        filled = plan.unmask | step.fixed
        going = (step.open & ~plan.unmask).any(-1)  # the others are finished by this move
        if plan.remask is not None:
            going &= ~plan.remask.any(-1)  # no lookahead sees what is reopened
        if step.may_wait:
            ready = step.foreseen(filled, tokens) | ~(step.open & ~plan.unmask).any(-1)
            return replace(plan, unmask=plan.unmask & ready.unsqueeze(-1), remask=None if plan.remask is None else plan.remask & ready.unsqueeze(-1))
        rows = going.nonzero()[:, 0]
        if len(rows):
            self._look(step, plan, filled, tokens, rows)
        return plan

    def _look(self, step: Step, plan: Plan, filled: Tensor, tokens: Tensor, rows: Tensor) -> None:
        of, unmask, toks = [rows], [filled[rows]], [tokens[rows]]
        if self.shape == "own":
            now, idx, who = step, rows, torch.arange(len(filled))
            cumu, tk, current = filled.clone(), tokens.clone(), plan
            for _ in range(self.drafts):
                if not len(idx): break
                now = now.imagine(current, idx)
                cumu, tk, who = cumu[idx], tk[idx], who[idx]
                current = self.planner.plan(replace(now, lookahead=_refused))
                t = now.tokens if current.tokens is None else current.tokens
                tk = torch.where(current.unmask, t, tk)
                cumu = cumu | current.unmask
                idx = (now.open & ~current.unmask).any(-1).nonzero()[:, 0]
                of.append(who[idx]); unmask.append(cumu[idx]); toks.append(tk[idx])
        else:
            score = -step.prediction.entropy if self.shape.startswith("entropy") else step.confidence
            rest = step.open & ~filled
            swaps = "swap" in self.shape
            def add(more):
                ok = (rest & ~more).any(-1) & more.any(-1)
                idx = (ok[rows]).nonzero()[:,0]
                if len(idx):
                    r = rows[idx]
                    of.append(r); unmask.append((filled | more)[r]); toks.append(torch.where(filled, tokens, step.tokens)[r])
            top = lambda n: top_positions(score, rest, torch.full_like(step.quota, n))
            if not swaps:
                for n in range(1, self.drafts+1): add(top(n))
            else:
                # (length, swap) in the order of worth
                table = [(1,0),(2,0),(1,1),(3,0),(2,1),(4,0),(3,1),(5,0),(1,2),(4,1),(6,0),(2,2),(7,0),(5,1)]
                for n, sw in table[:self.drafts]:
                    if sw == 0: add(top(n))
                    else: add(top(n-1) | (top(n+sw) & ~top(n+sw-1)))
        step.lookahead(torch.cat(of), torch.cat(unmask), torch.cat(toks))


def _refused(*_: Any, **__: Any) -> NoReturn:
    raise SpecError("speculate: the planner inside looks ahead itself")
