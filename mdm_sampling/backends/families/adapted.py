"""Masked diffusion models whose config.json is that of an autoregressive one; the user names their family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from . import trunks
from .base import CheckpointFamily, CheckpointFormat


@final
@dataclass(frozen=True)
class OpenDCoder(CheckpointFamily):
    """Open-dCoder-0.5B; its config.json is Qwen2's, so it has to be named."""

    format = CheckpointFormat(
        trunk=trunks.qwen2,
        checkpoints=("fredzzp/open-dcoder-0.5B",),
        look_back=1,
    )


@final
@dataclass(frozen=True)
class DiffuLLaMA(CheckpointFamily):
    """DiffuLLaMA; its config.json is Llama's, so it has to be named."""

    format = CheckpointFormat(
        trunk=trunks.llama,
        checkpoints=("diffusionfamily/diffullama",),
        look_back=1,
        tokenizer="LlamaTokenizerFast",
    )
