"""Schedules: how many positions a step fills.

`uniform` is LLaDA's, `linear` Dream's, `cosine` that of MaskGIT (arXiv:2202.04200), section 3.2.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import pi
from typing import TYPE_CHECKING, final

from .errors import require
from .kinds import check_fields
from .lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


class Schedule(ABC):
    """Decides how many positions a step fills."""

    @abstractmethod
    def quota(self, masked: Tensor, step: Tensor, steps: Tensor) -> Tensor:
        """Positions to fill now. The loop keeps the answer between 1 and `masked`, and fills the rest at the last step.

        Args:
            masked: positions of the block that are still masked in each row, int64 [b].
            step: steps that each row has taken in this block, int64 [b].
            steps: steps that each row may take in this block, int64 [b].

        Returns:
            int64 [b].
        """


@final
@dataclass(frozen=True)
class Uniform(Schedule):
    """Share the masked positions evenly over the steps left, rounding up."""

    def quota(self, masked: Tensor, step: Tensor, steps: Tensor) -> Tensor:
        left = (steps - step).clamp(min=1)
        return (masked + left - 1) // left


@final
@dataclass(frozen=True)
class Linear(Schedule):
    """Let the masked fraction fall linearly, rounding down."""

    def quota(self, masked: Tensor, step: Tensor, steps: Tensor) -> Tensor:
        return masked // (steps - step).clamp(min=1)


@final
@dataclass(frozen=True)
class Cosine(Schedule):
    """Let the masked fraction fall as a quarter cosine: few positions first, more later."""

    def quota(self, masked: Tensor, step: Tensor, steps: Tensor) -> Tensor:
        now = torch.cos(pi / 2 * (step / steps.double()).clamp(max=1))
        after = torch.cos(pi / 2 * ((step + 1) / steps.double()).clamp(max=1))
        # One unit in the last place must not decide, since it differs between devices.
        return masked - (masked * (after / now) + 1e-9).floor().long()


@final
@dataclass(frozen=True)
class Constant(Schedule):
    """Fill `positions` positions a step. The sampler's `steps` must leave room for it: a block's last step fills the
    rest.
    """

    positions: int = 1

    def __post_init__(self) -> None:
        check_fields(self, "constant")
        require(self.positions >= 1, f"constant: positions must be at least 1, got {self.positions}")

    def quota(self, masked: Tensor, step: Tensor, steps: Tensor) -> Tensor:
        return torch.full_like(masked, self.positions)
