"""Dream checkpoints (arXiv:2508.15487), DiffuCoder's included, in a bidirectional `Qwen2ForCausalLM`.

Dream has Qwen2's block and weight names. It is right-shifted: position i is predicted from the hidden state at i - 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from ..errors import ModelError
from .base import BackendFamily, ModelBackend
from .options import LoadOptions, ModelSource

_SUPPORTED: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "use_sliding_window": (False, None),
}
_FULL_ATTENTION = "full_attention"
_TURN_ENDS = ("<|im_end|>",)


@final
@dataclass(frozen=True)
class Dream(BackendFamily):
    """Dream-v0-Base-7B, Dream-v0-Instruct-7B, DiffuCoder and other checkpoints in their format."""

    def recognises(self, source: str, config: Mapping[str, Any] | None) -> bool:
        return config is not None and str(config.get("model_type")).lower() == "dream"

    def load(self, source: str, config: Mapping[str, Any] | None, options: LoadOptions) -> ModelBackend:
        from transformers import Qwen2ForCausalLM, Qwen2Tokenizer

        from .checkpoint import load_strictly, load_tokenizer
        from .files import read_generation_config
        from .text import find_eos_ids, find_mask_id
        from .transformer import TransformerBackend

        config = config or {}
        native = _qwen2_config(config, source)
        generation = read_generation_config(source, options.revision)
        tokenizer = load_tokenizer(Qwen2Tokenizer, source, options.revision)
        mask_id = find_mask_id(options.mask_id, config, tokenizer, native.vocab_size, source)
        return TransformerBackend(
            load_strictly(Qwen2ForCausalLM, source, native, config, options, {}),
            mask_id,
            look_back=1,
            eos_ids=find_eos_ids(config, generation, tokenizer, _TURN_ENDS),
            tokenizer=tokenizer,
            source=ModelSource(source, "dream", options),
        )


def _qwen2_config(config: Mapping[str, Any], source: str) -> Any:
    """A `Qwen2Config` from Dream's config keys. Raises `ModelError` for a missing key or an unsupported variant."""
    from transformers import Qwen2Config

    from .config import epsilon, field, flag, optional_field, refuse_unsupported, rotary_base

    refuse_unsupported(config, _SUPPORTED, source)
    layer_types = config.get("layer_types")  # as transformers 5 saves it
    if layer_types is not None and (
        not isinstance(layer_types, list) or set(map(str, layer_types)) - {_FULL_ATTENTION}
    ):
        raise ModelError(f"{source}: config.json says layer_types={layer_types!r:.60}, supported: {_FULL_ATTENTION!r}")
    heads = field(config, "num_attention_heads", source)
    return Qwen2Config(
        vocab_size=field(config, "vocab_size", source),
        hidden_size=field(config, "hidden_size", source),
        intermediate_size=field(config, "intermediate_size", source),
        num_hidden_layers=field(config, "num_hidden_layers", source),
        num_attention_heads=heads,
        num_key_value_heads=optional_field(config, "num_key_value_heads", source) or heads,
        max_position_embeddings=field(config, "max_position_embeddings", source),
        rope_theta=rotary_base(config, source),
        rms_norm_eps=epsilon(config, "rms_norm_eps", source),
        tie_word_embeddings=flag(config, "tie_word_embeddings", source, default=False),
        use_sliding_window=False,
        pad_token_id=None,
        is_causal=False,
    )
