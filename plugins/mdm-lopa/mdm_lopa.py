"""LoPA: take the branch after which the model is surest of what is left (arXiv:2512.16229).

The anchor branch fills what a confidence threshold allows. Each other branch fills one position more. All branches are
predicted in one forward, and the one with the highest mean confidence over its masked positions is taken.
"""

from dataclasses import dataclass
from math import inf, nan
from typing import final

import torch
from torch import Tensor

import mdm_sampling as mdm


@final
@dataclass(frozen=True)
class LoPA(mdm.PositionPlanner):
    """Unmask what is confident, and perhaps one position more: the one that leaves the model surest of the rest.

    The anchor branch fills the positions whose confidence is above `threshold`, or the most confident one where there
    is none. Each other branch fills what the anchor does and one of the most confident positions that it leaves. All
    are looked at in one forward. The branch with the highest mean confidence over the block's masked positions is
    taken; of equals the earlier, the anchor first. A branch that would end the block has no such mean and is left out;
    if the anchor ends it, the anchor is taken.

    The schedule's quota plays no part. A row's last step of a block fills all that is left.

    Args:
        threshold: confidence that a position exceeds to be filled by the anchor, in [0, 1).
        branches: how many are looked at in each row, the anchor among them, at least 1. With 1 nothing is looked at.
    """

    threshold: float = 0.9
    branches: int = 4

    needs = mdm.Needs(quota=False)

    def __post_init__(self) -> None:
        mdm.check_fields(self, "lopa")
        if not 0 <= self.threshold < 1:
            raise mdm.SpecError(f"lopa: threshold must be in [0, 1), got {self.threshold}")
        if self.branches < 1:
            raise mdm.SpecError(f"lopa: branches must be at least 1, got {self.branches}")

    def plan(self, step: mdm.Step) -> mdm.Plan:
        anchor = self._anchor(step)
        extra = self._extra(step, anchor)
        unmask = anchor | extra
        is_branch = extra.any(-1)
        is_branch[0] = True
        goes_on = is_branch & (step.open & ~unmask).any(-1)
        if not bool(goes_on[1:].any()):
            return mdm.Plan(anchor)  # no row has a choice, and an ordinary forward costs the same as looking ahead
        number, row = goes_on.nonzero(as_tuple=True)
        ahead = step.lookahead(row, (unmask | step.fixed)[number, row], step.tokens[row])
        return self._surest(step, unmask, (number, row), ahead)

    def _anchor(self, step: mdm.Step) -> Tensor:
        """What the threshold allows, at least one position in each row that is asked for any: bool [b l]."""
        allowed = step.masked & (step.confidence > self.threshold)
        count = allowed.sum(-1).clamp(min=1).masked_fill(step.quota == 0, 0)
        # At a row's last step the quota is all that is left.
        return mdm.top_positions(step.confidence, step.masked, torch.where(step.is_last, step.quota, count))

    def _extra(self, step: mdm.Step, anchor: Tensor) -> Tensor:
        """The position that each branch adds to the anchor, the surest first, bool [n b l].

        Number 0 is the anchor and adds nothing, nor do branches for which no position is left, and rows that a wrapper
        decided.
        """
        left = step.masked & ~anchor & (step.quota > 0).unsqueeze(-1)
        score = step.confidence.expand(self.branches, *left.shape)
        # Number i has the i surest here; what number i - 1 doesn't have is its own.
        surest = mdm.top_positions(score, left, torch.arange(self.branches, device=left.device).unsqueeze(-1))
        return surest & ~surest.roll(1, dims=0)

    def _surest(self, step: mdm.Step, unmask: Tensor, seen: tuple[Tensor, Tensor], ahead: mdm.Prediction) -> mdm.Plan:
        """The plan of the best branch; those with the (numbers [m], rows [m]) `seen` were looked at."""
        left = ahead.masked.sum(-1)
        score = torch.full(unmask.shape[:2], nan, dtype=ahead.entropy.dtype, device=unmask.device)
        after = score.clone()
        score[seen] = ahead.statistics.confidence.sum(-1) / left
        after[seen] = ahead.entropy.sum(-1) / left
        best = score.nan_to_num(nan=-inf).argmax(0)
        return mdm.Plan(
            unmask=unmask[best, torch.arange(len(best), device=best.device)],
            candidates=mdm.Candidates(
                unmask=unmask,
                tokens=step.tokens.expand(unmask.shape),
                cost=(step.prediction.entropy * unmask).sum(-1),
                next_entropy=after,
                score=score,
                chosen=best,
            ),
        )


@mdm.hookimpl
def register_planners(register: mdm.Register) -> None:
    register("lopa", LoPA)
