"""LLaDA-MoE (arXiv:2509.24389) in a bidirectional `Qwen3MoeForCausalLM`, whose names of weights it has.

It shares the model_type of LLaDA, and is another model. Its keys of config.json are its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from ...errors import ModelError
from .base import CheckpointFamily, CheckpointFormat


def _trunk(config: Mapping[str, Any], source: str) -> Any:
    """A `Qwen3MoeConfig` from LLaDA-MoE's keys."""
    from transformers import Qwen3MoeConfig

    from ..config import field, flag
    from .trunks import decoder, experts, heads

    dense = field(config, "dense_intermediate_size", source)
    return Qwen3MoeConfig(
        **decoder({**config, "intermediate_size": dense}, source),
        **heads(config, source),
        **experts(config, source, "expert_intermediate_size"),
        norm_topk_prob=flag(config, "norm_topk_prob", source, default=False),
        mlp_only_layers=_dense_layers(config, source),
        use_sliding_window=False,
    )


@final
@dataclass(frozen=True)
class LLaDAMoE(CheckpointFamily):
    """LLaDA-MoE-7B-A1B-Base and -Instruct: 64 experts, of which a token takes 8."""

    format = CheckpointFormat(
        trunk=_trunk,
        checkpoints=(
            "inclusionAI/LLaDA-MoE-7B-A1B-Base",
            "inclusionAI/LLaDA-MoE-7B-A1B-Instruct",
            "inclusionAI/LLaDA-MoE-7B-A1B-Instruct-TD",
        ),
        model_types=("llada",),
        architectures=("LLaDAMoEModelLM", "LLaDAMoEModel"),
        keys=("num_experts",),
        supported={
            "qk_layernorm": (True,),
            "moe_router_score_function": ("softmax",),
            "moe_router_enable_expert_bias": (False, None),
            "shared_expert_intermediate_size": (None, 0),
            "clip_qkv": (None,),
        },
        mask_id=156895,
        turn_ends=("<|role_end|>",),
        tokenizer="PreTrainedTokenizerFast",
    )


def _dense_layers(config: Mapping[str, Any], source: str) -> list[int]:
    """The layers without experts: those at which `moe_layer_freq` is 0."""
    given = config.get("moe_layer_freq")
    layers = config["num_hidden_layers"]
    each = [given] * layers if given in (0, 1) else given
    if not isinstance(each, list) or len(each) != layers or any(flag not in (0, 1) for flag in each):
        raise ModelError(
            f"{source}: config.json says moe_layer_freq={given!r:.60}, expected 0 or 1, for all {layers} layers or each"
        )
    return [layer for layer, has_experts in enumerate(each) if not has_experts]
