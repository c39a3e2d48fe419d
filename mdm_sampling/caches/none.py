"""No cache: every forward recomputes the whole canvas."""

from dataclasses import dataclass
from typing import final

from ..interfaces import CacheStrategy
from ..records import Span


@final
@dataclass(frozen=True)
class NoCache(CacheStrategy):
    """Recompute the whole canvas at every step: exact, and the slowest."""

    @property
    def reads_slots(self) -> bool:
        return False

    def span(self, block: Span, length: int, step: int) -> Span:
        return Span(0, length)
