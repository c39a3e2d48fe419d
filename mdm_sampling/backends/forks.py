"""Attention of forks: candidates attend to their row's slots, which they share, and to their own span.

Softmax over two sets of keys is a mean of the softmaxes over each, weighted by their sums of exponentials. So the
shared slots are attended to once a row, with its candidates folded into the query axis, and nothing is copied for a
candidate; its own span is attended to apart, and the parts are merged by their log-sum-exp.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from ..canvas import Canvas, Span
from .attention import wrap_attention
from .visibility import AttentionBlocks, bias_of, visible_positions

if TYPE_CHECKING:
    from .slots import TransformerSlots

Part = tuple[Tensor, Tensor]


@final
class Fork:
    """One forward of n candidates over a span, of which candidate i reads the slots of row `rows[i]`.

    Args:
        slots: keys and values [b h t d] of each layer; never written.
        canvas: the candidates' canvas, [n t].
        span: the positions that are computed; the slots of all other positions are shared.
        rows: int64 [n].
        blocks: of attention, see `visible_positions`.
    """

    def __init__(
        self, slots: TransformerSlots, canvas: Canvas, span: Span, rows: Tensor, blocks: AttentionBlocks | None = None
    ) -> None:
        self.slots = slots
        self.span = span
        self.rows = rows
        self.batch, self.most = slots.keys[0].shape[0], len(rows)
        self.shared = [
            part for part in (slice(0, span.start), slice(span.stop, canvas.length)) if part.start < part.stop
        ]
        if self.batch > 1:
            self._rank_candidates()
        self.visible = self._visible_parts(visible_positions(canvas, span, blocks))
        self.biases: dict[Any, list[Tensor | None]] = {}

    def _rank_candidates(self) -> None:
        """Number the candidates of each row from 0."""
        counts = torch.bincount(self.rows, minlength=self.batch)
        self.most = int(counts.max())
        order = self.rows.argsort(stable=True)
        starts = counts.cumsum(0) - counts
        self.rank = torch.empty_like(self.rows)
        self.rank[order] = torch.arange(len(self.rows), device=self.rows.device) - starts[self.rows[order]]

    def _visible_parts(self, visible: Tensor | None) -> list[Tensor | None]:
        """What the queries see of the own span, [n q l], and of each shared part, [b q' keys], from all: [n q t].

        The queries of a row's candidates stand one after the other, and all candidates of a row see the same.
        """
        if visible is None:
            return [None] * (1 + len(self.shared))
        by_row = visible.new_ones(self.batch, *visible.shape[1:])  # rows without a candidate are read by nobody
        by_row[self.rows] = visible
        if visible.shape[1] > 1:
            by_row = by_row.repeat(1, self.most, 1)
        return [visible[..., self.span.positions], *(by_row[..., part] for part in self.shared)]

    def attend(self, query: Tensor, key: Tensor, value: Tensor, layer: int, scale: float) -> Tensor:
        """Attention of the candidates' span to all valid positions: query [n h l d], own key and value [n h' l d].

        Returns [n l h d].
        """
        keys, values = self.slots.keys[layer], self.slots.values[layer]
        kv_heads = key.shape[1]
        own_bias, *shared_biases = self._biases(query, query.shape[1] // kv_heads)
        parts = [_unfolded(attend_with_lse(_folded(query, kv_heads), key, value, own_bias, scale), query.shape)]
        together = self._by_row(query)
        for positions, bias in zip(self.shared, shared_biases, strict=True):
            part = attend_with_lse(
                _folded(together, kv_heads), keys[:, :, positions], values[:, :, positions], bias, scale
            )
            parts.append(self._by_candidate(_unfolded(part, together.shape), query.shape[2]))
        return merged(parts).to(query.dtype).transpose(1, 2)

    def _by_row(self, query: Tensor) -> Tensor:
        """[n h l d] -> [b h (most l) d]: a row's candidates one after the other, zeros where it has fewer."""
        n, heads, positions, width = query.shape
        if self.batch == 1:
            return query.transpose(0, 1).reshape(1, heads, n * positions, width)
        grid = query.new_zeros(self.batch, heads, self.most, positions, width)
        rows, rank = self.rows.to(query.device), self.rank.to(query.device)
        grid[rows, :, rank] = query
        return grid.flatten(2, 3)

    def _by_candidate(self, part: Part, positions: int) -> Part:
        """The way back: [b h (most l) d] and [b h (most l)] -> [n h l d] and [n h l]."""
        grid = [x.reshape(*x.shape[:2], -1, positions, *x.shape[3:]) for x in part]
        if self.batch == 1:
            return grid[0][0].transpose(0, 1), grid[1][0].transpose(0, 1)
        rows, rank = self.rows.to(part[0].device), self.rank.to(part[0].device)
        return grid[0][rows, :, rank], grid[1][rows, :, rank]

    def _biases(self, query: Tensor, folds: int) -> list[Tensor | None]:
        """What hides positions: for the own span and for each shared part, [rows 1 queries keys] or None. Made once."""
        key = (query.device, query.dtype)
        if key not in self.biases:
            self.biases[key] = [
                None if visible is None else _repeated(bias_of(visible.to(query.device), query.dtype), folds)
                for visible in self.visible
            ]
        return self.biases[key]


def _repeated(bias: Tensor, folds: int) -> Tensor:
    """A bias for queries of which `folds` heads stand one after the other; one for all queries fits as it is."""
    return bias if bias.shape[2] == 1 else bias.repeat(1, 1, folds, 1)


def attend_with_lse(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float) -> Part:
    """Attention [n h q d] and the log-sum-exp of its scores [n h q], by torch's own kernel where there is one."""
    if query.device.type == "cpu":
        return flash_on_cpu(query, key, value, bias, scale)
    return plain_attention(query, key, value, bias, scale)


def flash_on_cpu(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float) -> Part:
    found: Part = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, 0.0, False, attn_mask=bias, scale=scale
    )
    return found


def plain_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float) -> Part:
    """The same by its definition; scores and sums at least in float32: half precision would round or overflow."""
    dtype = torch.promote_types(query.dtype, torch.float32)
    scores = (query.to(dtype) * scale) @ key.to(dtype).transpose(-1, -2)
    if bias is not None:
        scores = scores.add_(bias)
    lse = scores.logsumexp(-1)
    return scores.sub_(lse.unsqueeze(-1)).exp_().to(value.dtype) @ value, lse


def merged(parts: list[Part]) -> Tensor:
    """Attention over all keys from attention over parts of them: [n h l d]."""
    if len(parts) == 1:
        return parts[0][0]
    lse = torch.stack([part[1] for part in parts])
    weights = (lse - lse.logsumexp(0)).exp().unsqueeze(-1)
    total = parts[0][0] * weights[0]
    for (output, _), weight in zip(parts[1:], weights[1:], strict=True):
        total = torch.addcmul(total, output.to(total.dtype), weight.to(total.dtype))
    return total


def _folded(query: Tensor, kv_heads: int) -> Tensor:
    """[n h q d] -> [n h' (h/h' q) d]: query heads that read the same keys join the query axis."""
    n, heads, positions, width = query.shape
    return query.reshape(n, kv_heads, heads // kv_heads * positions, width)


def _unfolded(part: Part, shape: torch.Size) -> Part:
    return part[0].reshape(shape), part[1].reshape(shape[:-1])


def share_slots(model: Any) -> None:
    """Let the attention of a transformers model take forks; all other forwards are left as they are."""
    wrap_attention(model, "shared-slots", _attend)


def _attend(
    attend: Callable[..., Any],
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    scaling: float,
    fork: Fork | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Any]:
    if fork is None:
        found: tuple[Tensor, Any] = attend(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
        return found
    # LLaDA rotates in float32.
    return fork.attend(query.to(value.dtype), key.to(value.dtype), value, module.layer_idx, scaling), None
