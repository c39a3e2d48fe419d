"""Dream checkpoints (arXiv:2508.15487), DiffuCoder's included, in a bidirectional `Qwen2ForCausalLM`.

Dream has Qwen2's block and weight names. It is right-shifted: place i is predicted from the hidden state at i - 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from ..interfaces import BackendFamily, ModelBackend
from .options import LoadOptions, ModelSource

SUPPORTED: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "use_sliding_window": (False, None),
    "rope_scaling": (None,),
}
TURN_ENDS = ("<|im_end|>",)


@final
@dataclass(frozen=True)
class Dream(BackendFamily):
    """Dream-v0-Base-7B, Dream-v0-Instruct-7B, DiffuCoder and other checkpoints in their format."""

    def recognises(self, source: str, config: Mapping[str, Any] | None) -> bool:
        return config is not None and str(config.get("model_type")).lower() == "dream"

    def load(self, source: str, config: Mapping[str, Any] | None, options: LoadOptions) -> ModelBackend:
        from transformers import Qwen2ForCausalLM, Qwen2Tokenizer

        from .checkpoint import load_strictly, load_tokenizer
        from .text import find_eos_ids, find_mask_id
        from .transformer import TransformerBackend

        config = config or {}
        native = qwen2_config(config, source)
        tokenizer = load_tokenizer(Qwen2Tokenizer, source, options.revision)
        mask_id = find_mask_id(options.mask_id, config, tokenizer, native.vocab_size, source)
        return TransformerBackend(
            load_strictly(Qwen2ForCausalLM, source, native, config, options, {}),
            mask_id,
            look_back=1,
            eos_ids=find_eos_ids(config, tokenizer, TURN_ENDS),
            tokenizer=tokenizer,
            source=ModelSource(source, "dream", options),
        )


def qwen2_config(config: Mapping[str, Any], source: str) -> Any:
    """A `Qwen2Config` from Dream's config keys. Raises `ModelError` for a missing key or an unsupported variant."""
    from transformers import Qwen2Config

    from .checkpoint import field, refuse_unsupported

    refuse_unsupported(config, SUPPORTED, source)
    heads = field(config, "num_attention_heads", source)
    return Qwen2Config(
        vocab_size=field(config, "vocab_size", source),
        hidden_size=field(config, "hidden_size", source),
        intermediate_size=field(config, "intermediate_size", source),
        num_hidden_layers=field(config, "num_hidden_layers", source),
        num_attention_heads=heads,
        num_key_value_heads=config.get("num_key_value_heads") or heads,
        max_position_embeddings=field(config, "max_position_embeddings", source),
        rope_theta=config.get("rope_theta", 10_000.0),
        rms_norm_eps=config.get("rms_norm_eps", 1e-6),
        tie_word_embeddings=config.get("tie_word_embeddings", False),
        use_sliding_window=False,
        pad_token_id=None,
        is_causal=False,
    )
