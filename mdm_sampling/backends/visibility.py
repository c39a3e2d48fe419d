"""Which positions a position attends to: all that are not padding, or, if attention is block-causal, those up to its
block.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..canvas import Canvas, Span


def positions_of(canvas: Canvas) -> Tensor:
    """Each position's number in its row, padding not counted, int64 [b t]; padding gets a neighbour's."""
    return (canvas.valid.cumsum(1) - 1).clamp(min=0)


def visible_positions(canvas: Canvas, span: Span, attention_block: int | None) -> Tensor | None:
    """What the positions of `span` attend to: bool [b 1 t] if it is the same for all of them, else [b l t]; None for
    all.

    Args:
        attention_block: None for full attention. Otherwise a position sees its own attention block of so many
            positions, counted from the row's first token, and those before it.
    """
    if attention_block is None:
        return canvas.valid[:, None] if canvas.padded else None
    blocks = positions_of(canvas) // attention_block
    return (blocks[:, span.positions, None] >= blocks[:, None]) & canvas.valid[:, None]


def bias_of(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """What attention adds to its scores, [b 1 q t], from what is visible, [b q t].

    0 where visible, else so low that it weighs nothing, yet finite: a position may see nothing at all in a part.
    """
    bias = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return bias.masked_fill(~visible, torch.finfo(dtype).min / 2)[:, None]
