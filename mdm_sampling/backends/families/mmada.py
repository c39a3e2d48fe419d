"""The text part of MMaDA (arXiv:2505.15809), which has the format of LLaDA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

from ..config import field
from .base import Checkpoint, CheckpointFamily
from .llada import LLaDA, rotate_as_published


@final
@dataclass(frozen=True)
class MMaDA(CheckpointFamily):
    """MMaDA-8B-Base and -MixCoT: their text; ids of images are never predicted."""

    format = replace(
        LLaDA.format,
        checkpoints=("Gen-Verse/MMaDA-8B-Base", "Gen-Verse/MMaDA-8B-MixCoT"),
        model_types=("mmada",),
        architectures=("MMadaModelLM",),
    )

    def adapt(self, model: Any, checkpoint: Checkpoint) -> None:
        rotate_as_published(model, checkpoint)

    def text_size(self, config: Mapping[str, Any], source: str) -> int | None:
        return field(config, "llm_vocab_size", source)
