"""RND1 in a bidirectional `Qwen3MoeForCausalLM`, whose names of weights it has; right-shifted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from .base import CheckpointFamily, CheckpointFormat


def _trunk(config: Mapping[str, Any], source: str) -> Any:
    """A `Qwen3MoeConfig`; published configs switch keys off with false."""
    from .trunks import qwen3_moe

    switched_off = {name: None for name in ("rope_scaling", "sliding_window") if config.get(name) is False}
    return qwen3_moe({**config, **switched_off}, source)


@final
@dataclass(frozen=True)
class RND1(CheckpointFamily):
    """RND1-Base-0910, a base model."""

    format = CheckpointFormat(
        trunk=_trunk,
        checkpoints=("radicalnumerics/RND1-Base-0910",),
        model_types=("rnd1",),
        keys=("num_experts",),
        look_back=1,
        mask_id=151669,
    )
