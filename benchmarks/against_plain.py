"""How much faster, and in how much less memory, is our Info-Gain than a plain implementation of it?

Random weights, one row, no bypass, one token a step. Each measurement runs in a process of its own, so that its peak
memory is its own; the order is ours, plain, ours, plain, and times are the medians of a side's repeats.

    python benchmarks/against_plain.py --vocabulary 32000 --vocabulary 126464   # width 256, 6 layers
    python benchmarks/against_plain.py --prompt 2048 --cache dual
    python benchmarks/against_plain.py --quick
"""

import statistics
import time
from typing import Any

import click
from isolation import PeakMemory, apart
from plain import PlainInfoGain
from runs import Run, answer_one, print_report, run_options, runs

import mdm_sampling as mdm


def measure(side: str, run: Run) -> dict[str, float]:
    """Seconds and peak memory above the loaded model of one run, after a short one that warms up."""
    backend = run.backend()
    ((prompt, body),) = run.rows(backend.mask_id)
    mdm.Sampler(backend, steps=1).fill([(prompt[:4], body[:1])])
    memory = PeakMemory(run.device, backend.model)
    began = time.perf_counter()
    if side == "plain":
        plain = PlainInfoGain(backend.model, backend.mask_id, run.cache, run.candidates, 0.1, run.block, run.new)
        plain.generate(prompt, run.new)
    else:
        run.sampler(backend).fill([(prompt, body)])
    return {"seconds": time.perf_counter() - began, "peak_mib": memory.mib()}


@click.command(help=__doc__)
@run_options
@click.option("--repeats", default=2, show_default=True)
def main(repeats: int, one: str | None, **options: Any) -> None:
    if one:
        answer_one(one, measure)
        return
    if options["batch"] != (1,) or options["family"] != "llada" or options["compile"]:
        raise click.UsageError("the plain implementation knows LLaDA and one row, and is not compiled.")
    for run in runs(options):
        found: dict[str, list[dict[str, float]]] = {"ours": [], "plain": []}
        for _ in range(repeats):
            for side, done in found.items():
                done.append(apart(__file__, side, run))
        seconds = {side: statistics.median(each["seconds"] for each in done) for side, done in found.items()}
        peak = {side: max(each["peak_mib"] for each in done) for side, done in found.items()}
        print_report(
            run,
            seconds={side: round(s, 2) for side, s in seconds.items()},
            peak_above_model_mib={side: round(p) for side, p in peak.items()},
            times_faster=round(seconds["plain"] / seconds["ours"], 2),
            memory_share=round(peak["ours"] / max(peak["plain"], 1), 3),
        )


if __name__ == "__main__":
    main()
