"""Independent, deliberately plain forwards of the families in Qwen's, Llama's and their experts' weight names.

They share nothing with the package: no cache, no span, one row at a time, loops over positions, heads and experts.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from naive import NaiveLLaDA, llada_tokenizer, rms_norm, rotate, save_dream_tokenizer, save_llada
from safetensors.torch import save_file
from torch import Tensor

VOCAB, MASK = 264, 259
WIDTH, HEADS, KV_HEADS, HEAD_DIM, LAYERS, INNER, EXPERT_INNER = 32, 4, 2, 12, 3, 48, 20
THETA, EPS = 600_000.0, 1e-5


@dataclass(frozen=True)
class Plan:
    """What a family computes, and what its folder says.

    Attributes:
        family: as it is registered.
        config: keys beside the ones that all have.
        folder: name of the folder.
        qk_norm: whether queries and keys are normed head by head.
        qkv_bias: whether queries, keys and values have biases.
        tied: whether the head is the embedding.
        shift: whether row i predicts position i + 1.
        block: length of attention blocks; None for full attention.
        from_prompt: whether blocks are counted from the prompt's end.
        experts: how many there are, and how many a token takes; None for none.
        normed_experts: whether the weights of the experts that are taken sum to 1.
        dense: layers without experts.
        glm: LLaDA2's names, half of each head rotated, experts chosen by sigmoids in two groups, one that all share.
        head_dim: width of a head.
        tokenizer: writes its files.
        named: whether the user has to name the family.
    """

    family: str
    config: dict[str, Any]
    folder: str = "checkpoint"
    qk_norm: bool = False
    qkv_bias: bool = False
    tied: bool = False
    shift: bool = False
    block: int | None = None
    from_prompt: bool = False
    experts: tuple[int, int] | None = None
    normed_experts: bool = True
    dense: tuple[int, ...] = ()
    glm: bool = False
    head_dim: int = HEAD_DIM
    tokenizer: Callable[[Path], object] = save_dream_tokenizer
    named: bool = False


def _llada_files(folder: Path) -> object:
    return llada_tokenizer().save_pretrained(folder)


_MOE = {"num_experts": 5, "num_experts_per_tok": 2}
_QWEN3_MOE = {**_MOE, "moe_intermediate_size": EXPERT_INNER, "norm_topk_prob": True, "decoder_sparse_step": 1}
_SDAR = {"auto_map": {"AutoModelForCausalLM": "modeling_sdar.SDARForCausalLM"}, "fuse_cross_entropy": False}
PLANS = [
    Plan(
        "sdar",
        {"model_type": "sdar", "architectures": ["SDARForCausalLM"], "attention_bias": False, **_SDAR},
        qk_norm=True,
        block=4,
    ),
    Plan(
        "sdar-moe",
        {"model_type": "sdar_moe", "architectures": ["SDARMoeForCausalLM"], "mlp_only_layers": [], **_QWEN3_MOE},
        folder="SDAR-30B-A3B-Chat-b8",
        qk_norm=True,
        block=8,
        experts=(5, 2),
    ),
    Plan(
        "a2d",
        {"model_type": "a2d-qwen3", "architectures": ["A2DQwen3LMHeadModel"], "tie_word_embeddings": True},
        folder="Qwen3-0.6B-diffusion-mdlm-v0.1",
        qk_norm=True,
        tied=True,
    ),
    Plan(
        "a2d",
        {"model_type": "a2d-qwen2", "architectures": ["A2DQwen2LMHeadModel"], "block_size": 4, "head_dim": None},
        folder="Qwen2.5-Coder-0.5B-Instruct-diffusion-bd3lm-v0.1",
        qkv_bias=True,
        block=4,
        from_prompt=True,
        head_dim=WIDTH // HEADS,
    ),
    Plan(
        "a2d",
        {"model_type": "a2d-llama", "architectures": ["A2DLlamaLMHeadModel"], "mlp_bias": False},
        folder="llama-mdlm",
    ),
    Plan(
        "llada-moe",
        {
            "model_type": "llada",
            "architectures": ["LLaDAMoEModelLM"],
            **_MOE,
            "expert_intermediate_size": EXPERT_INNER,
            "dense_intermediate_size": INNER,
            "intermediate_size": None,
            "moe_layer_freq": [0, 1, 1],
            "qk_layernorm": True,
            "moe_router_score_function": "softmax",
            "moe_router_enable_expert_bias": False,
            "shared_expert_intermediate_size": None,
            "norm_topk_prob": None,
            "clip_qkv": None,
            "head_dim": None,
        },
        qk_norm=True,
        experts=(5, 2),
        normed_experts=False,
        dense=(0,),
        head_dim=WIDTH // HEADS,
        tokenizer=_llada_files,
    ),
    Plan(
        "llada2",
        {
            "model_type": "llada2_moe",
            "architectures": ["LLaDA2MoeModelLM"],
            "num_experts": 6,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": EXPERT_INNER,
            "num_shared_experts": 1,
            "n_group": 3,
            "topk_group": 2,
            "routed_scaling_factor": 2.5,
            "score_function": "sigmoid",
            "moe_router_enable_expert_bias": True,
            "first_k_dense_replace": 1,
            "partial_rotary_factor": 0.5,
            "rope_scaling": None,
            "use_qkv_bias": False,
            "use_bias": False,
            "norm_topk_prob": True,
            "sliding_window": 4096,
            "block_size": 4,
        },
        qk_norm=True,
        block=4,
        experts=(6, 2),
        dense=(0,),
        glm=True,
        tokenizer=_llada_files,
    ),
    Plan(
        "fast-dllm",
        {
            "model_type": "Fast_dLLM_Qwen",
            "architectures": ["Fast_dLLM_QwenForCausalLM"],
            "bd_size": 4,
            "head_dim": None,
            "use_sliding_window": False,
        },
        qkv_bias=True,
        shift=True,
        block=4,
        head_dim=WIDTH // HEADS,
    ),
    Plan(
        "dream-reasoner",
        {"model_type": "Dream", "architectures": ["DreamForCausalLM"], "block_size": 4, "head_dim": None},
        qk_norm=True,
        block=4,
        head_dim=WIDTH // HEADS,
    ),
    Plan(
        "illada",
        {"model_type": "illada", "architectures": ["ILLaDAForCausalLM"], "tie_word_embeddings": True},
        tied=True,
        tokenizer=_llada_files,
    ),
    Plan(
        "stable-diffcoder",
        {"model_type": "llama", "architectures": ["StableDiffcoderForCausalLM"]},
        block=4,
        tokenizer=_llada_files,
    ),
    Plan(
        "rnd1",
        {
            "model_type": "rnd1",
            "architectures": ["RND1LM"],
            "rope_scaling": False,
            "sliding_window": False,
            "attention_bias": False,
            **_QWEN3_MOE,
        },
        qk_norm=True,
        shift=True,
        experts=(5, 2),
    ),
    Plan(
        "open-dcoder",
        {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "head_dim": None},
        qkv_bias=True,
        shift=True,
        head_dim=WIDTH // HEADS,
        named=True,
    ),
    Plan(
        "diffullama",
        {"model_type": "llama", "architectures": ["LlamaForCausalLM"]},
        shift=True,
        tokenizer=_llada_files,
        named=True,
    ),
]


@dataclass
class NaiveDecoder:
    """A decoder over a dict of weights with published names, in the way that a plan describes."""

    plan: Plan
    seed: int = 1
    weights: dict[str, Tensor] = field(default_factory=dict)
    mask_id: ClassVar[int] = MASK

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        for name, shape in self._shapes().items():
            scale = 0.2 if len(shape) == 2 else 0.1
            offset = 1.0 if len(shape) == 1 and "bias" not in name else 0.0
            self.weights[name] = torch.randn(shape, generator=generator) * scale + offset

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        plan = self.plan
        inner = {"q": HEADS * plan.head_dim, "k": KV_HEADS * plan.head_dim, "v": KV_HEADS * plan.head_dim}
        shapes: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (VOCAB, WIDTH),
            "model.norm.weight": (WIDTH,),
        }
        if not plan.tied:
            shapes["lm_head.weight"] = (VOCAB, WIDTH)
        for layer in range(LAYERS):
            at = f"model.layers.{layer}."
            shapes |= {at + "input_layernorm.weight": (WIDTH,), at + "post_attention_layernorm.weight": (WIDTH,)}
            for each, width in inner.items():
                shapes[f"{at}self_attn.{each}_proj.weight"] = (width, WIDTH)
                if plan.qkv_bias:
                    shapes[f"{at}self_attn.{each}_proj.bias"] = (width,)
            shapes[at + "self_attn.o_proj.weight"] = (WIDTH, HEADS * plan.head_dim)
            if plan.qk_norm:
                shapes |= {f"{at}self_attn.{each}_norm.weight": (plan.head_dim,) for each in "qk"}
            if plan.experts is None or layer in plan.dense:
                shapes |= _mlp_shapes(at + "mlp.", INNER)
            else:
                shapes[at + "mlp.gate.weight"] = (plan.experts[0], WIDTH)
                if plan.glm:
                    shapes[at + "mlp.gate.expert_bias"] = (plan.experts[0],)
                    shapes |= _mlp_shapes(at + "mlp.shared_experts.", EXPERT_INNER)
                for expert in range(plan.experts[0]):
                    shapes |= _mlp_shapes(f"{at}mlp.experts.{expert}.", EXPERT_INNER)
        return shapes

    def parameters(self) -> list[Tensor]:
        """The weights that are learned; LLaDA2's bias of experts is a buffer of the native class."""
        return [weight for name, weight in self.weights.items() if not name.endswith("expert_bias")]

    def visible(self, length: int, prompt: int) -> Tensor:
        """Whether position i attends to position j, bool [t t]."""
        plan = self.plan
        if plan.block is None:
            return torch.ones(length, length, dtype=torch.bool)
        numbers = [(i - (prompt if plan.from_prompt else 0)) // plan.block for i in range(length)]
        return torch.tensor([[numbers[j] <= numbers[i] for j in range(length)] for i in range(length)])

    def predict(self, tokens: Tensor, prompt: int) -> Tensor:
        """What predicts each position of one sequence, [t] -> [t v], of which the first `prompt` are the prompt."""
        w, plan = self.weights, self.plan
        sees, positions = self.visible(len(tokens), prompt), torch.arange(len(tokens))
        x = w["model.embed_tokens.weight"][tokens]
        for layer in range(LAYERS):
            at = f"model.layers.{layer}."
            h = rms_norm(x, w[at + "input_layernorm.weight"], EPS)
            x = x + self._attention(h, at + "self_attn.", sees, positions)
            h = rms_norm(x, w[at + "post_attention_layernorm.weight"], EPS)
            routed = plan.experts is not None and layer not in plan.dense
            experts = self._glm_experts if plan.glm else self._experts
            x = x + (experts if routed else self._mlp)(h, at + "mlp.")
        out = (
            rms_norm(x, w["model.norm.weight"], EPS)
            @ w["model.embed_tokens.weight" if plan.tied else "lm_head.weight"].T
        )
        return torch.cat([out[:1], out[:-1]]) if plan.shift else out

    def _attention(self, h: Tensor, at: str, sees: Tensor, positions: Tensor) -> Tensor:
        w, wide, heads = self.weights, self.plan.head_dim, []
        q, k, v = (h @ w[f"{at}{p}_proj.weight"].T + w.get(f"{at}{p}_proj.bias", torch.zeros(())) for p in "qkv")
        for i in range(HEADS):
            mine, shared = slice(i * wide, i * wide + wide), slice(i // 2 * wide, i // 2 * wide + wide)
            qi, kj = q[:, mine], k[:, shared]
            if self.plan.qk_norm:
                qi, kj = rms_norm(qi, w[at + "q_norm.weight"], EPS), rms_norm(kj, w[at + "k_norm.weight"], EPS)
            turned = wide // 2 if self.plan.glm else wide
            qi, kj = (torch.cat([rotate(x[:, :turned], positions, THETA, False), x[:, turned:]], 1) for x in (qi, kj))
            scores = (qi @ kj.T / wide**0.5).masked_fill(~sees, -torch.inf)
            heads.append(scores.softmax(-1) @ v[:, shared])
        return torch.cat(heads, dim=-1) @ w[at + "o_proj.weight"].T

    def _mlp(self, h: Tensor, at: str) -> Tensor:
        gate, up, down = (self.weights[f"{at}{name}_proj.weight"] for name in ("gate", "up", "down"))
        return (torch.nn.functional.silu(h @ gate.T) * (h @ up.T)) @ down.T

    def _experts(self, h: Tensor, at: str) -> Tensor:
        assert self.plan.experts is not None
        out = torch.zeros_like(h)
        for i, each in enumerate(h):
            chances = (self.weights[at + "gate.weight"] @ each).softmax(0)
            taken = chances.argsort(descending=True)[: self.plan.experts[1]].tolist()
            total = sum(chances[e] for e in taken) if self.plan.normed_experts else torch.ones(())
            for expert in taken:
                out[i] += chances[expert] / total * self._mlp(each, f"{at}experts.{expert}.")
        return out

    def _glm_experts(self, h: Tensor, at: str) -> Tensor:
        """Groups of two experts; a token may take two groups, those whose two scores sum to the most."""
        out = self._mlp(h, at + "shared_experts.")
        for i, each in enumerate(h):
            chances = (self.weights[at + "gate.weight"] @ each).sigmoid()
            ranked = chances + self.weights[at + "gate.expert_bias"]
            groups = sorted(range(3), key=lambda g: -float(ranked[2 * g] + ranked[2 * g + 1]))[:2]
            taken = sorted((e for g in groups for e in (2 * g, 2 * g + 1)), key=lambda e: -float(ranked[e]))[:2]
            total = sum(chances[e] for e in taken)
            for expert in taken:
                out[i] += 2.5 * chances[expert] / total * self._mlp(each, f"{at}experts.{expert}.")
        return out

    def published(self) -> dict[str, Tensor]:
        """The weights as they are stored."""
        if not self.plan.glm:
            return self.weights
        w = dict(self.weights)
        for layer in range(LAYERS):
            at = f"model.layers.{layer}.self_attn."
            w[f"{at}query_key_value.weight"] = torch.cat([w.pop(f"{at}{p}_proj.weight") for p in "qkv"])
        names = {
            "model.embed_tokens": "model.word_embeddings",
            "self_attn.q_norm": "attention.query_layernorm",
            "self_attn.k_norm": "attention.key_layernorm",
            "self_attn.o_proj": "attention.dense",
            "self_attn.": "attention.",
        }
        for ours, theirs in names.items():
            w = {name.replace(ours, theirs): weight for name, weight in w.items()}
        return w

    def save(self, parent: Path, **changes: object) -> Path:
        """Write a checkpoint folder in the family's published format, under the plan's name."""
        folder = parent / self.plan.folder
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "vocab_size": VOCAB,
            "hidden_size": WIDTH,
            "intermediate_size": INNER,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "num_key_value_heads": KV_HEADS,
            "head_dim": HEAD_DIM,
            "hidden_act": "silu",
            "max_position_embeddings": 128,
            "rms_norm_eps": EPS,
            "rope_theta": THETA,
            "tie_word_embeddings": False,
            "mask_token_id": MASK,
            "eos_token_id": 256,
            "torch_dtype": "float32",
        }
        config |= self.plan.config | changes
        (folder / "config.json").write_text(json.dumps(config))
        self.plan.tokenizer(folder)
        save_file(self.published(), folder / "model.safetensors", metadata={"format": "pt"})
        return folder


def _mlp_shapes(at: str, inner: int) -> dict[str, tuple[int, ...]]:
    outward = {f"{at}{name}_proj.weight": (inner, WIDTH) for name in ("gate", "up")}
    return outward | {at + "down_proj.weight": (WIDTH, inner)}


def save_mmada(model: NaiveLLaDA, folder: Path, text_size: int) -> Path:
    """Write a folder in MMaDA's format: LLaDA's, and ids of images above those of texts."""
    return save_llada(
        model,
        folder,
        model_type="mmada",
        architectures=["MMadaModelLM"],
        llm_vocab_size=text_size,
        codebook_size=4,
        num_vq_tokens=16,
    )


class NaiveBert:
    """BERT's masked language model over a dict of weights with published names, written from its definition."""

    def __init__(self, seed: int = 1) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.weights: dict[str, Tensor] = {}
        for name, shape in self._shapes().items():
            offset = 1.0 if "LayerNorm.weight" in name else 0.0
            self.weights[name] = torch.randn(shape, generator=generator) * 0.2 + offset

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        at = "bert.embeddings."
        shapes: dict[str, tuple[int, ...]] = {
            at + "word_embeddings.weight": (VOCAB, WIDTH),
            at + "position_embeddings.weight": (128, WIDTH),
            at + "token_type_embeddings.weight": (2, WIDTH),
            "cls.predictions.bias": (VOCAB,),
            "cls.predictions.transform.dense.weight": (WIDTH, WIDTH),
            "cls.predictions.transform.dense.bias": (WIDTH,),
        }
        norms = [at, "cls.predictions.transform."]
        for layer in range(2):
            at = f"bert.encoder.layer.{layer}."
            sizes = {f"attention.self.{name}": (WIDTH, WIDTH) for name in ("query", "key", "value")}
            sizes |= {"attention.output.dense": (WIDTH, WIDTH), "intermediate.dense": (INNER, WIDTH)}
            for name, size in (sizes | {"output.dense": (WIDTH, INNER)}).items():
                shapes |= {f"{at}{name}.weight": size, f"{at}{name}.bias": size[:1]}
            norms += [at + "attention.output.", at + "output."]
        return shapes | {f"{norm}LayerNorm.{part}": (WIDTH,) for norm in norms for part in ("weight", "bias")}

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.weights[name + ".weight"].T + self.weights[name + ".bias"]

    def _norm(self, x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-12).sqrt()
        return scaled * self.weights[name + "LayerNorm.weight"] + self.weights[name + "LayerNorm.bias"]

    def predict(self, tokens: Tensor) -> Tensor:
        """Logits of one sequence, [t] -> [t v]."""
        w, at, wide = self.weights, "bert.embeddings.", WIDTH // HEADS
        x = w[at + "word_embeddings.weight"][tokens] + w[at + "token_type_embeddings.weight"][0]
        x = self._norm(x + w[at + "position_embeddings.weight"][: len(tokens)], at)
        for layer in range(2):
            at = f"bert.encoder.layer.{layer}."
            q, k, v = (self._linear(x, f"{at}attention.self.{name}") for name in ("query", "key", "value"))
            heads = []
            for i in range(HEADS):
                mine = slice(i * wide, i * wide + wide)
                heads.append((q[:, mine] @ k[:, mine].T / wide**0.5).softmax(-1) @ v[:, mine])
            x = self._norm(
                x + self._linear(torch.cat(heads, -1), at + "attention.output.dense"), at + "attention.output."
            )
            inner = torch.nn.functional.gelu(self._linear(x, at + "intermediate.dense"))
            x = self._norm(x + self._linear(inner, at + "output.dense"), at + "output.")
        x = torch.nn.functional.gelu(self._linear(x, "cls.predictions.transform.dense"))
        x = self._norm(x, "cls.predictions.transform.")
        return x @ w["bert.embeddings.word_embeddings.weight"].T + w["cls.predictions.bias"]

    def save(self, folder: Path, old_names: bool = False, **changes: object) -> Path:
        """Write a folder in BERT's published format, with a pooler, which nobody reads; old ones say gamma and beta."""
        config = {
            "model_type": "bert",
            "architectures": ["BertForMaskedLM"],
            "vocab_size": VOCAB,
            "hidden_size": WIDTH,
            "intermediate_size": INNER,
            "num_hidden_layers": 2,
            "num_attention_heads": HEADS,
            "max_position_embeddings": 128,
            "type_vocab_size": 2,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-12,
            "pad_token_id": 0,
        }
        (folder / "config.json").write_text(json.dumps(config | changes))
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
        (folder / "vocab.txt").write_text("\n".join(words + [f"word{i}" for i in range(VOCAB - len(words))]))
        (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True, "mask_token": "[MASK]"}))
        stored = self.weights | {"bert.pooler.dense.weight": torch.zeros(WIDTH, WIDTH)}
        if old_names:
            for ours, theirs in (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")):
                stored = {name.replace(ours, theirs): weight for name, weight in stored.items()}
        save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
