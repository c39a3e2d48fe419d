"""What does block-causal decoding cost here, beside a plain implementation of the published loop?

Random weights in Qwen3's shape, one row, one position a step, the most confident one (SDAR, arXiv:2510.06303). The
plain loop keeps keys and values in transformers' own cache. It writes the prompt's blocks once, computes a block's
positions at each step, and once more when the block is done. Both sides run in turns; times are medians.

    python benchmarks/block_causal.py                       # blocks of 4, 88 + 256 positions
    python benchmarks/block_causal.py --block 32 --new 512
    python benchmarks/block_causal.py --quick
"""

import statistics
import time
from inspect import signature

import click
import torch
from transformers import DynamicCache, Qwen3Config, Qwen3ForCausalLM, Qwen3Model

import mdm_sampling as mdm

VOCABULARY = 4096
MASK = VOCABULARY - 1
CACHE = "cache" if "cache" in signature(Qwen3Model.forward).parameters else "past_key_values"
"""What this version of transformers calls it."""


def make_model(width: int, layers: int, device: str) -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        num_key_value_heads=max(width // 64, 1),
        head_dim=32,
        tie_word_embeddings=False,
        is_causal=False,
    )
    return Qwen3ForCausalLM(config).to(device).eval()


@torch.no_grad()
def plain_loop(model: Qwen3ForCausalLM, prompt: list[int], new: int, block: int) -> list[int]:
    """The tokens of the published loop, for a prompt of whole blocks."""
    device, cache = model.device, DynamicCache()
    row = torch.tensor([prompt], device=device)
    for start in range(0, len(prompt), block):  # a block sees those before it, so blocks can be written in turn
        model.model(row[:, start : start + block], **{CACHE: cache}, use_cache=True, is_causal=False)
    for start in range(len(prompt), len(prompt) + new, block):
        active = torch.full((1, block), MASK, device=device)
        for _ in range(block):
            masked = active == MASK
            logits = forward(model, active, cache, start)
            logits[..., MASK] = -torch.inf
            best = logits.softmax(-1).max(-1)
            at = int(torch.where(masked, best.values, -1.0).argmax())
            active[0, at] = best.indices[0, at]
            cache.crop(-block)
        forward(model, active, cache, start)
        row = torch.cat([row, active], 1)
    return row[0].tolist()


def forward(model: Qwen3ForCausalLM, active: torch.Tensor, cache: DynamicCache, start: int) -> torch.Tensor:
    """Logits of a block that sees itself and all that is in the cache."""
    positions = torch.arange(start, start + active.shape[1], device=active.device)[None]
    found = model(active, position_ids=positions, **{CACHE: cache}, use_cache=True, is_causal=False)
    return found.logits


def timed(run: object) -> tuple[float, object]:
    began = time.perf_counter()
    found = run()  # type: ignore[operator]
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began, found


@click.command(help=__doc__)
@click.option("--block", default=4, show_default=True)
@click.option("--prompt", default=88, show_default=True, help="A multiple of --block.")
@click.option("--new", default=256, show_default=True, help="A multiple of --block.")
@click.option("--width", default=256, show_default=True)
@click.option("--layers", default=6, show_default=True)
@click.option("--repeats", default=3, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--quick", is_flag=True, help="A tiny case, for the tests.")
def main(block: int, prompt: int, new: int, width: int, layers: int, repeats: int, device: str, quick: bool) -> None:
    if quick:
        prompt, new, width, layers, repeats = 2 * block, 2 * block, 64, 2, 1
    ids = torch.randint(0, MASK, (prompt,), generator=torch.Generator().manual_seed(0)).tolist()
    plain_model = make_model(width, layers, device)
    backend = mdm.TransformerBackend(make_model(width, layers, device), MASK, attention_block=block)
    settings = {"planner": "confidence", "cache": "dual", "schedule": "constant:1", "block_size": block, "steps": new}
    sampler = mdm.Sampler(backend, **settings)  # type: ignore[arg-type]
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(repeats):
        spent, expected = timed(lambda: plain_loop(plain_model, ids, new, block))
        seconds["plain"].append(spent)
        spent, found = timed(lambda: sampler.fill([(ids, [MASK] * new)]))
        seconds["ours"].append(spent)
    row = found.rows[0]  # type: ignore[attr-defined]
    same = sum(a == b for a, b in zip(found.sequences[0], expected, strict=True))  # type: ignore[attr-defined, call-overload]
    median = {side: statistics.median(times) for side, times in seconds.items()}
    click.echo(
        f"blocks of {block}, {prompt} + {new} positions, width {width}, {layers} layers, "
        f"{torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, {device}: ours {median['ours']:.2f} s, plain {median['plain']:.2f} s "
        f"({median['plain'] / median['ours']:.2f} times faster), {row.token_forwards / (new // block):.1f} positions a "
        f"block, {same} of {prompt + new} tokens equal"
    )


if __name__ == "__main__":
    main()
