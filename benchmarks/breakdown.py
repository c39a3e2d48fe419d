"""Where does the time of a step of Info-Gain go: trunk, attention, head, statistics, Python?

Random LLaDA weights, one token a step, no bypass. Each part is timed around its calls (on a GPU with a synchronisation
before and after, which makes the whole slower); attention is a part of the trunk and counted apart from it; "rest" is
what remains: planner, noise, loop. "limit" is the step's time if arithmetic ran at the peak that a large matrix product
reaches here and weights were read at the speed of a large copy, whichever is more, and "distance" is the measured time
over it.

    python benchmarks/breakdown.py
    python benchmarks/breakdown.py --cache none --vocabulary 126464
    python benchmarks/breakdown.py --quick
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
import torch
from runs import print_report, run_options, runs
from transformers import AttentionInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import mdm_sampling as mdm
from mdm_sampling.backends import base

PARTS = ("trunk", "attention", "head", "statistics", "rest")


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


@dataclass
class Breakdown:
    """What a run did: seconds by part, and the work that the limit is computed from."""

    seconds: dict[str, float]
    steps: int
    token_forwards: float
    head_rows: int

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


def breakdown(sampler: mdm.Sampler, rows: Any, clock: Clock) -> Breakdown:
    """Decode twice, and measure the second time."""
    backend: Any = sampler.backend
    attention = backend.model.config._attn_implementation
    AttentionInterface.register("timed", clock.timed("attention", ALL_ATTENTION_FUNCTIONS[attention]))
    AttentionMaskInterface.register("timed", ALL_MASK_ATTENTION_FUNCTIONS[attention])
    backend.model.config._attn_implementation = "timed"
    backend.trunk = clock.timed("trunk", backend.trunk)
    projected: list[int] = []
    statistics, reduce = mdm.Head.statistics, base.slice_statistics

    def counted(head: mdm.Head, hidden: torch.Tensor, context: torch.Tensor) -> Any:
        projected.append(len(hidden))
        return statistics(head, hidden, context)

    mdm.Head.statistics = clock.timed("head", counted)  # type: ignore[method-assign]
    base.slice_statistics = clock.timed("statistics", reduce)
    try:
        sampler.fill(rows, batch_size=len(rows))
        clock.seconds.clear()
        projected.clear()
        began = clock.now()
        result = sampler.fill(rows, batch_size=len(rows))
        total = clock.now() - began
    finally:
        mdm.Head.statistics, base.slice_statistics = statistics, reduce  # type: ignore[method-assign]
    parts = dict(clock.seconds)
    parts["trunk"] -= parts["attention"]
    parts["head"] -= parts["statistics"]
    parts["rest"] = total - sum(parts.values())
    computed = sum(row.token_forwards for row in result.rows)
    return Breakdown(parts, max(row.steps for row in result.rows), computed, sum(projected))


def limit(model: Any, work: Breakdown, device: str) -> float:
    """Seconds that arithmetic or the reading of weights takes at this machine's best, whichever is more."""
    trunk = sum(p.numel() for p in model.model.layers.parameters())
    head = model.lm_head.weight.numel()
    flop = 2 * (trunk * work.token_forwards + head * work.head_rows)
    size = model.lm_head.weight.element_size()
    return max(flop / peak_flops(device, model.dtype), work.steps * (trunk + head) * size / bandwidth(device))


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
@run_options
@click.option("--greedy", is_flag=True, help="Decode by confidence instead.")
def main(greedy: bool, **options: Any) -> None:
    if options["compile"]:
        raise click.UsageError("a compiled model has no parts that could be timed apart.")
    for run in runs(options):
        backend = run.backend()
        found = breakdown(run.sampler(backend, greedy), run.rows(backend.mask_id), Clock(run.device))
        least = limit(backend.model, found, run.device)
        print_report(
            run,
            planner="confidence" if greedy else "info-gain",
            step_ms=round(1000 * found.total / found.steps, 2),
            share={part: round(found.seconds[part] / found.total, 3) for part in PARTS},
            limit_ms=round(1000 * least / found.steps, 2),
            distance=round(found.total / least, 2),
        )


if __name__ == "__main__":
    main()
