"""A family of checkpoints as an entry of a table: how it is recognised, and what its native class does not know."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ...errors import ModelError
from ..base import BackendFamily, ModelBackend
from ..facts import ModelFacts
from ..options import LoadOptions

if TYPE_CHECKING:
    from ..checkpoint import StoredLayout
    from ..stored import Shapes
    from ..visibility import AttentionBlocks


@dataclass(frozen=True, kw_only=True)
class CheckpointFormat:
    """What the published checkpoints of a family look like.

    A checkpoint is recognised by its `model_type` and by the first of the `architectures` that its config.json names,
    or by its keys where it names none: several families share a type.

    Args:
        trunk: makes the native config, with `is_causal=False`, from config.json's keys and the checkpoint's name, which
            its errors begin with; see `trunks`. It raises `ModelError` for a missing key and for what the native class
            does not compute.
        checkpoints: the published ones that have it, for people.
        model_types: the types that config.json may name, in small letters; none if its class alone decides.
        architectures: the classes that it may name; none if its type alone decides. With neither of the two the user
            has to name the family.
        keys: what it must hold if it names no class; None if it must name one.
        supported: keys of config.json with the values that are computed; others are refused.
        weights: regular expressions of published weight names -> the native class's names.
        left_out: regular expressions of weights that are of no use here, such as those of other heads.
        tied: weights that may be missing, since they are others where config.json ties the head: each with that other.
        look_back: 1 if the model is right-shifted, see `TransformerBackend`.
        block_length: of block-causal attention, where neither an option nor config.json nor the name says it; None for
            full attention.
        block_key: the key of config.json that says it.
        block_in_name: a regular expression that finds it in the name of a folder or repository.
        blocks_from: where attention blocks are counted from, see `AttentionBlocks`.
        mask_id: where neither an option nor config.json says it; None to ask the tokenizer.
        turn_ends: texts of tokens that end a turn.
        closing: text of the token that stands behind each text with masks; None if there is none.
        tokenizer: transformers' class for it.
    """

    trunk: Callable[[Mapping[str, Any], str], Any]
    checkpoints: Sequence[str] = ()
    model_types: Sequence[str] = ()
    architectures: Sequence[str] = ()
    keys: Sequence[str] | None = ()
    supported: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    left_out: Sequence[str] = ()
    tied: Mapping[str, str] = field(default_factory=lambda: {"lm_head.weight": "model.embed_tokens.weight"})
    look_back: Literal[0, 1] = 0
    block_length: int | None = None
    block_key: str = "block_size"
    block_in_name: str | None = None
    blocks_from: Literal["row", "prompt"] = "row"
    mask_id: int | None = None
    turn_ends: Sequence[str] = ("<|im_end|>",)
    closing: str | None = None
    tokenizer: str = "Qwen2Tokenizer"

    def claims(self, config: Mapping[str, Any]) -> bool:
        """Whether config.json describes a checkpoint of this format."""
        if self.model_types and str(config.get("model_type")).lower() not in self.model_types:
            return False
        named = config.get("architectures")
        if isinstance(named, list) and named and (self.architectures or not self.model_types):
            return named[0] in self.architectures
        return bool(self.model_types) and self.keys is not None and all(key in config for key in self.keys)


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint's small files say.

    Attributes:
        source: folder or hub id.
        config: its config.json.
        native: the config of the native class.
        blocks: of its attention; None if that is full.
        mask_id: id of its mask token.
        eos_ids: ids that end a text or a turn.
        tokenizer: its tokenizer, or None.
    """

    source: str
    config: Mapping[str, Any]
    native: Any
    blocks: AttentionBlocks | None
    mask_id: int
    eos_ids: tuple[int, ...]
    tokenizer: Any


class CheckpointFamily(BackendFamily):
    """A family whose hidden states a native class of transformers computes; weights are loaded strictly.

    A subclass has a `format`, the entry of the table, and overrides what that cannot say. Families are frozen
    dataclasses without fields. No remote code is ever run.
    """

    format: ClassVar[CheckpointFormat]

    def model_class(self, native: Any) -> Any:
        """The class of transformers for a native config."""
        from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

        return MODEL_FOR_CAUSAL_LM_MAPPING[type(native)]

    def stored_shapes(self, shapes: Shapes) -> Shapes:
        """The weights of the native class, as the checkpoint stores them once they are renamed: experts apart."""
        from ..stored import each_expert

        return each_expert(shapes)

    def adapt(self, model: Any, checkpoint: Checkpoint) -> None:
        """Change the loaded model where its native class computes something else. Nothing, unless overridden."""

    def head(self, model: Any) -> Callable[[Any], Any] | None:
        """What turns hidden states into logits; None for the model's output embedding."""
        return None

    def attention_blocks(self, config: Mapping[str, Any], source: str) -> AttentionBlocks | None:
        """The blocks of block-causal attention, as config.json, the checkpoint's name or the format says; None if
        attention is full.
        """
        from ..config import optional_field
        from ..visibility import AttentionBlocks

        form = self.format
        if form.block_length is None:
            return None
        found = form.block_in_name and re.search(form.block_in_name, PurePath(source).name)
        length = optional_field(config, form.block_key, source) or int(found[1] if found else form.block_length)
        return AttentionBlocks(length, form.blocks_from)

    def text_size(self, config: Mapping[str, Any], source: str) -> int | None:
        """The first id that is not text, such as an image's; it and those above are never predicted. None: all are."""
        return None

    def recognises(self, source: str, config: Mapping[str, Any] | None) -> bool:
        return config is not None and self.format.claims(config)

    def load(self, source: str, config: Mapping[str, Any] | None, options: LoadOptions) -> ModelBackend:
        from ..checkpoint import load_strictly
        from ..transformer import TransformerBackend

        found, form = self._read(source, config or {}, options), self.format
        model_class = self.model_class(found.native)
        model = load_strictly(model_class, source, found.native, found.config, options, self._layout())
        self.adapt(model, found)
        return TransformerBackend(
            model,
            found.mask_id,
            look_back=form.look_back,
            attention_block=found.blocks,
            eos_ids=found.eos_ids,
            tokenizer=found.tokenizer,
            closing=form.closing,
            head=self.head(model),
            text_size=self.text_size(found.config, source),
        )

    def _layout(self) -> StoredLayout:
        from ..checkpoint import StoredLayout

        form = self.format
        return StoredLayout(dict(form.weights), self.stored_shapes, tuple(form.left_out), dict(form.tied))

    def facts(self, source: str, config: Mapping[str, Any] | None, options: LoadOptions) -> ModelFacts:
        import torch

        found = self._read(source, config or {}, options)
        model_class = self.model_class(found.native)
        with torch.device("meta"):
            weights = model_class(found.native).parameters()
        return ModelFacts(
            model=source,
            family="",
            trunk=model_class.__name__,
            parameters=sum(weight.numel() for weight in weights),
            attention=str(found.blocks or "full"),
            look_back=self.format.look_back,
            mask_id=found.mask_id,
            eos_ids=found.eos_ids,
            vocab_size=found.native.vocab_size,
            max_length=getattr(found.native, "max_position_embeddings", None),
            has_chat_template=bool(getattr(found.tokenizer, "chat_template", None)),
        )

    def _read(self, source: str, config: Mapping[str, Any], options: LoadOptions) -> Checkpoint:
        """All that the small files say. Raises `ModelError` for what cannot be used."""
        import transformers

        from ..checkpoint import load_tokenizer
        from ..config import refuse_unsupported
        from ..files import read_generation_config
        from ..text import check_ids, find_eos_ids, find_mask_id

        form = self.format
        refuse_unsupported(config, form.supported, source)
        native = form.trunk(config, source)
        blocks = self._blocks(config, source, options.attention_block)
        generation = read_generation_config(source, options.revision)
        tokenizer = load_tokenizer(getattr(transformers, form.tokenizer), source, options.revision)
        mask_id = find_mask_id(options.mask_id, config, form.mask_id, tokenizer, native.vocab_size, source)
        eos_ids = find_eos_ids(config, generation, tokenizer, form.turn_ends)
        check_ids(mask_id, eos_ids, native.vocab_size)
        return Checkpoint(source, config, native, blocks, mask_id, eos_ids, tokenizer)

    def _blocks(self, config: Mapping[str, Any], source: str, option: int | None) -> AttentionBlocks | None:
        """The attention blocks; the option's length, of which 0 means full attention, comes first."""
        from ..visibility import AttentionBlocks

        if option is None:
            return self.attention_blocks(config, source)
        if option < 0:
            raise ModelError(f"attention_block must be 0 or more, got {option}")
        if self.format.block_length is None:
            raise ModelError(f"attention_block={option} would be wrong: the attention of this model is full")
        return AttentionBlocks(option, self.format.blocks_from) if option else None
