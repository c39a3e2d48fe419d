"""Constant schedule: as many positions at every step, however many steps that takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from ..errors import require
from ..interfaces import Schedule
from ..kinds import check_fields
from ..lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


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

    def quota(self, masked: Tensor, step: int, steps: Tensor) -> Tensor:
        return torch.full_like(masked, self.positions)
