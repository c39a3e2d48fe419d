"""Independent, deliberately plain LLaDA and Dream forwards, with the published weight names and config keys.

They share nothing with the package: no cache, no span, one row at a time, loops over heads.
"""

import json
import math
from pathlib import Path
from typing import ClassVar

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

LETTERS = "abcdefghijklmnopqrstuvwxyz .,?"
LLADA_SYMBOLS = ["<|endoftext|>", "<|eot_id|>", "<|mask|>", *LETTERS, "<|user|>", "<|assistant|>"]
DREAM_SPECIAL = {"<|endoftext|>": 256, "<|im_start|>": 257, "<|im_end|>": 258, "<|mask|>": 259}


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide = x.float() if x.dtype != torch.float64 else x
    normed = wide / torch.sqrt((wide * wide).mean(-1, keepdim=True) + eps)
    return weight * normed.to(x.dtype)


def rotate(x: Tensor, positions: Tensor, theta: float, in_float32: bool) -> Tensor:
    """Rotary embedding of one head, [t d]: the halves of a vector are the two coordinates of each plane."""
    half = x.shape[-1] // 2
    frequency = 1.0 / theta ** (torch.arange(half).float() / half)
    angle = positions[:, None].float() * frequency
    cos, sin = angle.cos(), angle.sin()
    if not in_float32:
        cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    a, b = (x.float() if in_float32 and x.dtype != torch.float64 else x).split(half, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1).to(x.dtype)


class Naive:
    """A bidirectional decoder over a dict of weights with published names."""

    theta: float
    eps: float
    rotate_in_float32: bool
    qkv_bias: bool
    vocab: int
    mask_id: int
    eos_ids: tuple[int, ...]
    top: ClassVar[dict[str, str]]

    def __init__(self, seed: int, width: int, heads: int, kv_heads: int, layers: int, inner: int) -> None:
        self.width, self.heads, self.kv_heads, self.layers, self.inner = width, heads, kv_heads, layers, inner
        self.head_dim = width // heads
        generator = torch.Generator().manual_seed(seed)
        self.weights = {}
        for name, shape in self.shapes().items():
            scale = 0.2 if len(shape) == 2 else 0.1
            offset = 1.0 if len(shape) == 1 and "bias" not in name else 0.0
            self.weights[name] = torch.randn(shape, generator=generator) * scale + offset

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each weight by its published name."""
        kv = self.kv_heads * self.head_dim
        shapes: dict[str, tuple[int, ...]] = {
            self.top["embed"]: (self.vocab, self.width),
            self.top["norm"]: (self.width,),
            self.top["head"]: (self.vocab, self.width),
        }
        for layer in range(self.layers):
            n = self.names(layer)
            shapes |= {n["norm1"]: (self.width,), n["norm2"]: (self.width,)}
            shapes |= {n["q"]: (self.width, self.width), n["k"]: (kv, self.width), n["v"]: (kv, self.width)}
            if self.qkv_bias:
                shapes |= {n[p].replace("weight", "bias"): shapes[n[p]][:1] for p in "qkv"}
            shapes |= {n["o"]: (self.width, self.width), n["down"]: (self.width, self.inner)}
            shapes |= {n["gate"]: (self.inner, self.width), n["up"]: (self.inner, self.width)}
        return shapes

    def names(self, layer: int) -> dict[str, str]:
        raise AssertionError

    def logits(self, tokens: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Output row i of one sequence, [t] -> [t v], before any shift."""
        w = {name: weight.to(dtype) for name, weight in self.weights.items()}
        positions = torch.arange(len(tokens))
        x = w[self.top["embed"]][tokens]
        for layer in range(self.layers):
            n = self.names(layer)
            h = rms_norm(x, w[n["norm1"]], self.eps)
            q, k, v = (h @ w[n[p]].T + w.get(n[p].replace("weight", "bias"), 0) for p in "qkv")
            heads = []
            for i in range(self.heads):
                j = i // (self.heads // self.kv_heads)
                qi = rotate(q[:, self._columns(i)], positions, self.theta, self.rotate_in_float32)
                kj = rotate(k[:, self._columns(j)], positions, self.theta, self.rotate_in_float32)
                scores = (qi @ kj.T) / math.sqrt(self.head_dim)
                wide = torch.float64 if dtype == torch.float64 else torch.float32
                heads.append(scores.to(wide).softmax(-1).to(dtype) @ v[:, self._columns(j)])
            x = x + torch.cat(heads, dim=-1) @ w[n["o"]].T
            h = rms_norm(x, w[n["norm2"]], self.eps)
            x = x + (torch.nn.functional.silu(h @ w[n["gate"]].T) * (h @ w[n["up"]].T)) @ w[n["down"]].T
        return rms_norm(x, w[self.top["norm"]], self.eps) @ w[self.top["head"]].T

    def _columns(self, head: int) -> slice:
        return slice(head * self.head_dim, (head + 1) * self.head_dim)


class NaiveLLaDA(Naive):
    theta, eps, rotate_in_float32, qkv_bias = 500_000.0, 1e-5, True, False
    vocab, mask_id, eos_ids = 40, 2, (0, 1)  # larger than the tokenizer's vocabulary, as published embeddings are
    top: ClassVar[dict[str, str]] = {
        "embed": "model.transformer.wte.weight",
        "norm": "model.transformer.ln_f.weight",
        "head": "model.transformer.ff_out.weight",
    }

    def __init__(self, seed: int, kv_heads: int = 4) -> None:
        super().__init__(seed, width=32, heads=4, kv_heads=kv_heads, layers=3, inner=48)

    def names(self, layer: int) -> dict[str, str]:
        published = {
            "norm1": "attn_norm",
            "q": "q_proj",
            "k": "k_proj",
            "v": "v_proj",
            "o": "attn_out",
            "norm2": "ff_norm",
            "gate": "ff_proj",
            "up": "up_proj",
            "down": "ff_out",
        }
        return {key: f"model.transformer.blocks.{layer}.{name}.weight" for key, name in published.items()}

    def predict(self, tokens: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Row i predicts position i."""
        return self.logits(tokens, dtype)


class NaiveDream(Naive):
    theta, eps, rotate_in_float32, qkv_bias = 1_000_000.0, 1e-6, False, True
    vocab, mask_id, eos_ids = 264, 259, (256, 258)
    top: ClassVar[dict[str, str]] = {
        "embed": "model.embed_tokens.weight",
        "norm": "model.norm.weight",
        "head": "lm_head.weight",
    }

    def __init__(self, seed: int) -> None:
        super().__init__(seed, width=32, heads=4, kv_heads=2, layers=3, inner=48)

    def names(self, layer: int) -> dict[str, str]:
        published = {
            "norm1": "input_layernorm",
            "q": "self_attn.q_proj",
            "k": "self_attn.k_proj",
            "v": "self_attn.v_proj",
            "o": "self_attn.o_proj",
            "norm2": "post_attention_layernorm",
            "gate": "mlp.gate_proj",
            "up": "mlp.up_proj",
            "down": "mlp.down_proj",
        }
        return {key: f"model.layers.{layer}.{name}.weight" for key, name in published.items()}

    def predict(self, tokens: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Row i predicts position i: the output one position to the left, and the first position from its own
        output.
        """
        out = self.logits(tokens, dtype)
        return torch.cat([out[:1], out[:-1]])


LLADA_CONFIG = {
    "architectures": ["LLaDAModelLM"],
    "auto_map": {"AutoConfig": "configuration_llada.LLaDAConfig", "AutoModel": "modeling_llada.LLaDAModelLM"},
    "model_type": "llada",
    "block_type": "llama",
    "activation_type": "silu",
    "include_bias": False,
    "rope": True,
    "rope_full_precision": True,
    "rope_theta": 500_000.0,
    "rms_norm_eps": 1e-5,
    "mlp_ratio": 4,
    "max_sequence_length": 128,
    "weight_tying": False,
    "mask_token_id": 2,
    "eos_token_id": 0,
    "pad_token_id": 0,
    "torch_dtype": "float32",
}


def save_llada(model: NaiveLLaDA, folder: Path, shards: int = 1, **changes: object) -> Path:
    """Write a checkpoint folder in LLaDA's published format, in one or several safetensors files."""
    config = LLADA_CONFIG | {
        "d_model": model.width,
        "n_heads": model.heads,
        "n_kv_heads": model.kv_heads,
        "n_layers": model.layers,
        "mlp_hidden_size": model.inner,
        "vocab_size": model.vocab,
        "embedding_size": model.vocab,
    }
    llada_tokenizer().save_pretrained(folder)
    return _save(folder, config | changes, model.weights, shards)


def save_dream(model: NaiveDream, folder: Path, shards: int = 1, **changes: object) -> Path:
    """Write a checkpoint folder in Dream's published format."""
    config = {
        "architectures": ["DreamModel"],
        "auto_map": {"AutoConfig": "configuration_dream.DreamConfig", "AutoModel": "modeling_dream.DreamModel"},
        "model_type": "Dream",
        "hidden_size": model.width,
        "intermediate_size": model.inner,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads,
        "max_position_embeddings": 128,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "vocab_size": model.vocab,
        "mask_token_id": 259,
        "eos_token_id": 256,
        "pad_token_id": 256,
        "torch_dtype": "float32",
    }
    save_dream_tokenizer(folder)
    return _save(folder, config | changes, model.weights, shards)


def _save(folder: Path, config: dict[str, object], weights: dict[str, Tensor], shards: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    names = sorted(weights)
    parts = [names[i::shards] for i in range(shards)]
    files = ["model.safetensors"]
    if shards > 1:
        files = [f"model-{i + 1:05d}-of-{shards:05d}.safetensors" for i in range(shards)]
        index = {name: file for file, part in zip(files, parts, strict=True) for name in part}
        size = sum(w.numel() * w.element_size() for w in weights.values())
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {"total_size": size}, "weight_map": index})
        )
    for file, part in zip(files, parts, strict=True):
        save_file({name: weights[name].contiguous() for name in part}, folder / file, metadata={"format": "pt"})
    return folder


def llada_tokenizer() -> PreTrainedTokenizerFast:
    """One character, one token, with a chat template, and no mask token, as LLaDA's."""
    core = Tokenizer(models.WordLevel({token: i for i, token in enumerate(LLADA_SYMBOLS)}))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    core.decoder = decoders.Fuse()
    made = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|eot_id|>", "<|mask|>", "<|user|>", "<|assistant|>"],
        clean_up_tokenization_spaces=False,
    )
    made.chat_template = (
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    return made


def save_dream_tokenizer(folder: Path) -> None:
    """The files of a published Dream tokenizer: a byte-level vocabulary, no tokenizer.json, and remote code's name."""
    folder.mkdir(parents=True, exist_ok=True)
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    (folder / "vocab.json").write_text(json.dumps({symbol: i for i, symbol in enumerate(symbols)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    added = {str(i): {"content": t, "special": True, "normalized": False} for t, i in DREAM_SPECIAL.items()}
    config = {
        "added_tokens_decoder": added,
        "auto_map": {"AutoTokenizer": ["tokenization_dream.DreamTokenizer", None]},
        "tokenizer_class": "DreamTokenizer",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "mask_token": "<|mask|>",
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "chat_template": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
