"""LLaDA2.0 and 2.1 (arXiv:2512.15745) in a block-causal `Glm4MoeForCausalLM`.

A layer is that of GLM-4.5: queries and keys normed head by head, half of each head rotated, experts chosen by sigmoids
in groups, one shared expert. Queries, keys and values are stored in one weight. The published config.json says neither
the mask nor the length of attention blocks. 2.1 may also be sampled as 2.0 is; its editing of tokens is not done here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, final

from ...errors import ModelError
from ..config import field, optional_field
from .base import CheckpointFamily, CheckpointFormat

if TYPE_CHECKING:
    from ..stored import Shapes

_LAYER = r"^model\.layers\.(\d+)\."
_FUSED = "self_attn.query_key_value.weight"
_APART = tuple(f"self_attn.{each}_proj.weight" for each in "qkv")
_WEIGHTS = {
    r"^model\.word_embeddings\.": "model.embed_tokens.",
    _LAYER + r"attention\.query_key_value\.": r"model.layers.\1.self_attn.query_key_value.",
    _LAYER + r"attention\.query_layernorm\.": r"model.layers.\1.self_attn.q_norm.",
    _LAYER + r"attention\.key_layernorm\.": r"model.layers.\1.self_attn.k_norm.",
    _LAYER + r"attention\.dense\.": r"model.layers.\1.self_attn.o_proj.",
    _LAYER + r"mlp\.gate\.expert_bias$": r"model.layers.\1.mlp.gate.e_score_correction_bias",
}


def _native_config(config: Mapping[str, Any], source: str) -> Any:
    """A `Glm4MoeConfig` from LLaDA2's keys."""
    from transformers import Glm4MoeConfig

    from .trunks import decoder, experts, heads

    shared = {**decoder(_without_partial_rotation(config, source), source), **heads(config, source)}
    rotated = {"rope_type": "default", "rope_theta": shared.pop("rope_theta"), "partial_rotary_factor": 0.5}
    taken = experts(config, source, "moe_intermediate_size")
    return Glm4MoeConfig(
        **shared,
        rope_parameters=rotated,
        n_routed_experts=taken["num_experts"],
        num_experts_per_tok=taken["num_experts_per_tok"],
        moe_intermediate_size=taken["moe_intermediate_size"],
        n_shared_experts=field(config, "num_shared_experts", source),
        n_group=field(config, "n_group", source),
        topk_group=field(config, "topk_group", source),
        routed_scaling_factor=_scaling(config, source),
        first_k_dense_replace=optional_field(config, "first_k_dense_replace", source) or 0,
        norm_topk_prob=True,
        use_qk_norm=True,
        num_nextn_predict_layers=0,
    )


@final
@dataclass(frozen=True)
class LLaDA2(CheckpointFamily):
    """LLaDA2.0-mini, -flash, their previews and CAP, and LLaDA2.1, with attention blocks of 32."""

    format = CheckpointFormat(
        trunk=_native_config,
        checkpoints=(
            "inclusionAI/LLaDA2.0-mini",
            "inclusionAI/LLaDA2.0-mini-CAP",
            "inclusionAI/LLaDA2.0-flash",
            "inclusionAI/LLaDA2.0-flash-CAP",
            "inclusionAI/LLaDA2.1-mini",
            "inclusionAI/LLaDA2.1-flash",
        ),
        model_types=("llada2_moe",),
        architectures=("LLaDA2MoeModelLM",),
        supported={
            "image_token_offset": (None,),
            "score_function": ("sigmoid", None),
            "moe_router_enable_expert_bias": (True, None),
            "use_qkv_bias": (False, None),
            "use_bias": (False, None),
            "use_qk_norm": (True, None),
            "num_nextn_predict_layers": (0, None),
        },
        weights=_WEIGHTS,
        block_length=32,
        mask_id=156895,
        turn_ends=("<|role_end|>",),
        tokenizer="PreTrainedTokenizerFast",
    )

    def model_class(self, native: Any) -> Any:
        return _trunk()

    def stored_shapes(self, shapes: Shapes) -> Shapes:
        stored = super().stored_shapes(shapes)
        for name in [name for name in stored if name.endswith(_APART[0])]:
            parts = [stored.pop(name.replace(_APART[0], part)) for part in _APART]
            stored[name.replace(_APART[0], _FUSED)] = (sum(part[0] for part in parts), parts[0][1])
        return stored


def _without_partial_rotation(config: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    """config.json without the keys that say that half of each head is rotated.

    Raises `ModelError` for another share.
    """
    share = config.get("partial_rotary_factor", 0.5)
    described = config.get("rope_parameters") or config.get("rope_scaling") or {}
    shares = {share, described.get("partial_rotary_factor", 0.5) if isinstance(described, Mapping) else 0.5}
    if shares != {0.5}:
        raise ModelError(f"{source}: config.json says partial_rotary_factor={share!r:.60}, supported: 0.5")
    return {name: value for name, value in config.items() if name != "rope_parameters"} | {
        "rope_theta": described.get("rope_theta", config.get("rope_theta"))
    }


def _scaling(config: Mapping[str, Any], source: str) -> float:
    value = config.get("routed_scaling_factor")
    if not isinstance(value, float | int) or isinstance(value, bool) or not 0 < value < 1e3:
        raise ModelError(f"{source}: config.json says routed_scaling_factor={value!r:.60}, expected a number above 0")
    return float(value)


@cache
def _trunk() -> Any:
    """`Glm4MoeForCausalLM` under a name of its own, with a mapping that splits what LLaDA2 stores in one weight."""
    from transformers import Glm4MoeForCausalLM, __version__
    from transformers.conversion_mapping import (
        get_checkpoint_conversion_mapping,
        register_checkpoint_conversion_mapping,
    )
    from transformers.core_model_loading import WeightConverter

    try:
        from transformers.core_model_loading import Split
    except ImportError as error:
        raise ModelError(
            f"LLaDA2 needs a transformers that splits weights, such as 5.24; this is {__version__}"
        ) from error

    class LLaDA2Trunk(Glm4MoeForCausalLM):  # type: ignore[misc]
        pass

    split = WeightConverter(_FUSED, list(_APART), operations=[Split(dim=0)])
    mapping = [split, *(get_checkpoint_conversion_mapping("glm4_moe") or [])]
    register_checkpoint_conversion_mapping(LLaDA2Trunk.__name__, mapping, overwrite=True)
    return LLaDA2Trunk
