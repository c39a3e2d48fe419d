"""Any model in memory: a callable from tokens to logits, with a mask id."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor

from ..errors import ModelError, PredictionError
from ..interfaces import ModelBackend, Slots
from ..records import Canvas, Span
from .text import TextCodec, check_ids


class NoSlots(Slots):
    """A callable keeps nothing between calls."""

    def select(self, rows: Tensor) -> Slots:
        return self


@final
class CallableBackend(ModelBackend):
    """Wraps `model(tokens [b t]) -> logits [b t v]`, or an object with `.logits`; row i predicts place i.

    A callable sees whole canvases only, so every cache strategy gives the result of no cache, at its price. Rows of
    different lengths need a callable that takes `attention_mask`, bool [b t], as a keyword.

    Args:
        model: a callable, or an nn.Module, which is switched to evaluation mode.
        mask_id: id of the mask token.
        vocab_size: v.
        pad_id: id for padding, any but the mask id.
        eos_ids: ids that end a text.
        tokenizer: a transformers tokenizer, for text in and out.
        max_length: longest canvas the model takes.
        takes_attention_mask: pass `attention_mask=` to the model.
        device: where canvases live; None for the device of the module's first parameter, else the CPU.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        mask_id: int,
        vocab_size: int,
        *,
        pad_id: int | None = None,
        eos_ids: tuple[int, ...] = (),
        tokenizer: Any = None,
        max_length: int | None = None,
        takes_attention_mask: bool = False,
        device: torch.device | str | None = None,
    ) -> None:
        check_ids(mask_id, eos_ids, vocab_size)
        self.model = model.eval() if isinstance(model, torch.nn.Module) else model
        self.mask_id = mask_id
        self.vocab_size = vocab_size
        self.eos_ids = eos_ids
        self.pad_id = pad_id if pad_id is not None else next(i for i in (*eos_ids, 0, 1) if i != mask_id)
        self.max_length = max_length
        self.takes_attention_mask = takes_attention_mask
        self.device = _device_of(model) if device is None else torch.device(device)
        self.codec = None if tokenizer is None else TextCodec(tokenizer, mask_id, eos_ids)
        self.source = None

    def trunk(self, canvas: Canvas, span: Span, slots: Slots | None, rows: Tensor | None = None) -> Tensor:
        if canvas.padded and not self.takes_attention_mask:
            raise ModelError(
                "rows of different lengths need a model that takes attention_mask: wrap it with "
                "takes_attention_mask=True, or sample the rows one by one"
            )
        output = (
            self.model(canvas.tokens, attention_mask=canvas.valid)
            if self.takes_attention_mask
            else self.model(canvas.tokens)
        )
        logits = getattr(output, "logits", output)
        if not isinstance(logits, Tensor) or logits.shape != (*canvas.tokens.shape, self.vocab_size):
            got = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise PredictionError(
                f"the model must return logits of shape {[*canvas.tokens.shape, self.vocab_size]}, got {got}"
            )
        return logits[:, span.places]

    def head(self, hidden: Tensor) -> Tensor:
        return hidden

    def allocate(self) -> Slots:
        return NoSlots()

    def places_computed(self, span: Span, length: int) -> int:
        return length


def _device_of(model: Callable[..., Any]) -> torch.device:
    parameters = model.parameters() if isinstance(model, torch.nn.Module) else iter(())
    return next((parameter.device for parameter in parameters), torch.device("cpu"))


wrap = CallableBackend
