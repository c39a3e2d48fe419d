"""Autoregressive models that dllm made masked diffusion models of ("A2D"), in the native class of the model they were.

Their config.json does not say whether attention is full ("mdlm") or block-causal ("bd3lm"); the repository's name does.
bd3lm's own sampler counts blocks from the prompt's end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from ...errors import ModelError
from .base import CheckpointFamily, CheckpointFormat

if TYPE_CHECKING:
    from ..visibility import AttentionBlocks

_BLOCK_LENGTH = 32


def _trunk(config: Mapping[str, Any], source: str) -> Any:
    """The config of the class that the model was before, which its model_type names."""
    from . import trunks

    trunk = str(config["model_type"]).lower().removeprefix("a2d-")
    return {"qwen3": trunks.qwen3, "qwen2": trunks.qwen2, "llama": trunks.llama}[trunk](config, source)


@final
@dataclass(frozen=True)
class A2D(CheckpointFamily):
    """dllm-hub's Qwen3-0.6B and Qwen2.5-Coder-0.5B: "mdlm" with full attention, "bd3lm" with blocks of 32."""

    format = CheckpointFormat(
        trunk=_trunk,
        checkpoints=(
            "dllm-hub/Qwen3-0.6B-diffusion-mdlm-v0.1",
            "dllm-hub/Qwen3-0.6B-diffusion-bd3lm-v0.1",
            "dllm-hub/Qwen2.5-Coder-0.5B-Instruct-diffusion-mdlm-v0.1",
            "dllm-hub/Qwen2.5-Coder-0.5B-Instruct-diffusion-bd3lm-v0.1",
        ),
        model_types=("a2d-qwen3", "a2d-qwen2", "a2d-llama"),
        block_length=_BLOCK_LENGTH,
        blocks_from="prompt",
    )

    def attention_blocks(self, config: Mapping[str, Any], source: str) -> AttentionBlocks | None:
        name = source.lower()
        if ("bd3lm" in name) == ("mdlm" in name):
            raise ModelError(
                f"{source}: its name says neither mdlm nor bd3lm, and so not what it attends to; pass "
                f"attention_block=0 (--attention-block) for mdlm, {_BLOCK_LENGTH} for bd3lm"
            )
        return None if "mdlm" in name else super().attention_blocks(config, source)
