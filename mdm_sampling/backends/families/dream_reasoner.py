"""DreamReasoner (arXiv:2606.19257) in a block-causal `Qwen3ForCausalLM`.

It shares the model_type of Dream, and is another model: without the right shift, and with attention blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from . import trunks
from .base import CheckpointFamily, CheckpointFormat


@final
@dataclass(frozen=True)
class DreamReasoner(CheckpointFamily):
    """DreamReasoner-8B, with attention blocks of 32."""

    format = CheckpointFormat(
        trunk=trunks.qwen3,
        checkpoints=("Dream-org/DreamReasoner-8B", "Dream-org/DreamReasoner-8B-Base"),
        model_types=("dream",),
        architectures=("DreamForCausalLM",),
        keys=None,
        block_length=32,
        mask_id=151669,
    )
