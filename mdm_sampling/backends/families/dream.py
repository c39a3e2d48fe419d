"""Dream checkpoints (arXiv:2508.15487) in a bidirectional `Qwen2ForCausalLM`.

Dream has Qwen2's block and weight names. It is right-shifted: position i is predicted from the hidden state at i - 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from .base import CheckpointFamily, CheckpointFormat


@final
@dataclass(frozen=True)
class Dream(CheckpointFamily):
    """Dream-v0-Base-7B, Dream-v0-Instruct-7B, Dream-Coder, DiffuCoder and other checkpoints in their format."""

    format = CheckpointFormat(
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

    def native_config(self, config: Mapping[str, Any], source: str) -> Any:
        from .trunks import qwen2

        return qwen2(config, source)
