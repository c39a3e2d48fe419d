"""What does a step of Info-Gain cost, in steps of confidence decoding, and how does it grow?

Random LLaDA weights, one token a step, no bypass. For each setting: milliseconds of a step by confidence and by
Info-Gain, their ratio, the peak memory of each above the loaded model, and tokens a second. Options that may be given
several times are all combined; each measurement runs in a process of its own.

    python benchmarks/step_time.py                                          # width 256; by cache and candidates
    python benchmarks/step_time.py --cache dual --prompt 128 --prompt 1024 --prompt 4096
    python benchmarks/step_time.py --cache dual --batch 1 --batch 8 --batch 32
    python benchmarks/step_time.py --cache dual --vocabulary 8000 --vocabulary 152064
    python benchmarks/step_time.py --shape llada-8b --device cuda --dtype bfloat16 --vocabulary 126464 --prompt 512
    python benchmarks/step_time.py --quick                                  # tiny; the tests run this
"""

import json
import time
from itertools import product
from typing import Any

import click
import torch
from isolation import apart, peak_mib, resident_mib
from models import SHAPES, random_llada, random_prompt

import mdm_sampling as mdm
from mdm_sampling.machine import describe_machine


def measure(
    planner: str,
    cache: str,
    prompt: int,
    batch: int,
    vocabulary: int,
    shape: str,
    new: int,
    block: int,
    device: str,
    dtype: str,
    ragged: bool,
) -> dict[str, float]:
    """Milliseconds a step, tokens a second and peak memory of a run, after a short one that warms up."""
    backend = random_llada(shape, vocabulary, device, getattr(torch, dtype))
    lengths = [max(1, prompt - (i * prompt) // (2 * batch)) if ragged else prompt for i in range(batch)]
    rows = [(random_prompt(length, vocabulary, seed=i), [backend.mask_id] * new) for i, length in enumerate(lengths)]
    sampler = mdm.Sampler(
        backend,
        planner=mdm.build("planners", planner),
        cache=mdm.build("caches", cache),
        block_length=block,
        steps=new,
    )
    sampler.fill([(row[0][:4], [backend.mask_id] * 2) for row in rows[:2]], batch_size=2)
    own = memory(device, reset=True)
    began = time.perf_counter()
    result = sampler.fill(rows, list(range(batch)), batch_size=batch)
    if device != "cpu":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    return {
        "ms": 1000 * seconds / max(row.steps for row in result.rows),
        "tokens_per_second": batch * new / seconds,
        "peak_mib": memory(device) - own,
        "row_forwards": sum(row.forwards for row in result.rows) / batch,
    }


def memory(device: str, reset: bool = False) -> float:
    """Memory in MiB: what is resident now when a run begins, else the peak since."""
    if device == "cpu":
        return resident_mib() if reset else peak_mib()
    if reset:
        torch.cuda.reset_peak_memory_stats()
    return torch.cuda.max_memory_allocated() / 2**20


@click.command(help=__doc__)
@click.option("--cache", multiple=True, default=("none", "prefix", "dual"), show_default=True)
@click.option("--candidates", multiple=True, type=int, default=(8,), show_default=True)
@click.option("--prompt", multiple=True, type=int, default=(96,), show_default=True)
@click.option("--batch", multiple=True, type=int, default=(1,), show_default=True)
@click.option("--vocabulary", multiple=True, type=int, default=(32_000,), show_default=True)
@click.option("--shape", type=click.Choice(list(SHAPES)), default="small", show_default=True)
@click.option("--new", default=64, show_default=True)
@click.option("--block", default=32, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--dtype", default="float32", show_default=True)
@click.option("--ragged", is_flag=True, help="Prompts of different lengths in a batch.")
@click.option("--threads", default=2, show_default=True)
@click.option("--quick", is_flag=True)
@click.option("--one", hidden=True)
def main(
    cache: tuple[str, ...],
    candidates: tuple[int, ...],
    prompt: tuple[int, ...],
    batch: tuple[int, ...],
    vocabulary: tuple[int, ...],
    shape: str,
    new: int,
    block: int,
    device: str,
    dtype: str,
    ragged: bool,
    threads: int,
    quick: bool,
    one: str | None,
) -> None:
    if one:
        arguments: dict[str, Any] = json.loads(one)
        torch.set_num_threads(arguments.pop("threads"))
        click.echo(json.dumps(measure(**arguments)))
        return
    if quick:
        shape, vocabulary, new, prompt = "tiny", (2000,), 8, (16,)
    fixed = {"shape": shape, "new": new, "block": block, "device": device, "dtype": dtype, "ragged": ragged}
    for v, p, b, c in product(vocabulary, prompt, batch, cache):
        setting = {"cache": c, "prompt": p, "batch": b, "vocabulary": v, **fixed}
        greedy = apart(__file__, planner="confidence", threads=threads, **setting)
        for n in candidates:
            ours = apart(__file__, planner=f"info-gain:{n}", threads=threads, **setting)
            report = {
                **setting,
                "candidates": n,
                "step_ms": {"confidence": round(greedy["ms"], 1), "info-gain": round(ours["ms"], 1)},
                "ratio": round(ours["ms"] / greedy["ms"], 2),
                "tokens_per_second": {
                    side: round(x["tokens_per_second"], 1) for side, x in (("confidence", greedy), ("info-gain", ours))
                },
                "peak_mib": {"confidence": round(greedy["peak_mib"]), "info-gain": round(ours["peak_mib"])},
                "row_forwards": round(ours["row_forwards"], 1),
            }
            click.echo(json.dumps({**report, "machine": {**describe_machine(), "threads": threads}}))


if __name__ == "__main__":
    main()
