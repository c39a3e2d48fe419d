"""Prefix cache: what lies before the block is computed once, on entering it.

Fast-dLLM (arXiv:2505.22618), section 3.2.
"""

from dataclasses import dataclass
from typing import final

from ..interfaces import CacheStrategy
from ..records import Span


@final
@dataclass(frozen=True)
class PrefixCache(CacheStrategy):
    """Recompute everything on entering a block, then from the block's start to the end of the canvas."""

    def span(self, block: Span, length: int, step: int) -> Span:
        return Span(0 if step == 0 else block.start, length)
