"""Refresh: bound how stale another strategy's keys and values may become."""

from dataclasses import dataclass, field
from typing import final

from ..errors import require
from ..interfaces import CacheStrategy
from ..kinds import check_fields
from ..records import Span
from .dual import DualCache


@final
@dataclass(frozen=True)
class Refresh(CacheStrategy):
    """Recompute everything every `every` steps of a block, and follow another strategy in between."""

    otherwise: CacheStrategy = field(default_factory=DualCache)
    every: int = 4

    def __post_init__(self) -> None:
        check_fields(self, "refresh")
        require(self.every >= 1, f"refresh: every must be at least 1, got {self.every}")

    @property
    def reads_slots(self) -> bool:
        return self.otherwise.reads_slots

    def span(self, block: Span, length: int, step: int) -> Span:
        return self.otherwise.span(block, length, step % self.every)
