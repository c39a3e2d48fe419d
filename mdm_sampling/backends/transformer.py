"""A transformers decoder with bidirectional attention as a backend: spans, slots, padding and the right shift."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..canvas import Canvas, Span
from ..errors import ModelError
from .attention import is_flash
from .base import ModelBackend, Slots
from .files import first_sentence
from .forks import Fork, share_slots
from .options import ModelSource
from .slots import CopyingCache, OwnCache, TransformerSlots, WritingCache, cache_argument
from .text import TextCodec, check_ids, ids_without_token
from .visibility import AttentionBlocks, bias_of, positions_of, visible_positions


@final
class TransformerBackend(ModelBackend):
    """Runs a transformers causal-LM class with `config.is_causal = False` as a masked diffusion model.

    The model that it is given is adapted in place: an attention function that shares slots is put around its own, and
    its config names it. A forward without slots gives what it gave before. The model is in evaluation mode while a run
    lasts.

    Args:
        model: such as `LlamaForCausalLM`; its config must say `is_causal = False`.
        mask_id: id of the mask token.
        look_back: 0 if row i of the output predicts position i; 1 for a right-shifted model such as Dream, which
            predicts position i from the hidden state at i - 1 and the first position of a row from its own.
        attention_block: the `AttentionBlocks` of a block-causal model, such as SDAR, or their length; None for full
            attention.
        eos_ids: ids that end a text.
        tokenizer: a transformers tokenizer, or None.
        source: where the model came from, or None.
        closing: text of the token that stands behind each text with masks; None if there is none.
        head: turns hidden states [r d] into logits [r v]; None for the model's output embedding.
        text_size: the first id that is not text, such as an image's; it and those above are never predicted. None: all
            ids are text.
        shares_slots: whether the candidates of a lookahead share their row's slots; if not, each gets a copy, one
            layer at a time, and the model's own attention does the rest. None shares them where the model's attention
            can be wrapped, which that of flash attention cannot.
    """

    def __init__(
        self,
        model: Any,
        mask_id: int,
        *,
        look_back: int = 0,
        attention_block: AttentionBlocks | int | None = None,
        eos_ids: tuple[int, ...] = (),
        tokenizer: Any = None,
        source: ModelSource | None = None,
        closing: str | None = None,
        head: Callable[[Tensor], Tensor] | None = None,
        text_size: int | None = None,
        shares_slots: bool | None = None,
    ) -> None:
        _check_model(model, has_own_head=head is not None)
        if look_back not in (0, 1):
            raise ModelError(f"look_back must be 0 or 1, got {look_back!r:.60}")
        self.vocab_size = int(model.get_output_embeddings().weight.shape[0])
        check_ids(mask_id, eos_ids, self.vocab_size)
        self.model = self.module = model
        self.is_flash = is_flash(model)
        self._cache_argument = cache_argument(model.base_model)
        self.mask_id = mask_id
        self.look_back = look_back
        self.attention_blocks = _blocks(attention_block)
        self.eos_ids = eos_ids
        pad = getattr(tokenizer, "pad_token_id", None)
        self.pad_id = next(i for i in (pad, *eos_ids, 0, 1) if i is not None and i != mask_id)
        self.max_length = getattr(model.config, "max_position_embeddings", None)
        # Weights that are offloaded lie on `meta`; canvases go to the first that are not.
        self.device = next(p.device for p in model.parameters() if p.device.type != "meta")
        self.unused_ids = ids_without_token(tokenizer, self.vocab_size, eos_ids, text_size)
        self.codec = None if tokenizer is None else TextCodec(tokenizer, mask_id, eos_ids, closing=closing)
        self._head = head
        self.source = source
        self.shares_slots = not self.is_flash if shares_slots is None else shares_slots
        if self.shares_slots:
            share_slots(self.model)

    def trunk(self, canvas: Canvas, span: Span, slots: Slots | None, rows: Tensor | None = None) -> Tensor:
        fed = Span(max(span.start - self.look_back, 0), span.stop)
        whole = len(fed) == canvas.length
        if canvas.padded and not whole and self.is_flash:
            raise ModelError(
                "flash attention cannot leave out padding in a part of the canvas; use attn_implementation='sdpa', "
                "the cache 'none', or rows of one length"
            )
        positions = positions_of(canvas)[:, fed.positions]
        fork = None
        if self.shares_slots and rows is not None and not whole:
            fork = Fork(self._own(slots), canvas, fed, rows, self.attention_blocks)
        output = self.model.base_model(
            input_ids=canvas.tokens[:, fed.positions],
            attention_mask=self._mask(canvas, fed) if fork is None else None,
            position_ids=positions,
            use_cache=False,
            is_causal=False,
            **{self._cache_argument: self._cache(fed, canvas.length, slots, rows)},
            **({} if fork is None else {"fork": fork}),
        )
        hidden: Tensor = output.last_hidden_state
        return self._shifted(hidden, positions, fed, span) if self.look_back else hidden

    def _mask(self, canvas: Canvas, fed: Span) -> Tensor | None:
        """What hides positions from the forward over `fed`: a 2-D mask where padding alone does, else a bias."""
        if self.attention_blocks is None:
            return canvas.valid if canvas.padded else None
        if self.is_flash:
            raise ModelError("flash attention cannot be block-causal; use attn_implementation='sdpa'")
        visible = visible_positions(canvas, fed, self.attention_blocks)
        return None if visible is None else bias_of(visible, self.model.dtype)

    def head(self, hidden: Tensor) -> Tensor:
        logits: Tensor = (self._head or self.model.get_output_embeddings())(hidden)
        return logits

    @property
    def head_matrix(self) -> Tensor | None:
        """The head's weights where it is an ordinary layer on a CPU; a GPU is faster with one large product."""
        head: Any = self._head or self.model.get_output_embeddings()
        # A quantised layer is of another class, one that was offloaded has a hook of accelerate's, and one that
        # is split over processes does not have its weights in a plain tensor.
        ordinary = type(head) is torch.nn.Linear and head.bias is None and not hasattr(head, "_hf_hook")
        weight = head.weight.detach() if ordinary else None
        return weight if type(weight) is Tensor and weight.device.type == "cpu" else None

    def allocate(self) -> Slots:
        return TransformerSlots()

    def compile(self) -> None:
        try:
            # A trial, so that a missing compiler is told now and not in the middle of a run.
            torch.compile(torch.sin, dynamic=True)(torch.zeros(2, device=self.device))
        except Exception as error:
            raise ModelError(f"torch.compile does not work on this machine: {first_sentence(error)}") from error
        self.model.base_model.compile(dynamic=True)
        self.compiled = True

    def positions_computed(self, span: Span, length: int) -> int:
        return span.stop - max(span.start - self.look_back, 0)

    def _cache(self, fed: Span, length: int, slots: Slots | None, rows: Tensor | None) -> Any:
        whole = len(fed) == length
        if whole and (slots is None or rows is not None):
            return None
        own = self._own(slots)
        if not whole and not own.keys:
            raise ValueError("the first forward must see the whole canvas")
        if rows is None:
            return WritingCache(own, fed, length)
        return OwnCache(own, fed, length) if self.shares_slots else CopyingCache(own, fed, length, rows)

    def _own(self, slots: Slots | None) -> TransformerSlots:
        if not isinstance(slots, TransformerSlots):
            raise TypeError(f"these slots belong to another backend: {type(slots).__name__}")
        return slots

    def _shifted(self, hidden: Tensor, positions: Tensor, fed: Span, span: Span) -> Tensor:
        """Row i becomes the hidden state at i - 1, or at i where i is the first position of its sequence."""
        if fed.start == span.start:
            hidden, positions = (
                torch.cat([hidden[:, :1], hidden], dim=1),
                torch.cat([positions[:, :1], positions], dim=1),
            )
        first = (positions[:, 1:] == 0).unsqueeze(-1)
        return torch.where(first.to(hidden.device), hidden[:, 1:], hidden[:, :-1])


def _blocks(given: AttentionBlocks | int | None) -> AttentionBlocks | None:
    """Attention blocks, of which the length alone may be given."""
    return given if given is None or isinstance(given, AttentionBlocks) else AttentionBlocks(given)


def _check_model(model: Any, has_own_head: bool) -> None:
    """Raise `ModelError` for what is not a transformers model with bidirectional attention and a head of one layer."""
    name = type(model).__name__
    if not isinstance(model, PreTrainedModel):
        raise ModelError(f"a TransformerBackend takes a causal-LM class of transformers, got {name}; see mdm.wrap")
    head = model.get_output_embeddings()
    if head is None or (not has_own_head and not any(child is head for child in model.children())):
        raise ModelError(
            f"a TransformerBackend takes a causal-LM class of transformers, whose head is one layer on top of its "
            f"decoder, and {name} is none; mdm.wrap takes any model"
        )
    if getattr(model.config, "is_causal", True):
        raise ModelError(
            f"the config of {name} does not say is_causal = False, so the model would attend causally; set it for a "
            "masked diffusion model"
        )
    if all(parameter.device.type == "meta" for parameter in model.parameters()):
        raise ModelError("the model's weights lie on the device 'meta', which holds no numbers; load them first")
