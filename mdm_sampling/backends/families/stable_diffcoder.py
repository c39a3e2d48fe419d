"""Stable-DiffCoder in a block-causal `LlamaForCausalLM`, whose names of weights it has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from . import trunks
from .base import CheckpointFamily, CheckpointFormat


@final
@dataclass(frozen=True)
class StableDiffCoder(CheckpointFamily):
    """Stable-DiffCoder-8B, with attention blocks of 4."""

    format = CheckpointFormat(
        trunk=trunks.llama,
        checkpoints=("ByteDance-Seed/Stable-DiffCoder-8B-Base", "ByteDance-Seed/Stable-DiffCoder-8B-Instruct"),
        model_types=("llama",),
        architectures=("StableDiffcoderForCausalLM",),
        keys=None,
        block_length=4,
        mask_id=5,
        tokenizer="PreTrainedTokenizerFast",
    )
