"""Where does the time of a step of Info-Gain go: trunk, attention, head, statistics, Python?

Random LLaDA weights, one token a step, no bypass. Each part is timed around its calls (on a GPU with a synchronisation
before and after, which makes the whole slower); attention is a part of the trunk and counted apart from it; "rest" is
what remains: planner, noise, loop. "limit" is the step's time if arithmetic ran at the peak that a large matrix product
reaches here and weights were read at the speed of a large copy, whichever is more, and "distance" is the measured time
over it.

    python benchmarks/breakdown.py
    python benchmarks/breakdown.py --cache none --vocabulary 126464
    python benchmarks/breakdown.py --quick          # tiny; the tests run this
"""

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import click
import torch
from models import SHAPES, random_llada, random_prompt
from transformers import AttentionInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import mdm_sampling as mdm
from mdm_sampling import prediction
from mdm_sampling.machine import describe_machine


class Clock:
    """Adds up the seconds spent in functions, by name."""

    def __init__(self, device: str) -> None:
        self.seconds: Counter[str] = Counter()
        self.device = device

    def now(self) -> float:
        if self.device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter()

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            began = self.now()
            result = function(*arguments, **keywords)
            self.seconds[name] += self.now() - began
            return result

        return call


def breakdown(sampler: mdm.Sampler, rows: Any, clock: Clock) -> dict[str, float]:
    """Seconds of a run by part."""
    backend: Any = sampler.backend
    attention = backend.model.config._attn_implementation
    AttentionInterface.register("timed", clock.timed("attention", ALL_ATTENTION_FUNCTIONS[attention]))
    backend.model.config._attn_implementation = "timed"
    backend.trunk = clock.timed("trunk", backend.trunk)
    backend.head = clock.timed("head", backend.head)
    statistics, prediction.row_statistics = (
        prediction.row_statistics,
        clock.timed("statistics", prediction.row_statistics),
    )
    try:
        sampler.fill(rows)
        clock.seconds.clear()
        began = clock.now()
        result = sampler.fill(rows)
        total = clock.now() - began
    finally:
        prediction.row_statistics = statistics
    parts = dict(clock.seconds)
    parts["trunk"] -= parts["attention"]
    parts["rest"] = total - sum(parts.values())
    report = result.rows[0]
    return {"total": total, "steps": report.steps, "token_forwards": report.token_forwards, **parts}


def limit(model: Any, token_forwards: float, head_rows: float, steps: int, device: str) -> float:
    """Seconds that arithmetic or the reading of weights takes at this machine's best, whichever is more."""
    trunk = sum(p.numel() for p in model.model.layers.parameters())
    head = model.lm_head.weight.numel()
    flop = 2 * (trunk * token_forwards + head * head_rows)
    size = model.lm_head.weight.element_size()
    return max(flop / peak_flops(device, model.dtype), steps * (trunk + head) * size / bandwidth(device))


def peak_flops(device: str, dtype: torch.dtype, n: int = 2048) -> float:
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    return 2 * n**3 / best(lambda: a @ b, device)


def bandwidth(device: str) -> float:
    """Bytes a second that are read, by summing a large tensor."""
    x = torch.ones(2**26, device=device)
    return x.numel() * 4 / best(x.sum, device)


def best(function: Callable[[], Any], device: str, repeats: int = 5) -> float:
    clock, seconds = Clock(device), []
    for _ in range(repeats):
        began = clock.now()
        function()
        seconds.append(clock.now() - began)
    return min(seconds)


@click.command(help=__doc__)
@click.option("--cache", multiple=True, default=("none", "prefix", "dual"), show_default=True)
@click.option("--planner", default="info-gain", show_default=True)
@click.option("--vocabulary", default=32_000, show_default=True)
@click.option("--shape", type=click.Choice(list(SHAPES)), default="small", show_default=True)
@click.option("--prompt", default=96, show_default=True)
@click.option("--new", default=64, show_default=True)
@click.option("--block", default=32, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--dtype", default="float32", show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--quick", is_flag=True)
def main(
    cache: tuple[str, ...],
    planner: str,
    vocabulary: int,
    shape: str,
    prompt: int,
    new: int,
    block: int,
    device: str,
    dtype: str,
    threads: int,
    quick: bool,
) -> None:
    torch.set_num_threads(threads)
    if quick:
        shape, vocabulary, new, prompt = "tiny", 2000, 8, 16
    for name in cache:
        backend = random_llada(shape, vocabulary, device, getattr(torch, dtype))
        projected: list[int] = []
        backend.head = counting(backend.head, projected)  # type: ignore[method-assign]
        sampler = mdm.Sampler(
            backend,
            planner=mdm.build("planners", planner),
            cache=mdm.build("caches", name),
            block_length=block,
            steps=new,
        )
        found = breakdown(sampler, [(random_prompt(prompt, vocabulary), [backend.mask_id] * new)], Clock(device))
        least = limit(backend.model, found["token_forwards"], sum(projected) / 2, int(found["steps"]), device)
        parts = ("trunk", "attention", "head", "statistics", "rest")
        report = {
            "cache": name,
            "planner": planner,
            "shape": shape,
            "vocabulary": vocabulary,
            "prompt": prompt,
            "step_ms": round(1000 * found["total"] / found["steps"], 2),
            "share": {part: round(found[part] / found["total"], 3) for part in parts},
            "limit_ms": round(1000 * least / found["steps"], 2),
            "distance": round(found["total"] / least, 2),
            "machine": describe_machine(),
        }
        click.echo(json.dumps(report))


def counting(head: Callable[..., Any], rows: list[int]) -> Callable[..., Any]:
    def call(hidden: Any) -> Any:
        rows.append(len(hidden))
        return head(hidden)

    return call


if __name__ == "__main__":
    main()
