"""Random models in LLaDA's shape, for benchmarks that measure speed and memory."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

import mdm_sampling as mdm

SHAPES = {  # width, layers, heads, feed-forward width
    "tiny": (64, 2, 2, 192),
    "small": (256, 6, 4, 768),
    "medium": (768, 12, 12, 2048),
    "llada-8b": (4096, 32, 32, 12_288),
}


def random_llada(
    shape: str, vocabulary: int, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> mdm.TransformerBackend:
    """A LLaDA with random weights, made on the device."""
    width, layers, heads, inner = SHAPES[shape]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=16_384,
        rope_theta=500_000.0,
        pad_token_id=None,
        is_causal=False,
    )
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(default)
    return mdm.TransformerBackend(model, mask_id=vocabulary - 128, eos_ids=(vocabulary - 383,))


def random_prompt(length: int, vocabulary: int, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, vocabulary - 500, (length,), generator=generator).tolist()
