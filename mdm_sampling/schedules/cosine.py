"""Cosine schedule: masked fraction cos(pi r / 2) at progress r: few positions first, more later.

MaskGIT (arXiv:2202.04200), section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import TYPE_CHECKING, final

from ..interfaces import Schedule
from ..lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


@final
@dataclass(frozen=True)
class Cosine(Schedule):
    """Let the masked fraction fall as a quarter cosine: few positions first, more later."""

    def quota(self, masked: Tensor, step: int, steps: Tensor) -> Tensor:
        now = torch.cos(pi / 2 * (step / steps.double()).clamp(max=1))
        after = torch.cos(pi / 2 * ((step + 1) / steps.double()).clamp(max=1))
        # One unit in the last position must not decide, since it differs between devices.
        return masked - (masked * (after / now) + 1e-9).floor().long()
