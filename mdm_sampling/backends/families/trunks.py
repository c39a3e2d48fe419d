"""Native configs of transformers from the keys of a published config.json; each for full attention in both directions.

Every key that decides what a model computes is read and checked: see `config`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import ModelError
from ..config import epsilon, field, flag, optional_field, refuse_unsupported, rotary_base

_FULL_ATTENTION = "full_attention"
_DECODER: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "use_sliding_window": (False, None),
}


def qwen2(config: Mapping[str, Any], source: str) -> Any:
    """A `Qwen2Config`: biases at queries, keys and values."""
    from transformers import Qwen2Config

    return Qwen2Config(**decoder(config, source), use_sliding_window=False)


def qwen3(config: Mapping[str, Any], source: str) -> Any:
    """A `Qwen3Config`: queries and keys are normed head by head."""
    from transformers import Qwen3Config

    return Qwen3Config(**decoder(config, source), **heads(config, source), use_sliding_window=False)


def llama(config: Mapping[str, Any], source: str) -> Any:
    """A `LlamaConfig`."""
    from transformers import LlamaConfig

    mlp_bias = flag(config, "mlp_bias", source, default=False)
    return LlamaConfig(**decoder(config, source), **heads(config, source), mlp_bias=mlp_bias)


def qwen3_moe(config: Mapping[str, Any], source: str) -> Any:
    """A `Qwen3MoeConfig`: Qwen3 with experts."""
    from transformers import Qwen3MoeConfig

    refuse_unsupported(config, {"decoder_sparse_step": (1, None)}, source)
    return Qwen3MoeConfig(
        **decoder(config, source),
        **heads(config, source),
        **experts(config, source, "moe_intermediate_size"),
        norm_topk_prob=_required_flag(config, "norm_topk_prob", source),
        mlp_only_layers=_layers(config, "mlp_only_layers", source),
        use_sliding_window=False,
    )


def experts(config: Mapping[str, Any], source: str, width: str) -> dict[str, int]:
    """How many experts there are, how many of them a token takes, and how wide each is, by the key `width`."""
    count, taken = (field(config, name, source) for name in ("num_experts", "num_experts_per_tok"))
    if taken > count:
        raise ModelError(f"{source}: config.json says num_experts_per_tok={taken} of num_experts={count}")
    return {
        "num_experts": count,
        "num_experts_per_tok": taken,
        "moe_intermediate_size": field(config, width, source),
    }


def decoder(config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """What all of these configs have."""
    refuse_unsupported(config, _DECODER, source)
    _refuse_other_layers(config, source)
    count = field(config, "num_attention_heads", source)
    shared = optional_field(config, "num_key_value_heads", source) or count
    if count % shared:
        raise ModelError(f"{source}: config.json says {count} attention heads, and {shared} of keys and values")
    return {
        "vocab_size": field(config, "vocab_size", source),
        "hidden_size": field(config, "hidden_size", source),
        "intermediate_size": field(config, "intermediate_size", source),
        "num_hidden_layers": field(config, "num_hidden_layers", source),
        "num_attention_heads": count,
        "num_key_value_heads": shared,
        "max_position_embeddings": field(config, "max_position_embeddings", source),
        "rope_theta": rotary_base(config, source),
        "rms_norm_eps": epsilon(config, "rms_norm_eps", source),
        "tie_word_embeddings": flag(config, "tie_word_embeddings", source, default=False),
        "pad_token_id": None,
        "is_causal": False,
    }


def heads(config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The width of a head, which is a share of the hidden size where config.json doesn't say it, and biases."""
    width = optional_field(config, "head_dim", source)
    count, hidden = (field(config, name, source) for name in ("num_attention_heads", "hidden_size"))
    return {
        "head_dim": width or hidden // count,
        "attention_bias": flag(config, "attention_bias", source, default=False),
    }


def _refuse_other_layers(config: Mapping[str, Any], source: str) -> None:
    """Raise `ModelError` where `layer_types`, which transformers 5 saves, names another attention than full."""
    types = config.get("layer_types")
    if types is not None and (not isinstance(types, list) or set(map(str, types)) - {_FULL_ATTENTION}):
        raise ModelError(f"{source}: config.json says layer_types={types!r:.60}, supported: {_FULL_ATTENTION!r}")


def _required_flag(config: Mapping[str, Any], name: str, source: str) -> bool:
    if config.get(name) is None:
        raise ModelError(f"{source}: config.json lacks {name!r}")
    return flag(config, name, source, default=False)


def _layers(config: Mapping[str, Any], name: str, source: str) -> list[int]:
    """Numbers of layers, none where the key is missing."""
    numbers = config.get(name) or []
    if not isinstance(numbers, list) or not all(type(each) is int and each >= 0 for each in numbers):
        raise ModelError(f"{source}: config.json says {name}={numbers!r:.60}, expected a list of layers")
    return numbers
