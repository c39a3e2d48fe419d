"""ReMDM: mask some of what was filled again, so that the model may change its mind (arXiv:2503.00307).

With alpha(t) the share of positions that are filled at time t, a filled position is masked again with probability
sigma, and more of the masked ones are filled, so that the share at the next time s is alpha(s) all the same. That is
possible up to sigma_max = min(1, (1 - alpha(s)) / alpha(t)), the paper's bound. Its strategies choose sigma below the
bound: "cap" takes min(eta, sigma_max), "rescale" eta sigma_max, and "conf" shares sigma_max out over the filled
positions, the more to a position the less confidently it was filled.
"""

from dataclasses import dataclass, field, replace
from math import inf
from typing import Literal, final

import torch
from torch import Tensor

import mdm_sampling as mdm

ETA = 0.1


@final
@dataclass(frozen=True)
class ReMDM(mdm.PositionPlanner):
    """Mask each position filled in this block again with probability sigma, and let another planner fill as many more.

    The other planner is asked for the quota and as many positions as were reopened, so that the number of filled
    positions keeps to the schedule. A schedule cannot ask for less than one position a step; so in a row that has more
    steps left than masked positions, is asked for one position and has filled more than an even pace over its steps,
    reopened positions come out of the quota instead. That is how `steps` beyond the number of positions become time to
    reconsider.

    Nothing is reopened at a row's last step of a block, nor in rows that a wrapper decided.

    Around Info-Gain, and any planner that looks ahead, two things follow from reopening in the same step: the moves are
    weighed as if nothing were reopened, and the prediction behind the winner is not that of the next step's canvas, so
    that a step which reopens costs one forward more.

    Args:
        eta: how much is reopened, in [0, 1]: the largest probability ("cap"), or the part of the largest possible one
            ("rescale"). At 0 the other planner is left to itself.
        strategy: "cap": sigma = min(eta, sigma_max). "rescale": sigma = eta sigma_max. "conf": sigma of a position is
            sigma_max times the softmax, over the positions that may be reopened, of minus the confidence that it was
            filled with; it has no eta.
        otherwise: chooses the positions to fill.
    """

    eta: float = ETA
    strategy: Literal["cap", "rescale", "conf"] = "cap"
    otherwise: mdm.PositionPlanner = field(default_factory=mdm.Confidence)

    def __post_init__(self) -> None:
        mdm.check_fields(self, "remdm")
        if not 0 <= self.eta <= 1:
            raise mdm.SpecError(f"remdm: eta must be in [0, 1], got {self.eta}")
        if self.strategy == "conf" and self.eta != ETA:
            raise mdm.SpecError("remdm: eta would be ignored by strategy=conf, which reopens by confidence alone")

    @property
    def needs(self) -> mdm.Needs:
        return super().needs | mdm.Needs(remasking=True)

    def plan(self, step: mdm.Step) -> mdm.Plan:
        due = self._due(step)
        reopenable = step.reopenable & (step.quota > 0).unsqueeze(-1)
        reopen = reopenable & (step.noise.uniform(1)[0] < self._sigma(step, reopenable, due))
        rest = step.asking(torch.maximum(step.quota, due + reopen.sum(-1)))
        plan = self.otherwise.plan(replace(rest, reopenable=reopenable & ~reopen))  # for one that reopens as well
        return replace(plan, remask=reopen if plan.remask is None else reopen | plan.remask)

    def _due(self, step: mdm.Step) -> Tensor:
        """By how many positions each row should have more filled after this step, int64 [b]."""
        filled, masked = (step.filled.at >= 0).sum(-1), step.prediction.masked.sum(-1)
        has_time = step.steps - step.taken > masked
        is_ahead = filled * step.steps >= (filled + masked) * (step.taken + 1)
        return torch.where(has_time & is_ahead & (step.quota == 1), 0, step.quota)

    def _sigma(self, step: mdm.Step, reopenable: Tensor, due: Tensor) -> Tensor:
        """The probability with which each position is reopened, float64 [b l]; of use where it is reopenable."""
        filled = (step.filled.at >= 0).sum(-1)
        # What stays masked after this step is 1 - alpha(s) of the positions; those that a wrapper fills now do not.
        left = step.open.sum(-1) - due
        largest = (left.clamp(min=0).double() / filled.clamp(min=1)).clamp(max=1).unsqueeze(-1)
        if self.strategy == "cap":
            return largest.clamp(max=self.eta).expand(step.masked.shape)
        if self.strategy == "rescale":
            return (self.eta * largest).expand(step.masked.shape)
        doubt = -step.filled.confidence.double()
        # A row in which nothing may be reopened has no softmax.
        return doubt.masked_fill(~reopenable, -inf).softmax(-1).nan_to_num(nan=0.0) * largest


@mdm.hookimpl
def register_planners(register: mdm.Register) -> None:
    register("remdm", ReMDM)
