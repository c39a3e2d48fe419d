"""Peak memory of a run of Info-Gain above the model's own, on the CPU, at LLaDA's vocabulary.

A random LLaDA of width 256 and 6 layers, vocabulary 126,464, prompt 96, 64 new tokens, block 32, 8 candidates, no
bypass. The model is loaded and run once on a single place, so that what torch allocates at the first call counts as
the model's own; then the peak resident memory of the whole run is read.

    python benchmarks/memory.py            # 64 steps
    python benchmarks/memory.py --quick    # 8 steps; the tests run this
"""

import json
import resource
import time
from pathlib import Path

import click
import torch
from machine import describe_machine
from transformers import LlamaConfig, LlamaForCausalLM

import mdm_sampling as mdm

PROMPT, NEW, BLOCK = 96, 64, 32


def resident_mib() -> float:
    """Resident memory of this process now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS in /proc/self/status")


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def random_llada(vocabulary: int, width: int, layers: int) -> mdm.ModelBackend:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        max_position_embeddings=4096,
        rope_theta=500_000.0,
        pad_token_id=None,
        is_causal=False,
    )
    return mdm.TransformerBackend(LlamaForCausalLM(config), mask_id=vocabulary - 128, eos_ids=(vocabulary - 383,))


@click.command(help=__doc__)
@click.option("--cache", default="prefix", show_default=True)
@click.option("--vocabulary", default=126_464, show_default=True)
@click.option("--candidates", default=8, show_default=True)
@click.option("--quick", is_flag=True)
@click.option("--threads", default=2, show_default=True)
def main(cache: str, vocabulary: int, candidates: int, quick: bool, threads: int) -> None:
    torch.set_num_threads(threads)
    backend = random_llada(vocabulary, width=256, layers=6)
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
