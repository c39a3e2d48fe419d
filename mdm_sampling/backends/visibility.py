"""Which positions a position attends to: all that are not padding, or, if attention is block-causal, those up to its
block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..canvas import Canvas, Span
from ..errors import ModelError
from ..fields import is_whole


@dataclass(frozen=True)
class AttentionBlocks:
    """Block-causal attention: a position sees its own attention block and those before it.

    Args:
        length: positions of a block.
        counted_from: the "row"'s first token, or the end of the "prompt". The prompt's first block is then the short
            one.
    """

    length: int
    counted_from: Literal["row", "prompt"] = "row"

    def __post_init__(self) -> None:
        if not is_whole(self.length) or self.length < 1:
            raise ModelError(f"attention_block must be at least 1, got {self.length!r:.60}")
        if self.counted_from not in ("row", "prompt"):
            raise ModelError(f"attention_block: counted_from must be row or prompt, got {self.counted_from!r:.60}")

    def __str__(self) -> str:
        counted = "a row's first token" if self.counted_from == "row" else "the prompt's end"
        return f"blocks of {self.length}, counted from {counted}"

    def head_of_body(self, prefix: int) -> int:
        """How many tokens of a prefix of this length share an attention block with what comes after it."""
        return prefix % self.length if self.counted_from == "row" else 0

    def end_with_blocks(self, canvas: Canvas, block_size: int) -> bool:
        """Whether all blocks of so many positions, counted from the bodies' start, end where attention blocks do."""
        if block_size % self.length:
            return False
        prefixes = canvas.valid[:, : canvas.start].sum(1)
        return self.counted_from == "prompt" or not bool((prefixes % self.length).any())

    def numbers(self, canvas: Canvas) -> Tensor:
        """Each position's block, int64 [b t]; they rise from left to right."""
        if self.counted_from == "row":
            return positions_of(canvas) // self.length
        columns = torch.arange(canvas.length, device=canvas.tokens.device) - canvas.start
        return (columns // self.length).expand(canvas.batch, -1)


def positions_of(canvas: Canvas) -> Tensor:
    """Each position's number in its row, padding not counted, int64 [b t]; padding gets a neighbour's."""
    return (canvas.valid.cumsum(1) - 1).clamp(min=0)


def visible_positions(canvas: Canvas, span: Span, blocks: AttentionBlocks | None) -> Tensor | None:
    """What the positions of `span` attend to: bool [b 1 t] if it is the same for all of them, else [b l t]; None for
    all.

    Args:
        blocks: None for full attention.
    """
    if blocks is None:
        return canvas.valid[:, None] if canvas.padded else None
    numbers = blocks.numbers(canvas)
    return (numbers[:, span.positions, None] >= numbers[:, None]) & canvas.valid[:, None]


def bias_of(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """What attention adds to its scores, [b 1 q t], from what is visible, [b q t].

    0 where visible, else so low that it weighs nothing, yet finite: a position may see nothing at all in a part.
    """
    bias = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return bias.masked_fill(~visible, torch.finfo(dtype).min / 2)[:, None]
