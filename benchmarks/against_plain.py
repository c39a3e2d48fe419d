"""How much faster, and in how much less memory, is our Info-Gain than a plain implementation of it?

Random LLaDA weights, one row, no bypass, one token a step. Each measurement runs in a process of its own, so that its
peak memory is its own; the order is ours, plain, ours, plain, and times are the medians of a side's repeats.

    python benchmarks/against_plain.py                    # width 256, 6 layers; vocabularies 32,000 and 126,464
    python benchmarks/against_plain.py --prompt 2048 --cache dual
    python benchmarks/against_plain.py --quick            # tiny; the tests run this
"""

import json
import statistics
import time

import click
import torch
from isolation import apart, peak_mib, resident_mib
from models import SHAPES, random_llada, random_prompt
from plain import PlainInfoGain

import mdm_sampling as mdm
from mdm_sampling.machine import describe_machine


def measure(
    side: str, cache: str, shape: str, vocabulary: int, candidates: int, prompt: int, new: int, block: int
) -> dict:
    """Seconds and peak memory above the loaded model of one run, after a short one that warms up."""
    backend = random_llada(shape, vocabulary)
    ids = random_prompt(prompt, vocabulary)

    def run(length: int) -> int:
        if side == "plain":
            plain = PlainInfoGain(backend.model, backend.mask_id, cache, candidates, 0.1, block, length)
            plain.generate(ids, length)
            return 0
        sampler = mdm.Sampler(
            backend,
            planner=mdm.InfoGain(candidates=candidates),
            cache=mdm.build("caches", cache),
            block_length=block,
            steps=length,
        )
        return sampler.fill([(ids, [backend.mask_id] * length)]).rows[0].forwards

    mdm.Sampler(backend, steps=1).fill([(ids[:4], [backend.mask_id])])
    own = resident_mib()
    began = time.perf_counter()
    forwards = run(new)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "peak_mib": peak_mib() - own, "forwards": forwards}


@click.command(help=__doc__)
@click.option("--shape", type=click.Choice(list(SHAPES)), default="small", show_default=True)
@click.option("--vocabulary", multiple=True, type=int, default=(32_000, 126_464), show_default=True)
@click.option("--cache", multiple=True, default=("none", "prefix", "dual"), show_default=True)
@click.option("--candidates", multiple=True, type=int, default=(8,), show_default=True)
@click.option("--prompt", default=96, show_default=True)
@click.option("--new", default=64, show_default=True)
@click.option("--block", default=32, show_default=True)
@click.option("--repeats", default=2, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--quick", is_flag=True)
@click.option("--one", hidden=True)
def main(
    shape: str,
    vocabulary: tuple[int, ...],
    cache: tuple[str, ...],
    candidates: tuple[int, ...],
    prompt: int,
    new: int,
    block: int,
    repeats: int,
    threads: int,
    quick: bool,
    one: str | None,
) -> None:
    torch.set_num_threads(threads)
    if one:
        arguments = json.loads(one)
        torch.set_num_threads(arguments.pop("threads"))
        click.echo(json.dumps(measure(**arguments)))
        return
    if quick:
        shape, vocabulary, new, prompt, repeats = "tiny", (2000,), 8, 16, 1
    for v in vocabulary:
        for n in candidates:
            for c in cache:
                shared = {"cache": c, "shape": shape, "vocabulary": v, "candidates": n, "prompt": prompt, "new": new}
                runs: dict[str, list[dict]] = {"ours": [], "plain": []}
                for _ in range(repeats):
                    for side in runs:
                        runs[side].append(apart(__file__, side=side, block=block, threads=threads, **shared))
                seconds = {side: statistics.median(run["seconds"] for run in found) for side, found in runs.items()}
                peak = {side: max(run["peak_mib"] for run in found) for side, found in runs.items()}
                report = {
                    **shared,
                    "seconds": {side: round(s, 2) for side, s in seconds.items()},
                    "peak_mib": {side: round(p) for side, p in peak.items()},
                    "times_faster": round(seconds["plain"] / seconds["ours"], 2),
                    "memory_share": round(peak["ours"] / max(peak["plain"], 1), 3),
                    "machine": describe_machine(),
                }
                click.echo(json.dumps(report))


if __name__ == "__main__":
    main()
