"""Cache strategies: which span a forward recomputes. What lies outside is read as it was last written.

The prefix and the dual cache are those of Fast-dLLM (arXiv:2505.22618), section 3.2.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from .canvas import Span
from .errors import require
from .kinds import check_fields

if TYPE_CHECKING:
    pass


class CacheStrategy(ABC):
    """Chooses which positions a forward recomputes. Keys and values of all others are read as they were last
    written.
    """

    @property
    def reads_slots(self) -> bool:
        """Whether a later forward may read what an earlier one wrote. If not, each span must be the whole canvas."""
        return True

    @abstractmethod
    def span(self, block: Span, length: int, step: int) -> Span:
        """The positions to recompute.

        Args:
            block: the block that is being filled; the span must cover it.
            length: t, the canvas has positions [0, t).
            step: forwards done since the block was entered. At 0 the span must be the whole canvas.
        """


@final
@dataclass(frozen=True)
class NoCache(CacheStrategy):
    """Recompute the whole canvas at every step. This is exact, and the slowest."""

    @property
    def reads_slots(self) -> bool:
        return False

    def span(self, block: Span, length: int, step: int) -> Span:
        return Span(0, length)


@final
@dataclass(frozen=True)
class PrefixCache(CacheStrategy):
    """Recompute everything at a block's first step, then from the block's start to the end of the canvas."""

    def span(self, block: Span, length: int, step: int) -> Span:
        return Span(0 if step == 0 else block.start, length)


@final
@dataclass(frozen=True)
class DualCache(CacheStrategy):
    """Recompute everything at a block's first step, then only the block."""

    def span(self, block: Span, length: int, step: int) -> Span:
        return Span(0, length) if step == 0 else block


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
