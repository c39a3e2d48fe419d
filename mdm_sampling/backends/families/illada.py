"""iLLaDA (arXiv:2606.25331) in a bidirectional `LlamaForCausalLM`, whose names of weights it has.

Neither its config.json nor its tokenizer names the mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from . import trunks
from .base import CheckpointFamily, CheckpointFormat


@final
@dataclass(frozen=True)
class ILLaDA(CheckpointFamily):
    """iLLaDA-8B-Base and iLLaDA-8B-Instruct."""

    format = CheckpointFormat(
        trunk=trunks.llama,
        checkpoints=("GSAI-ML/iLLaDA-8B-Base", "GSAI-ML/iLLaDA-8B-Instruct"),
        architectures=("ILLaDAForCausalLM",),
        supported={"layer_norm_eps": (None,)},
        mask_id=5,
        tokenizer="PreTrainedTokenizerFast",
    )
