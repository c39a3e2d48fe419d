"""LLaDA checkpoints (arXiv:2502.09992) in a bidirectional `LlamaForCausalLM`, without remote code.

LLaDA-8B is a Llama block under other weight names. It rotates queries and keys in float32, whatever the model's
dtype (`rope_full_precision`), and row i of its output predicts position i.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, final

from ...errors import ModelError
from ..attention import is_flash, wrap_attention
from .base import Checkpoint, CheckpointFamily, CheckpointFormat

_BLOCK = r"^model\.transformer\.blocks\.(\d+)\."
_WEIGHTS = {
    r"^model\.transformer\.wte\.": "model.embed_tokens.",
    r"^model\.transformer\.ln_f\.": "model.norm.",
    r"^model\.transformer\.ff_out\.": "lm_head.",
    _BLOCK + r"attn_norm\.": r"model.layers.\1.input_layernorm.",
    _BLOCK + r"q_proj\.": r"model.layers.\1.self_attn.q_proj.",
    _BLOCK + r"k_proj\.": r"model.layers.\1.self_attn.k_proj.",
    _BLOCK + r"v_proj\.": r"model.layers.\1.self_attn.v_proj.",
    _BLOCK + r"attn_out\.": r"model.layers.\1.self_attn.o_proj.",
    _BLOCK + r"ff_norm\.": r"model.layers.\1.post_attention_layernorm.",
    _BLOCK + r"ff_proj\.": r"model.layers.\1.mlp.gate_proj.",
    _BLOCK + r"up_proj\.": r"model.layers.\1.mlp.up_proj.",
    _BLOCK + r"ff_out\.": r"model.layers.\1.mlp.down_proj.",
}
_SUPPORTED: dict[str, tuple[Any, ...]] = {
    "block_type": ("llama",),
    "activation_type": ("silu",),
    "layer_norm_type": ("rms",),
    "layer_norm_with_affine": (True,),
    "bias_for_layer_norm": (False, None),
    "block_group_size": (1,),
    "multi_query_attention": (False, None),
    "include_bias": (False,),
    "include_qkv_bias": (False, None),
    "attention_layer_norm": (False, None),
    "alibi": (False, None),
    "rope": (True,),
    "scale_logits": (False, None),
    "input_emb_norm": (False, None),
}


def _trunk(config: Mapping[str, Any], source: str) -> Any:
    """A `LlamaConfig` from LLaDA's config keys. Raises `ModelError` for a missing key or an unsupported variant."""
    from transformers import LlamaConfig

    from ..config import epsilon, field, flag, optional_field, rotary_base

    width = field(config, "d_model", source)
    heads = field(config, "n_heads", source)
    shared = optional_field(config, "n_kv_heads", source) or heads
    if heads % shared:
        raise ModelError(f"{source}: config.json says {heads} attention heads, and {shared} of keys and values")
    return LlamaConfig(
        vocab_size=optional_field(config, "embedding_size", source) or field(config, "vocab_size", source),
        hidden_size=width,
        intermediate_size=optional_field(config, "mlp_hidden_size", source)
        or field(config, "mlp_ratio", source) * width,
        num_hidden_layers=field(config, "n_layers", source),
        num_attention_heads=heads,
        num_key_value_heads=shared,
        max_position_embeddings=field(config, "max_sequence_length", source),
        rope_theta=rotary_base(config, source),
        rms_norm_eps=epsilon(config, "rms_norm_eps", source),
        tie_word_embeddings=flag(config, "weight_tying", source, default=True),
        attention_bias=False,
        mlp_bias=False,
        pad_token_id=None,
        is_causal=False,
    )


@final
@dataclass(frozen=True)
class LLaDA(CheckpointFamily):
    """LLaDA-8B-Base, LLaDA-8B-Instruct, LLaDA-1.5 and other checkpoints in their format."""

    format = CheckpointFormat(
        trunk=_trunk,
        checkpoints=(
            "GSAI-ML/LLaDA-8B-Base",
            "GSAI-ML/LLaDA-8B-Instruct",
            "GSAI-ML/LLaDA-1.5",
            "d3LLM/d3LLM_LLaDA",
        ),
        architectures=("LLaDAModelLM",),
        model_types=("llada",),
        keys=("d_model",),
        supported=_SUPPORTED,
        weights=_WEIGHTS,
        turn_ends=("<|eot_id|>",),
        tokenizer="PreTrainedTokenizerFast",
    )

    def adapt(self, model: Any, checkpoint: Checkpoint) -> None:
        _check_vocabulary(checkpoint)
        rotate_as_published(model, checkpoint)


def _check_vocabulary(checkpoint: Checkpoint) -> None:
    """Raise `ModelError` for a `vocab_size` that contradicts `embedding_size`, the mask or the tokenizer.

    The embeddings may have more rows than there are tokens, never fewer.
    """
    from ..config import optional_field

    source, tokenizer = checkpoint.source, checkpoint.tokenizer
    size, rows = (optional_field(checkpoint.config, name, source) for name in ("vocab_size", "embedding_size"))
    if size is None or rows is None:
        return
    tokens = [] if tokenizer is None else [token for token in tokenizer.get_vocab().values() if token < rows]
    last = max([checkpoint.mask_id, *tokens])
    if not last < size <= rows:
        raise ModelError(
            f"{source}: config.json says vocab_size={size} beside embedding_size={rows}, and the last token is {last}"
        )


def rotate_as_published(model: Any, checkpoint: Checkpoint) -> None:
    """Rotate queries and keys in float32, unless config.json says `rope_full_precision: false`."""
    from ..config import flag

    if flag(checkpoint.config, "rope_full_precision", checkpoint.source, default=True):
        _rotate_in_float32(model)


def _rotate_in_float32(model: Any) -> None:
    """Rotate queries and keys in float32 and return to the model's dtype before attention.

    The rotary module hands out float32 cosines, which promotes the rotated queries and keys; an attention function
    around the chosen one rounds them again. The frequencies are computed anew here, in float32, since casting a model
    rounds its buffers.
    """
    rotary = model.model.rotary_emb
    rotary.forward = partial(_float32_rotation, *rotary.compute_default_rope_parameters(rotary.config))
    if not is_flash(model):
        wrap_attention(model, "float32-rotation", _attend_after_rounding)


def _attend_after_rounding(
    attend: Any, module: Any, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any
) -> Any:
    return attend(module, query.to(value.dtype), key.to(value.dtype), value, *args, **kwargs)


def _float32_rotation(inv_freq: Any, scaling: float, x: Any, position_ids: Any) -> tuple[Any, Any]:
    angles = position_ids[..., None].float() * inv_freq.to(device=x.device)
    angles = angles.repeat(1, 1, 2)
    return angles.cos() * scaling, angles.sin() * scaling
