"""KLASS: fill what the model is sure of and has stopped changing its mind about (arXiv:2511.05664).

A position is stable if KL(p now || p before), between the distributions of consecutive steps, stayed below a threshold
in each of the last few comparisons. Positions that are stable and confident are filled at once, however many there are.

Where this differs from the published code: the divergence is exact (the code adds 1e-12 inside the logarithms); it is
compared within a block only, while the code goes on counting over the blocks; and a block's last step fills what is
left, while the code, when some position is ready at its last step, leaves the others masked.
"""

from dataclasses import dataclass
from math import inf
from typing import final

import torch
from torch import Tensor

import mdm_sampling as mdm


@final
@dataclass(frozen=True)
class KLASS(mdm.PositionPlanner):
    """Unmask every position that is confident and whose distribution is stable; where there is none, the most
    confident.

    A position is ready if its confidence is above `threshold` and KL(p now || p before) was below `kl_threshold` in
    each of the last `length` comparisons with the step before. Rows without a ready position fill the quota's number of
    most confident positions. At the last of the steps that a row may take in a block, all that is left is filled.

    Args:
        threshold: confidence that a ready position exceeds, in [0, 1).
        kl_threshold: divergence in nats that a stable position stays below, above 0.
        length: comparisons that must have been stable, at least 1. Nothing is ready in a block's first `length` steps.
    """

    threshold: float = 0.9
    kl_threshold: float = 0.01
    length: int = 2

    needs = mdm.Needs(history=1)

    def __post_init__(self) -> None:
        mdm.check_fields(self, "klass")
        if not 0 <= self.threshold < 1:
            raise mdm.SpecError(f"klass: threshold must be in [0, 1), got {self.threshold}")
        if not 0 < self.kl_threshold < inf:
            raise mdm.SpecError(f"klass: kl_threshold must be finite and above 0, got {self.kl_threshold}")
        if self.length < 1:
            raise mdm.SpecError(f"klass: length must be at least 1, got {self.length}")

    def plan(self, step: mdm.Step) -> mdm.Plan:
        stable = self._stable(step)
        ready = step.masked & (step.confidence > self.threshold) & (stable >= self.length)
        # At a row's last step the quota is all that is left.
        by_ready = ready.any(-1) & ~step.is_last
        surest = mdm.top_positions(step.confidence, step.masked, step.quota)
        return mdm.Plan(unmask=torch.where(by_ready.unsqueeze(-1), ready, surest), memory={"stable": stable})

    def _stable(self, step: mdm.Step) -> Tensor:
        """How many comparisons in a row, up to this step's, were stable at each position: int64 [b l].

        All positions that the model predicts are compared, those included that a wrapper keeps from being chosen now.
        """
        never = torch.zeros_like(step.masked, dtype=torch.long)
        if not step.history:
            return never
        before = step.memory.get("stable", never)
        return torch.where(divergence(step.prediction, step.history[0]) < self.kl_threshold, before + 1, never)


def divergence(now: mdm.Prediction, before: mdm.Prediction) -> Tensor:
    """KL(now || before) in nats at the positions that both predict, infinite elsewhere: float64 [b l].

    A chunk of positions at a time: the distributions of all positions never exist together.
    """
    both = now.masked & before.masked  # a position that was filled a step ago and reopened has no prediction to compare
    found = torch.full(both.shape, inf, dtype=torch.float64, device=both.device)
    chunks = zip(now.at(both).chunks(copies=4), before.at(both).chunks(copies=4), strict=True)
    for (positions, logits), (_, earlier) in chunks:
        log_p, log_q = logits.log_softmax(-1), earlier.log_softmax(-1)
        p = log_p.exp()
        # The mask and banned tokens are at -inf in both; what has no probability adds nothing.
        terms = (log_p.sub_(log_q)).mul_(p).masked_fill_(p == 0, 0)
        found[positions] = terms.sum(-1).to(found)
    return found


@mdm.hookimpl
def register_planners(register: mdm.Register) -> None:
    register("klass", KLASS)
