"""Masked diffusion models whose config.json is that of an autoregressive one; the user names their family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from .base import CheckpointFamily, CheckpointFormat


@final
@dataclass(frozen=True)
class OpenDCoder(CheckpointFamily):
    """Open-dCoder-0.5B; its config.json is Qwen2's, so it has to be named."""

    format = CheckpointFormat(
        checkpoints=("fredzzp/open-dcoder-0.5B",),
        look_back=1,
    )

    def native_config(self, config: Mapping[str, Any], source: str) -> Any:
        from .trunks import qwen2

        return qwen2(config, source)


@final
@dataclass(frozen=True)
class DiffuLLaMA(CheckpointFamily):
    """DiffuLLaMA; its config.json is Llama's, so it has to be named."""

    format = CheckpointFormat(
        checkpoints=("diffusionfamily/diffullama",),
        look_back=1,
        tokenizer="LlamaTokenizerFast",
    )

    def native_config(self, config: Mapping[str, Any], source: str) -> Any:
        from .trunks import llama

        return llama(config, source)
