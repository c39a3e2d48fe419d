"""Put a function around the attention that a transformers model was loaded with."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any


def is_flash(model: Any) -> bool:
    """Whether a transformers model was loaded with a kernel of flash attention, which is never wrapped.

    transformers looks these kernels up by their names, and rounds float32 queries for them itself. They take no bias.
    """
    return "flash" in str(model.config._attn_implementation)


def wrap_attention(model: Any, name: str, around: Callable[..., Any]) -> None:
    """Let `around(attend, module, query, key, value, mask, ...)` stand for the model's attention function `attend`.

    It is registered with transformers' attention interface as `name` and a hyphen before the chosen one's name, which
    keeps the chosen one's masks. A model that has it already is left as it is.
    """
    from transformers import AttentionInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
    from transformers.models.llama.modeling_llama import eager_attention_forward

    chosen = model.config._attn_implementation
    if chosen.startswith(f"{name}-"):
        return
    attend = ALL_ATTENTION_FUNCTIONS.get_interface(chosen, eager_attention_forward)
    AttentionInterface.register(f"{name}-{chosen}", partial(around, attend))
    AttentionMaskInterface.register(f"{name}-{chosen}", ALL_MASK_ATTENTION_FUNCTIONS[chosen])
    model.config._attn_implementation = f"{name}-{chosen}"
