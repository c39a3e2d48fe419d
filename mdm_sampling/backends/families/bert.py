"""BERT (arXiv:1810.04805) and its kin, masked language models, in transformers' own `BertForMaskedLM`.

A masked language model is trained with a fixed share of masks, and fills texts whose other tokens are known. A text
stands between `[CLS]` and `[SEP]`. The weights of other heads are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

from .base import CheckpointFamily, CheckpointFormat

_SUPPORTED: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("gelu", "gelu_new", "relu", "silu"),
    "position_embedding_type": ("absolute", None),
    "is_decoder": (False, None),
    "add_cross_attention": (False, None),
}


def _trunk(config: Mapping[str, Any], source: str) -> Any:
    """A `BertConfig`, which attends in both directions."""
    from transformers import BertConfig

    from ..config import epsilon, field, flag

    return BertConfig(
        vocab_size=field(config, "vocab_size", source),
        hidden_size=field(config, "hidden_size", source),
        intermediate_size=field(config, "intermediate_size", source),
        num_hidden_layers=field(config, "num_hidden_layers", source),
        num_attention_heads=field(config, "num_attention_heads", source),
        max_position_embeddings=field(config, "max_position_embeddings", source),
        type_vocab_size=field(config, "type_vocab_size", source),
        hidden_act=config.get("hidden_act", "gelu"),
        layer_norm_eps=epsilon(config, "layer_norm_eps", source),
        tie_word_embeddings=flag(config, "tie_word_embeddings", source, default=True),
        is_causal=False,
    )


@final
@dataclass(frozen=True)
class BERT(CheckpointFamily):
    """BERT checkpoints, and those in their format, such as AntiBERTy's of antibodies: for texts with masks."""

    format = CheckpointFormat(
        trunk=_trunk,
        checkpoints=(
            "google-bert/bert-base-cased",
            "google-bert/bert-base-uncased",
            "google-bert/bert-large-cased",
        ),
        model_types=("bert",),
        architectures=("BertForMaskedLM", "BertForPreTraining", "AntiBERTy"),
        keys=None,
        supported=_SUPPORTED,
        weights={r"LayerNorm\.gamma$": "LayerNorm.weight", r"LayerNorm\.beta$": "LayerNorm.bias"},
        left_out=(r"^bert\.pooler\.", r"^cls\.(seq_relationship|species|chain|graft)\.", r"\.position_ids$"),
        tied={
            "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
            "cls.predictions.decoder.bias": "cls.predictions.bias",
        },
        turn_ends=(),
        closing="[SEP]",
        tokenizer="BertTokenizer",
    )

    def model_class(self, native: Any) -> Any:
        from transformers import BertForMaskedLM

        return BertForMaskedLM

    def head(self, model: Any) -> Callable[[Any], Any]:
        head: Callable[[Any], Any] = model.cls
        return head
