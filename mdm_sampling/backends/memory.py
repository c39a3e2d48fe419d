"""Any model in memory: a callable from tokens to logits, with a mask id."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor

from ..canvas import Canvas, Span
from ..errors import ModelError, PredictionError
from ..fields import is_whole
from .base import ModelBackend, Slots
from .devices import check_device
from .evaluation_mode import module_of
from .text import TextCodec, check_ids, ids_without_token


class _NoSlots(Slots):
    """A callable keeps nothing between calls."""

    def select(self, rows: Tensor) -> Slots:
        return self


@final
class CallableBackend(ModelBackend):
    """Wraps `model(tokens [b t]) -> logits [b t v]`, or an object with `.logits`; row i predicts position i.

    A callable sees whole canvases only, so every cache strategy gives the result of no cache, at its price. Rows of
    different lengths need a callable that takes `attention_mask`, bool [b t], as a keyword.

    Args:
        model: a callable, such as an nn.Module, which is in evaluation mode while a run lasts. It gets a copy of the
            tokens.
        mask_id: id of the mask token.
        vocab_size: v.
        pad_id: id for padding, any but the mask id.
        eos_ids: ids that end a text.
        tokenizer: a transformers tokenizer, for text in and out.
        max_length: longest canvas the model takes.
        takes_attention_mask: pass `attention_mask=` to the model.
        device: where canvases live; None for the device of the module's first parameter, else the CPU.

    Raises `ModelError` for a model or an id that is none, at once; `PredictionError` for logits that are none.
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
        if not callable(model):
            raise ModelError(f"wrap takes a callable from tokens to logits, got {model!r:.60}")
        check_ids(mask_id, eos_ids, vocab_size)
        if pad_id is not None and (not is_whole(pad_id) or not 0 <= pad_id < vocab_size or pad_id == mask_id):
            raise ModelError(f"pad_id is {pad_id!r:.60}, expected a token other than the mask")
        if max_length is not None and (not is_whole(max_length) or max_length < 1):
            raise ModelError(f"max_length is {max_length!r:.60}, expected a whole number above 0")
        if not isinstance(takes_attention_mask, bool):
            raise ModelError(f"takes_attention_mask is {takes_attention_mask!r:.60}, expected True or False")
        self.model = model
        self.module = module_of(model)
        self.mask_id = mask_id
        self.vocab_size = vocab_size
        self.eos_ids = tuple(eos_ids)
        self.pad_id = pad_id if pad_id is not None else next(i for i in (*eos_ids, 0, 1) if i != mask_id)
        self.max_length = max_length
        self.takes_attention_mask = takes_attention_mask
        self.device = _device_of(self.module, device)
        self.codec = None if tokenizer is None else TextCodec(tokenizer, mask_id, self.eos_ids)
        self.unused_ids = ids_without_token(tokenizer, vocab_size, self.eos_ids)
        self.source = None

    def trunk(self, canvas: Canvas, span: Span, slots: Slots | None, rows: Tensor | None = None) -> Tensor:
        if canvas.padded and not self.takes_attention_mask:
            raise ModelError(
                "rows of different lengths need a model that takes attention_mask: wrap it with "
                "takes_attention_mask=True, or sample the rows one by one"
            )
        tokens = canvas.tokens.clone()  # a model that writes into its input must not change the canvas
        output = (
            self.model(tokens, attention_mask=canvas.valid.clone()) if self.takes_attention_mask else self.model(tokens)
        )
        logits = getattr(output, "logits", output)
        if not isinstance(logits, Tensor) or logits.shape != (*canvas.tokens.shape, self.vocab_size):
            got = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise PredictionError(
                f"the model must return logits of shape {[*canvas.tokens.shape, self.vocab_size]}, got {got}"
            )
        if not _is_plain(logits):
            raise PredictionError(
                f"the model must return logits as an ordinary tensor of real numbers, got {logits.dtype} "
                f"({logits.layout}, on {logits.device})"
            )
        return logits[:, span.positions]

    def head(self, hidden: Tensor) -> Tensor:
        return hidden

    def allocate(self) -> Slots:
        return _NoSlots()

    def positions_computed(self, span: Span, length: int) -> int:
        return length

    def fingerprint(self) -> str | None:
        # What a partial or a method adds to its module cannot be seen.
        return super().fingerprint() if self.model is self.module else None


def _is_plain(logits: Tensor) -> bool:
    """Whether a tensor holds numbers that can be compared and added: neither complex, sparse, of 8 bits nor on meta."""
    small = logits.is_floating_point() and logits.dtype.itemsize == 1
    return not (logits.is_complex() or logits.is_quantized or small or logits.layout != torch.strided or logits.is_meta)


def _device_of(module: torch.nn.Module | None, device: torch.device | str | None) -> torch.device:
    """The device that was named, else that of the module's first parameter, else the CPU."""
    own = torch.device("cpu") if module is None else next((each.device for each in module.parameters()), None)
    if own is not None and own.type == "meta":
        raise ModelError("the model's weights lie on the device 'meta', which holds no numbers; load them first")
    if device is None:
        return own or torch.device("cpu")
    check_device(str(device))
    return torch.device(device)


wrap = CallableBackend
