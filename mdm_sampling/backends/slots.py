"""Keys and values in slots, one for each position of the canvas, behind transformers' `Cache` interface.

A forward over a span overwrites the span's slots and attends to all slots (a cache strategy is a choice of span). A
fork reads the slots of the row it came from, with its own keys and values in place of its span, and writes
nothing: see `forks` for how it shares the slots; `CopyingCache` is the plain way, which copies them.
"""

from __future__ import annotations

from inspect import signature
from typing import Any, final

from torch import Tensor
from transformers import Cache

from ..canvas import Span
from .base import Slots


@final
class TransformerSlots(Slots):
    """Keys and values [b h t d] of each layer, filled by the first forward, which sees the whole canvas.

    Selecting rows empties the slots that they are taken from, so that a layer is held once.
    """

    def __init__(self) -> None:
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def select(self, rows: Tensor) -> TransformerSlots:
        chosen = TransformerSlots()
        # Layer by layer, each of the old ones going as the new one comes, so that there never are two of all.
        for old, new in ((self.keys, chosen.keys), (self.values, chosen.values)):
            old.reverse()
            while old:
                new.append(old[-1][rows.to(old[-1].device)])
                old.pop()
        return chosen

    def copied(self, rows: Tensor) -> TransformerSlots:
        chosen = TransformerSlots()
        chosen.keys = [key[rows.to(key.device)] for key in self.keys]
        chosen.values = [value[rows.to(value.device)] for value in self.values]
        return chosen


def cache_argument(model: Any) -> str:
    """What this version of transformers calls the cache among the arguments of a model's forward.

    Versions from 5.24 on say `cache`, and announce that `past_key_values` goes away in 5.40.
    """
    return "cache" if "cache" in signature(type(model).forward).parameters else "past_key_values"


def _grown(slots: Tensor, length: int) -> Tensor:
    """Slots for `length` positions, the first of them as they were: [b h t d] -> [b h length d]."""
    grown = slots.new_empty(*slots.shape[:2], length, slots.shape[3])
    grown[:, :, : slots.shape[2]] = slots
    return grown


class _SlotCache(Cache):  # type: ignore[misc]
    """What one forward over `span` of a canvas of `length` positions sees as its cache."""

    def __init__(self, slots: TransformerSlots, span: Span, length: int) -> None:
        super().__init__(layers=[])
        self.slots = slots
        self.span = span
        self.length = length

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.span.start

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        return self.length, 0


@final
class WritingCache(_SlotCache):
    """A forward that writes its span into the slots."""

    def update(
        self, key: Tensor, value: Tensor, layer_idx: int, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        keys, values = self.slots.keys, self.slots.values
        key = key.to(value.dtype)  # LLaDA rotates in float32
        if len(self.span) == self.length:
            # The whole canvas: keep what was computed instead of copying it.
            if layer_idx == len(keys):
                keys.append(key)
                values.append(value)
            keys[layer_idx], values[layer_idx] = key, value
        else:
            if keys[layer_idx].shape[2] < self.length:  # a block is reached
                keys[layer_idx] = _grown(keys[layer_idx], self.length)
                values[layer_idx] = _grown(values[layer_idx], self.length)
            keys[layer_idx][:, :, self.span.positions] = key
            values[layer_idx][:, :, self.span.positions] = value
        return keys[layer_idx], values[layer_idx]


@final
class OwnCache(_SlotCache):
    """A forward of candidates whose attention reads the slots by itself: each layer gets its own span's keys."""

    def update(
        self, key: Tensor, value: Tensor, layer_idx: int, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        return key, value


@final
class CopyingCache(_SlotCache):
    """A forward of candidates: candidate i gets a copy of the slots of row `rows[i]`, int64 [n], layer by layer."""

    def __init__(self, slots: TransformerSlots, span: Span, length: int, rows: Tensor) -> None:
        super().__init__(slots, span, length)
        self.rows = rows

    def update(
        self, key: Tensor, value: Tensor, layer_idx: int, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        keys = self._with_own(self.slots.keys[layer_idx], key.to(value.dtype))
        return keys, self._with_own(self.slots.values[layer_idx], value)

    def _with_own(self, shared: Tensor, own: Tensor) -> Tensor:
        copied = shared[self.rows.to(shared.device)]
        copied[:, :, self.span.positions] = own
        return copied
