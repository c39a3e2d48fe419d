"""Random models in LLaDA's and Dream's shape, for benchmarks that measure speed and memory."""

from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

import mdm_sampling as mdm

SHAPES = {  # width, layers, heads, heads of keys and values, feed-forward width
    "tiny": (64, 2, 2, 2, 192),
    "small": (256, 6, 4, 4, 768),
    "medium": (768, 12, 12, 12, 2048),
    "llada-8b": (4096, 32, 32, 32, 12_288),
    "dream-7b": (3584, 28, 28, 4, 18_944),
}


def random_llada(
    shape: str, vocabulary: int, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> mdm.TransformerBackend:
    """A LLaDA with random weights, made on the device."""
    config = LlamaConfig(rope_theta=500_000.0, **sizes(shape, vocabulary))
    return mdm.TransformerBackend(
        made(LlamaForCausalLM, config, device, dtype), mask_id=vocabulary - 128, eos_ids=(vocabulary - 383,)
    )


def random_dream(
    shape: str, vocabulary: int, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> mdm.TransformerBackend:
    """A Dream with random weights, made on the device."""
    config = Qwen2Config(rope_theta=1_000_000.0, use_sliding_window=False, **sizes(shape, vocabulary))
    return mdm.TransformerBackend(
        made(Qwen2ForCausalLM, config, device, dtype),
        mask_id=vocabulary - 128,
        eos_ids=(vocabulary - 383,),
        look_back=1,
    )


FAMILIES = {"llada": random_llada, "dream": random_dream}


def sizes(shape: str, vocabulary: int) -> dict[str, Any]:
    """What the configs of both families share."""
    width, layers, heads, kv_heads, inner = SHAPES[shape]
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": 16_384,
        "pad_token_id": None,
        "is_causal": False,
    }


def made(model_class: Any, config: Any, device: str, dtype: torch.dtype) -> Any:
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            return model_class(config)
    finally:
        torch.set_default_dtype(default)


def random_prompt(length: int, vocabulary: int, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, vocabulary - 500, (length,), generator=generator).tolist()
