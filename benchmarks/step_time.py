"""What does a step of Info-Gain cost, in steps of confidence decoding, and how does it grow?

Random weights, one token a step, no bypass. For each setting: milliseconds of a step by confidence and by Info-Gain,
their ratio, the peak memory of each above the loaded model, and tokens a second. Options that may be repeated are all
combined; each measurement runs in a process of its own.

    python benchmarks/step_time.py                                          # width 256, by cache
    python benchmarks/step_time.py --cache dual --prompt 128 --prompt 1024 --prompt 4096
    python benchmarks/step_time.py --cache dual --batch 1 --batch 8 --batch 32 --ragged
    python benchmarks/step_time.py --cache dual --vocabulary 8000 --vocabulary 152064
    python benchmarks/step_time.py --shape llada-8b --device cuda --dtype bfloat16 --vocabulary 126464 --prompt 512
    python benchmarks/step_time.py --quick
"""

import time
from typing import Any

import click
import torch
from isolation import PeakMemory, apart
from runs import Run, answer_one, print_report, run_options, runs


def measure(side: str, run: Run) -> dict[str, float]:
    """Milliseconds a step, tokens a second and peak memory of a run, after a short one that warms up."""
    backend = run.backend()
    rows = run.rows(backend.mask_id)
    sampler = run.sampler(backend, greedy=side == "confidence")
    # Short, so that its memory is not the run's; but a compiled model compiles whatever it has not met.
    warm = rows if run.compile else [(prompt[:4], body[:2]) for prompt, body in rows[:2]]
    sampler.fill(warm, batch_size=len(warm))
    memory = PeakMemory(run.device, backend.model)
    began = time.perf_counter()
    result = sampler.fill(rows, list(range(run.batch)), batch_size=run.batch)
    if run.device != "cpu":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    return {
        "step_ms": 1000 * seconds / max(row.steps for row in result.rows),
        "tokens_per_second": run.batch * run.new / seconds,
        "peak_above_model_mib": memory.mib(),
        "row_forwards": sum(row.forwards for row in result.rows) / run.batch,
    }


@click.command(help=__doc__)
@run_options
def main(one: str | None, **options: Any) -> None:
    if one:
        answer_one(one, measure)
        return
    for run in runs(options):
        found = {side: apart(__file__, side, run) for side in ("confidence", "info-gain")}
        columns = {name: {side: round(each[name], 1) for side, each in found.items()} for name in found["info-gain"]}
        print_report(run, **columns, ratio=round(found["info-gain"]["step_ms"] / found["confidence"]["step_ms"], 2))


if __name__ == "__main__":
    main()
