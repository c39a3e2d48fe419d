"""Penalise: lower the logits of some tokens by a constant, once for each id, however often it is listed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from ..errors import require
from ..interfaces import ModelBackend, Processor
from ..kinds import check_fields

if TYPE_CHECKING:
    from torch import Tensor

LARGEST = 1e4
"""Beyond this a penalty is a ban, and in float32 it would drown the logits."""


@final
@dataclass(frozen=True)
class Penalise(Processor):
    """Lower the logits of some tokens by a constant.

    Args:
        ids: token ids; empty for the model's end tokens.
        by: how much to subtract; the authors of Info-Gain lower end tokens by 4.
    """

    ids: tuple[int, ...] = ()
    by: float = 4.0

    def __post_init__(self) -> None:
        check_fields(self, "penalise")
        require(abs(self.by) <= LARGEST, f"penalise: by must be at most {LARGEST:g}, got {self.by}; ban forbids tokens")

    def build(self, backend: ModelBackend) -> Callable[[Tensor, Tensor], Tensor]:
        from transformers import SequenceBiasLogitsProcessor

        from .ids import checked_ids

        bias = {(token,): -float(self.by) for token in checked_ids("penalise", self.ids, backend)}
        processor: Callable[[Tensor, Tensor], Tensor] = SequenceBiasLogitsProcessor(bias)
        return processor
