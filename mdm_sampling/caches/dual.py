"""Dual cache: what lies before and after the block is computed once, on entering it.

Fast-dLLM (arXiv:2505.22618), section 3.2.
"""

from dataclasses import dataclass
from typing import final

from ..interfaces import CacheStrategy
from ..records import Span


@final
@dataclass(frozen=True)
class DualCache(CacheStrategy):
    """Recompute everything on entering a block, then the block alone."""

    def span(self, block: Span, length: int, step: int) -> Span:
        return Span(0, length) if step == 0 else block
