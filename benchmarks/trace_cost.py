"""What does a trace cost: the share of a run's time that writing it takes, its size, and that of the page made of it.

Random LLaDA weights, Info-Gain without a bypass. The trace's own time is measured around its calls within the run, so
other work on the machine slows both alike.

    python benchmarks/trace_cost.py
    python benchmarks/trace_cost.py --block 1024
    python benchmarks/trace_cost.py --quick
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import torch
from models import random_llada, random_prompt

import mdm_sampling as mdm


class Timed:
    """An observer, and the seconds spent in it."""

    def __init__(self, observer: Any) -> None:
        self.observer = observer
        self.seconds = 0.0

    def begin(self, canvas: mdm.Canvas, seeds: list[int]) -> None:
        self.observer.begin(canvas, seeds)

    def add(self, record: mdm.StepRecord) -> None:
        began = time.perf_counter()
        self.observer.add(record)
        self.seconds += time.perf_counter() - began


@click.command(help=__doc__)
@click.option("--new", default=1024, show_default=True, help="Positions to fill.")
@click.option("--steps", default=512, show_default=True)
@click.option("--block", default=32, show_default=True, help="Positions of a block.")
@click.option("--candidates", default=8, show_default=True)
@click.option("--shape", default="small", show_default=True)
@click.option("--vocabulary", default=32_000, show_default=True)
@click.option("--cache", default="dual", show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--quick", is_flag=True, help="A small run that shows whether the script works.")
def main(quick: bool, **options: Any) -> None:
    if quick:
        options |= {"new": 16, "steps": 8, "block": 8, "shape": "tiny", "vocabulary": 1000}
    torch.set_num_threads(options["threads"])
    sampler = mdm.Sampler(
        random_llada(options["shape"], options["vocabulary"]),
        planner=mdm.InfoGain(candidates=options["candidates"]),
        cache=mdm.build("caches", options["cache"]),
        block_size=options["block"],
        steps=options["steps"],
    )
    rows = [(random_prompt(96, options["vocabulary"]), [sampler.backend.mask_id] * options["new"])]
    with tempfile.TemporaryDirectory() as folder:
        trace, page = Path(folder, "trace.jsonl"), Path(folder, "page.html")
        with trace.open("w", encoding="utf-8") as file:
            timed = Timed(mdm.Trace(file, sampler.backend, sampler.spec()))
            began = time.perf_counter()
            sampler.fill(rows, observers=[timed])
            seconds = time.perf_counter() - began
        sizes = {"trace_mb": trace.stat().st_size / 1e6, "page_mb": page_size(trace, page) / 1e6}
    report = {
        **options,
        "seconds": round(seconds, 2),
        "trace_seconds": round(timed.seconds, 2),
        "trace_share": round(timed.seconds / seconds, 4),
        **{name: round(size, 3) for name, size in sizes.items()},
        "machine": mdm.describe_machine(sampler.backend.device),
    }
    click.echo(json.dumps(report))


def page_size(trace: Path, page: Path) -> int:
    """Bytes of the page of a trace."""
    from mdm_sampling.views import write_page

    write_page({"trace": mdm.read_trace(trace)}, page)
    return page.stat().st_size


if __name__ == "__main__":
    main()
