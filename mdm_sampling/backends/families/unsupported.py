"""Published checkpoints that no family reads, each with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_REASONS = {
    "diffusion_gemma": "it diffuses with random tokens and has no mask",
    "lfm2_diffusion": "it diffuses with random tokens and has no mask",
    "dreamon": "it inserts and deletes positions, which a canvas of fixed length cannot",
    "llada2_2_moe": "it inserts and deletes positions, which a canvas of fixed length cannot",
    "mdlm": "its weights are not those of a native class; they would have to be folded",
    "bd3lm": "its weights are not those of a native class; they would have to be folded",
    "wedlm": "what it attends to depends on which tokens are known",
    "nemotron_labs_diffusion": "what it attends to depends on the block that is being filled",
    "roberta": "a masked language model has another head and is not read yet",
    "modernbert": "a masked language model has another head and is not read yet",
}
"""By the model_type in small letters."""

_AUTOREGRESSIVE = ("llama", "qwen2", "qwen3", "gpt2", "mistral")


def reason_of(config: Mapping[str, Any]) -> str:
    """Why a checkpoint is not read, with a colon before it; empty where nothing is known of it."""
    kind = str(config.get("model_type")).lower()
    if kind in _AUTOREGRESSIVE:
        return ", which is that of an autoregressive model; if it is a masked diffusion model, name its family"
    return f": {_REASONS[kind]}" if kind in _REASONS else ""
