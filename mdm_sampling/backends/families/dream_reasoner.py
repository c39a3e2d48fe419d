"""DreamReasoner (arXiv:2606.19257) in a block-causal `Qwen3ForCausalLM`.

It shares the model_type of Dream, and is another model: without the right shift, and with attention blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from .base import CheckpointFamily, CheckpointFormat


@final
@dataclass(frozen=True)
class DreamReasoner(CheckpointFamily):
    """DreamReasoner-8B, with attention blocks of 32."""

    format = CheckpointFormat(
        checkpoints=("Dream-org/DreamReasoner-8B", "Dream-org/DreamReasoner-8B-Base"),
        model_types=("dream",),
        architectures=("DreamForCausalLM",),
        keys=None,
        block_length=32,
        mask_id=151669,
    )

    def native_config(self, config: Mapping[str, Any], source: str) -> Any:
        from .trunks import qwen3

        return qwen3(config, source)
