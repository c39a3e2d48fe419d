"""Write a trained Llama as a checkpoint in LLaDA's published format, weights in float16, with its tokenizer."""

import json
from pathlib import Path

from safetensors.torch import save_file
from transformers import LlamaForCausalLM
from vocabulary import END, ID, MASK, VOCABULARY, tokenizer

PUBLISHED_NAMES = {  # Llama's weight names -> LLaDA's
    "model.embed_tokens": "model.transformer.wte",
    "model.norm": "model.transformer.ln_f",
    "lm_head": "model.transformer.ff_out",
    "model.layers.": "model.transformer.blocks.",
    ".input_layernorm": ".attn_norm",
    ".post_attention_layernorm": ".ff_norm",
    ".self_attn.o_proj": ".attn_out",
    ".self_attn.": ".",
    ".mlp.gate_proj": ".ff_proj",
    ".mlp.up_proj": ".up_proj",
    ".mlp.down_proj": ".ff_out",
}


def save(model: LlamaForCausalLM, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    weights = {}
    for name, tensor in model.state_dict().items():
        for ours, published in PUBLISHED_NAMES.items():
            name = name.replace(ours, published)
        weights[name] = tensor.half().contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(published_config(model), indent=2) + "\n")
    (folder / "generation_config.json").write_text(json.dumps({"max_new_tokens": 20}, indent=2) + "\n")
    tokenizer().save_pretrained(folder)


def published_config(model: LlamaForCausalLM) -> dict[str, object]:
    config = model.config
    return {
        "architectures": ["LLaDAModelLM"],
        "model_type": "llada",
        "d_model": config.hidden_size,
        "n_heads": config.num_attention_heads,
        "n_kv_heads": config.num_key_value_heads,
        "n_layers": config.num_hidden_layers,
        "mlp_hidden_size": config.intermediate_size,
        "vocab_size": len(VOCABULARY),
        "embedding_size": len(VOCABULARY),
        "max_sequence_length": config.max_position_embeddings,
        "rope_theta": 10_000.0,
        "rms_norm_eps": config.rms_norm_eps,
        "weight_tying": False,
        "include_bias": False,
        "block_type": "llama",
        "activation_type": "silu",
        "mask_token_id": ID[MASK],
        "eos_token_id": ID[END],
        "pad_token_id": ID[END],
        "torch_dtype": "float32",
    }
