"""Fast-dLLM v2 (arXiv:2509.26328) in a block-causal, right-shifted `Qwen2ForCausalLM`, whose names of weights it has.

The first position of a block is predicted from the clean last position of the block before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from . import trunks
from .base import CheckpointFamily, CheckpointFormat


@final
@dataclass(frozen=True)
class FastDLLM(CheckpointFamily):
    """Fast_dLLM_v2_7B and _1.5B, with attention blocks of 32."""

    format = CheckpointFormat(
        trunk=trunks.qwen2,
        checkpoints=("Efficient-Large-Model/Fast_dLLM_v2_7B", "Efficient-Large-Model/Fast_dLLM_v2_1.5B"),
        model_types=("fast_dllm_qwen",),
        architectures=("Fast_dLLM_QwenForCausalLM",),
        look_back=1,
        block_length=32,
        block_key="bd_size",
        mask_id=151665,
    )
