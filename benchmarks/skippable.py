"""How many of Info-Gain's candidates could be skipped, since their cost alone is above the objective of the cheapest?

J(a) = -C(a) - w H(a) with H(a) >= 0. Once the candidate with the smallest C is evaluated, those whose C is above its
C + w H cannot win. With the embedded model, on held-out items, no bypass; a JSON line for each task, K and weight.

    python benchmarks/skippable.py
    python benchmarks/skippable.py --quick
"""

import json
from dataclasses import replace

import click
import torch

import mdm_sampling as mdm
from mdm_sampling.compare import row_of

POSITIONS = 64  # more than any answer has


def evaluated_and_needed(sampler: mdm.Sampler, task: mdm.Task, items: int) -> tuple[int, int]:
    """Candidates that were evaluated, and those that would have to be."""
    rows = [row_of(item, sampler, None) for item in task.items(items, 1)]
    evaluated = needed = 0
    for record in sampler.iterate(sampler.canvas(rows), list(range(len(rows)))):
        tried = record.candidates
        if tried is None:
            continue
        seen = ~tried.score.isnan()
        cost = torch.where(seen, tried.cost, torch.inf)
        objective = torch.where(seen, -tried.score, torch.inf)
        cheapest = cost.argmin(0, keepdim=True)
        others = (cost < objective.gather(0, cheapest)).scatter(0, cheapest, False) & seen
        evaluated += int(seen.sum())
        needed += int(others.sum()) + int(seen.any(0).sum())
    return evaluated, needed


@click.command(help=__doc__)
@click.option("--items", default=32, show_default=True)
@click.option("--quick", is_flag=True, help="Two items; the tests run this.")
def main(items: int, quick: bool) -> None:
    base = mdm.load(block_size=POSITIONS, steps=POSITIONS)
    for task in (mdm.Sudoku(6), mdm.Countdown()):
        for k in (1, 2, 4):
            for future in ("mean", "step"):
                sampler = replace(
                    base,
                    planner=mdm.InfoGain(future=future),
                    schedule=mdm.Constant(k),
                    cache=mdm.NoCache(),
                    max_new_tokens=task.max_new_tokens or POSITIONS,
                )
                evaluated, needed = evaluated_and_needed(sampler, task, 2 if quick else items)
                report = {
                    "task": mdm.describe(task),
                    "tokens_per_step": k,
                    "future": future,
                    "evaluated": evaluated,
                    "could_be_skipped": round(1 - needed / evaluated, 3),
                    "machine": mdm.describe_machine(base.backend.device),
                }
                click.echo(json.dumps(report))


if __name__ == "__main__":
    main()
