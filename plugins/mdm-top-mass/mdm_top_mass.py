"""Top mass: fill positions where a few tokens hold nearly all of the probability."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

import mdm_sampling as mdm


@final
@dataclass(frozen=True)
class TopMass(mdm.ScorePlanner):
    """Unmask where the k likeliest tokens hold the most probability."""

    k: int = 5

    def __post_init__(self) -> None:
        mdm.check_fields(self, "top-mass")
        if self.k < 1:
            raise mdm.SpecError(f"top-mass: k must be at least 1, got {self.k}")

    def score(self, step: mdm.Step) -> Tensor:
        score = torch.zeros_like(step.confidence)
        for positions, logits in step.prediction.chunks():
            best = logits.softmax(-1).topk(min(self.k, logits.shape[-1])).values
            score[positions] = best.sum(-1).to(score)
        return score


@mdm.hookimpl
def register_planners(register) -> None:  # type: ignore[no-untyped-def]
    register("top-mass", TopMass)
