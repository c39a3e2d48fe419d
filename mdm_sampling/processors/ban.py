"""Ban: some tokens are never predicted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from ..interfaces import ModelBackend, Processor
from ..kinds import check_fields

if TYPE_CHECKING:
    from torch import Tensor


@final
@dataclass(frozen=True)
class Ban(Processor):
    """Never predict some tokens.

    Args:
        ids: token ids; empty for the model's end tokens.
    """

    ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self, "ban")

    def build(self, backend: ModelBackend) -> Callable[[Tensor, Tensor], Tensor]:
        from transformers import SuppressTokensLogitsProcessor

        from .ids import checked_ids

        banned = checked_ids("ban", self.ids, backend)
        processor: Callable[[Tensor, Tensor], Tensor] = SuppressTokensLogitsProcessor(banned, device=backend.device)
        return processor
