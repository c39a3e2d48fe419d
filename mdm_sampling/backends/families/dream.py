"""Dream checkpoints (arXiv:2508.15487) in a bidirectional `Qwen2ForCausalLM`.

Dream has Qwen2's block and weight names. It is right-shifted: position i is predicted from the hidden state at i - 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from . import trunks
from .base import CheckpointFamily, CheckpointFormat


@final
@dataclass(frozen=True)
class Dream(CheckpointFamily):
    """Dream-v0-Base-7B, Dream-v0-Instruct-7B, Dream-Coder, DiffuCoder and other checkpoints in their format."""

    format = CheckpointFormat(
        trunk=trunks.qwen2,
        checkpoints=(
            "Dream-org/Dream-v0-Base-7B",
            "Dream-org/Dream-v0-Instruct-7B",
            "Dream-org/Dream-Coder-v0-Instruct-7B",
            "apple/DiffuCoder-7B-Base",
            "apple/DiffuCoder-7B-Instruct",
        ),
        architectures=("DreamModel",),
        model_types=("dream",),
        look_back=1,
    )
