"""SDAR (arXiv:2510.06303) and TraDo (arXiv:2509.06949) in a block-causal `Qwen3ForCausalLM`, or `Qwen3MoeForCausalLM`.

Their names of weights are Qwen3's. The published config.json says neither the mask nor the length of attention blocks,
which is 4 unless the repository's name says otherwise. Blocks are counted from a row's first token, in the prompt too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from . import trunks
from .base import CheckpointFamily, CheckpointFormat

_MASK_ID = 151669
_BLOCK_IN_NAME = r"-b(\d+)\b"
_SUPPORTED: dict[str, tuple[Any, ...]] = {
    # I-DLM and UNO share the type, and attend causally to the prompt.
    "use_regular_causal": (False, None),
    "block_causal_prompt": (True, None),
}


@final
@dataclass(frozen=True)
class SDAR(CheckpointFamily):
    """SDAR-1.7B, 4B and 8B-Chat, with blocks of 4 or as their names say (-b8 to -b64), and TraDo."""

    format = CheckpointFormat(
        trunk=trunks.qwen3,
        checkpoints=(
            "JetLM/SDAR-1.7B-Chat",
            "JetLM/SDAR-4B-Chat",
            "JetLM/SDAR-8B-Chat",
            "Gen-Verse/TraDo-4B-Instruct",
            "Gen-Verse/TraDo-8B-Instruct",
            "Gen-Verse/TraDo-8B-Thinking",
        ),
        model_types=("sdar",),
        architectures=("SDARForCausalLM",),
        supported=_SUPPORTED,
        block_length=4,
        block_in_name=_BLOCK_IN_NAME,
        mask_id=_MASK_ID,
    )


@final
@dataclass(frozen=True)
class SDARMoE(CheckpointFamily):
    """SDAR-30B-A3B-Chat and -Sci: SDAR with experts."""

    format = CheckpointFormat(
        trunk=trunks.qwen3_moe,
        checkpoints=("JetLM/SDAR-30B-A3B-Chat", "JetLM/SDAR-30B-A3B-Sci"),
        model_types=("sdar_moe",),
        architectures=("SDARMoeForCausalLM",),
        keys=("num_experts",),
        supported=_SUPPORTED,
        block_length=4,
        block_in_name=_BLOCK_IN_NAME,
        mask_id=_MASK_ID,
    )
