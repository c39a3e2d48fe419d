"""Train the embedded model: a 1.3-million-parameter LLaDA that solves 4x4 Sudoku, one character a token.

The objective is LLaDA's (arXiv:2502.09992, eq. 3): mask each token of the response with probability t, t ~ U(0, 1),
and weigh the cross-entropy of the masked tokens by 1/t. Everything is drawn from one seed. A run that was cut off
goes on from its last state.

    python benchmarks/embedded_model/train.py --out mdm_sampling/backends/embedded_model
"""

import json
import math
import time
from dataclasses import replace
from pathlib import Path

import click
import torch
from safetensors.torch import save_file
from sudoku_grids import all_grids, dig, held_out_puzzles, is_held_out, is_solution
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import mdm_sampling as mdm

END, START, ANSWER, MASK, UNKNOWN = "<|end|>", "<|start|>", "<|answer|>", "_", "<|unknown|>"
VOCABULARY = [END, START, ANSWER, MASK, UNKNOWN, *"0123456789.+-*/=(),: \n"]
ID = {token: i for i, token in enumerate(VOCABULARY)}
CONTEXT = 256
WEIGHT_FLOOR = 0.05  # a smaller t would make 1/t, and so the gradient's variance, explode

CONFIG = LlamaConfig(
    vocab_size=len(VOCABULARY),
    hidden_size=128,
    intermediate_size=384,
    num_hidden_layers=6,
    num_attention_heads=4,
    num_key_value_heads=4,
    max_position_embeddings=CONTEXT,
    rope_theta=10_000.0,
    rms_norm_eps=1e-5,
    pad_token_id=None,
    tie_word_embeddings=False,
    is_causal=False,
)


def encode(cells: Tensor, separator: str) -> Tensor:
    """Grids [n 16] as token ids [n 19]: rows of digits, dots for holes, a separator between the rows."""
    symbols = torch.tensor([ID[c] for c in ".1234"])[cells].view(-1, 4, 4)
    marks = torch.full((len(cells), 4, 1), ID[separator])
    return torch.cat([symbols, marks], dim=2).flatten(1)[:, :-1]


def batch(grids: Tensor, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """One batch: the canvas before masking [n t], where it is masked [n t], and the weight of each row [n].

    A row is `<|start|> puzzle <|answer|> solution <|end|>...`; in a quarter of the batches the puzzle is left out,
    which teaches plain infilling. Rows in which the given or the visible cells are a test puzzle weigh nothing.
    """
    solution = grids[torch.randint(len(grids), (size,), generator=generator)]
    holes = torch.randint(4, 15, (size,), generator=generator)
    puzzle = dig(solution, holes, generator)
    with_puzzle = torch.rand((), generator=generator) < 0.75
    ends = (0, 1, 1, 5, 13)[int(torch.randint(5, (), generator=generator))]

    response = torch.cat([encode(solution, "\n"), torch.full((size, ends), ID[END])], dim=1)
    start = torch.full((size, 1), ID[START])
    prompt = [start, encode(puzzle, " ")] if with_puzzle else [start]
    prompt = torch.cat([*prompt, torch.full((size, 1), ID[ANSWER])], dim=1)

    t = torch.rand(size, 1, generator=generator) * (1 - WEIGHT_FLOOR) + WEIGHT_FLOOR
    masked = torch.rand(response.shape, generator=generator) < t
    cells = masked[:, :19][:, [5 * r + c for r in range(4) for c in range(4)]]
    visible = torch.where(cells, 0, solution)
    held_out = is_held_out(visible)
    if with_puzzle:
        held_out |= is_held_out(puzzle) | is_held_out(torch.where(cells, puzzle, solution))
    weight = torch.where(held_out, 0.0, 1 / t[:, 0])
    masked = torch.cat([torch.zeros_like(prompt, dtype=torch.bool), masked], dim=1)
    return torch.cat([prompt, response], dim=1), masked, weight


def loss_of(model: LlamaForCausalLM, canvas: Tensor, masked: Tensor, weight: Tensor) -> Tensor:
    hidden = model.model(canvas.masked_fill(masked, ID[MASK]), use_cache=False, is_causal=False).last_hidden_state
    losses = cross_entropy(model.lm_head(hidden[masked]), canvas[masked], reduction="none")
    rows = masked.nonzero()[:, 0]
    response_length = canvas.shape[1] - int(masked.any(0).nonzero()[0])
    return (losses * weight[rows]).sum() / (response_length * len(canvas))


def learning_rate(step: int, steps: int, peak: float) -> float:
    warm_up = 50
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up))))


def train(steps: int, size: int, seed: int, peak: float, state_file: Path, save_every: int = 50) -> LlamaForCausalLM:
    """Train, writing the state every `save_every` steps and going on from it if there is one."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(CONFIG).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.99), weight_decay=0.01)
    generator = torch.Generator().manual_seed(seed)
    first = 0
    if state_file.exists():
        state = torch.load(state_file)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        generator.set_state(state["generator"])
        first = state["step"]
    grids, began, mean = all_grids(), time.time(), 0.0
    for step in range(first, steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, peak)
        loss = loss_of(model, *batch(grids, size, generator))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        mean += loss.item() / save_every
        if (step + 1) % save_every == 0 or step + 1 == steps:
            click.echo(f"step {step + 1}/{steps}  loss {mean:.4f}  {time.time() - began:.0f} s")
            mean = 0.0
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "generator": generator.get_state(),
                "step": step + 1,
            }
            torch.save(state, state_file.with_suffix(".tmp"))
            state_file.with_suffix(".tmp").replace(state_file)
    return model.eval()


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
    """Write the model as a checkpoint in LLaDA's published format, weights in float16, with its tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {}
    for name, tensor in model.state_dict().items():
        for ours, published in PUBLISHED_NAMES.items():
            name = name.replace(ours, published)
        weights[name] = tensor.half().contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["LLaDAModelLM"],
        "model_type": "llada",
        "d_model": CONFIG.hidden_size,
        "n_heads": CONFIG.num_attention_heads,
        "n_kv_heads": CONFIG.num_key_value_heads,
        "n_layers": CONFIG.num_hidden_layers,
        "mlp_hidden_size": CONFIG.intermediate_size,
        "vocab_size": len(VOCABULARY),
        "embedding_size": len(VOCABULARY),
        "max_sequence_length": CONTEXT,
        "rope_theta": 10_000.0,
        "rms_norm_eps": CONFIG.rms_norm_eps,
        "weight_tying": False,
        "include_bias": False,
        "block_type": "llama",
        "activation_type": "silu",
        "mask_token_id": ID[MASK],
        "eos_token_id": ID[END],
        "pad_token_id": ID[END],
        "torch_dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "generation_config.json").write_text(json.dumps({"max_new_tokens": 20}, indent=2) + "\n")
    tokenizer().save_pretrained(folder)


def tokenizer() -> PreTrainedTokenizerFast:
    """One character, one token; encoding a prompt puts `<|start|>` before and `<|answer|>` after it."""
    core = Tokenizer(models.WordLevel(ID, unk_token=UNKNOWN))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    core.decoder = decoders.Fuse()
    core.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {ANSWER}", special_tokens=[(START, ID[START]), (ANSWER, ID[ANSWER])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        mask_token=MASK,
        unk_token=UNKNOWN,
        additional_special_tokens=[ANSWER],
        clean_up_tokenization_spaces=False,
    )


def evaluate(folder: Path, puzzles: int) -> str:
    """Share of held-out puzzles that the saved checkpoint solves, by the confidence planner, one place a step."""
    items = held_out_puzzles(puzzles, seed=0)
    sampler = replace(mdm.load(str(folder), gen_length=20, steps=20), planner=mdm.Confidence(), cache=mdm.NoCache())
    texts = sampler.generate(items, batch_size=50).texts
    solved = sum(is_solution(item, text) for item, text in zip(items, texts, strict=True))
    return f"{solved} of {puzzles} held-out puzzles solved (confidence, one place a step)"


@click.command(help=__doc__)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the checkpoint.")
@click.option("--steps", default=1500, show_default=True)
@click.option("--batch-size", default=256, show_default=True)
@click.option("--learning-rate", default=1e-3, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=2, show_default=True, help="CPU threads; the last bits of the weights depend on it.")
@click.option("--puzzles", default=200, show_default=True, help="Held-out puzzles to solve at the end.")
@click.option("--state", type=click.Path(path_type=Path), help="Where to keep the state  [default: OUT/train.state]")
def main(
    out: Path,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    threads: int,
    puzzles: int,
    state: Path | None,
) -> None:
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    save(train(steps, batch_size, seed, learning_rate, state or out / "train.state"), out)
    click.echo(evaluate(out, puzzles))


if __name__ == "__main__":
    main()
