"""Peak memory of a run of Info-Gain above the model's own, on the CPU, at LLaDA's vocabulary.

A random LLaDA of width 256 and 6 layers, vocabulary 126,464, prompt 96, 64 new tokens, block 32, 8 candidates, no
bypass. The model is loaded and run once on a single place, so that what torch allocates at the first call counts as
the model's own; then the peak resident memory of the whole run is read.

    python benchmarks/memory.py            # 64 steps
    python benchmarks/memory.py --quick    # 8 steps; the tests run this
"""

import json
import time

import click
import torch
from isolation import peak_mib, resident_mib
from models import random_llada

import mdm_sampling as mdm
from mdm_sampling.machine import describe_machine

PROMPT, NEW, BLOCK = 96, 64, 32


@click.command(help=__doc__)
@click.option("--cache", default="prefix", show_default=True)
@click.option("--vocabulary", default=126_464, show_default=True)
@click.option("--candidates", default=8, show_default=True)
@click.option("--quick", is_flag=True)
@click.option("--threads", default=2, show_default=True)
def main(cache: str, vocabulary: int, candidates: int, quick: bool, threads: int) -> None:
    torch.set_num_threads(threads)
    backend = random_llada("small", vocabulary)
    sampler = mdm.Sampler(
        backend,
        planner=mdm.InfoGain(candidates=candidates),
        cache=mdm.build("caches", cache),
        block_length=BLOCK,
        steps=8 if quick else NEW,
    )
    prompt = torch.randint(1000, 2000, (PROMPT,)).tolist()
    sampler.fill([(prompt[:4], [backend.mask_id])])
    own = resident_mib()
    if peak_mib() > own + 50:
        raise click.ClickException(f"the peak before the run, {peak_mib():.0f} MiB, hides the run's own")
    began = time.perf_counter()
    result = sampler.fill([(prompt, [backend.mask_id] * NEW)])
    report = {
        "cache": cache,
        "vocabulary": vocabulary,
        "candidates": candidates,
        "steps": result.rows[0].steps,
        "row_forwards": result.rows[0].forwards,
        "seconds": round(time.perf_counter() - began, 1),
        "model_mib": round(own),
        "peak_above_model_mib": round(peak_mib() - own, 1),
        "machine": describe_machine(),
    }
    click.echo(json.dumps(report))


if __name__ == "__main__":
    main()
