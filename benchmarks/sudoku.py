"""Planners and caches on 4x4 Sudoku with the embedded model: accuracy and cumulative entropy on held-out puzzles.

Every setting decodes the same puzzles with the same seeds. The whole answer is one block, tokens are greedy, and there
is no bypass, so that a step fills exactly K places.

    python benchmarks/sudoku.py                # 200 puzzles
    python benchmarks/sudoku.py --puzzles 16   # a quick look
"""

import json
import math
import sys
import time
from dataclasses import replace
from pathlib import Path

import click
import torch
from machine import describe_machine

import mdm_sampling as mdm

sys.path.insert(0, str(Path(__file__).parent / "embedded_model"))
from sudoku_grids import held_out_puzzles, is_solution

ANSWER = 20  # four rows of four digits, three line breaks and the end token
PLANNERS = ("random", "left-to-right", "confidence", "margin", "entropy", "info-gain", "info-gain:variant=lookum")
CACHES = ("none", "prefix", "dual")


def wilson(solved: int, total: int) -> tuple[float, float]:
    """95% Wilson interval of a share."""
    z, share = 1.96, solved / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return centre - half, centre + half


def measure(sampler: mdm.Sampler, puzzles: list[str], batch_size: int) -> dict[str, float]:
    began = time.perf_counter()
    result = sampler.generate(puzzles, seed=0, batch_size=batch_size)
    solved = sum(is_solution(puzzle, text) for puzzle, text in zip(puzzles, result.texts, strict=True))
    low, high = wilson(solved, len(puzzles))
    rows = result.rows
    return {
        "accuracy": solved / len(puzzles),
        "low": low,
        "high": high,
        "cumulative_entropy": sum(row.cumulative_entropy for row in rows) / len(rows),
        "forwards": sum(row.forwards for row in rows) / len(rows),
        "token_forwards": sum(row.token_forwards for row in rows) / len(rows),
        "seconds": time.perf_counter() - began,
    }


def settings() -> list[tuple[str, str, int, int]]:
    """(planner, cache, tokens a step, block length) of each line: planners without cache, then caches."""
    planners = [(planner, "none", k, ANSWER) for k in (1, 2, 4) for planner in PLANNERS]
    return planners + [(p, c, 1, b) for b in (20, 10) for p in ("confidence", "info-gain") for c in CACHES]


@click.command(help=__doc__)
@click.option("--puzzles", default=200, show_default=True)
@click.option("--seed", default=0, show_default=True, help="Seed of the puzzles.")
@click.option("--batch-size", default=50, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Write the lines as JSON.")
def main(puzzles: int, seed: int, batch_size: int, threads: int, out: Path | None) -> None:
    torch.set_num_threads(threads)
    items = held_out_puzzles(puzzles, seed)
    base = mdm.load("embedded", gen_length=ANSWER)
    click.echo(f"{puzzles} puzzles, seed {seed}, {json.dumps(describe_machine())}\n")
    columns = "K, block, cache, planner, accuracy, 95% interval, cumulative entropy, row-forwards, token-forwards"
    click.echo("| " + columns.replace(", ", " | ") + " |")
    click.echo("|---" * 9 + "|")
    lines = []
    for planner, cache, k, block in settings():
        sampler = replace(
            base,
            planner=mdm.build("planners", planner),
            cache=mdm.build("caches", cache),
            steps=-(-ANSWER // k),
            block_length=block,
        )
        line = measure(sampler, items, batch_size)
        lines.append({"planner": planner, "cache": cache, "k": k, "block": block, **line})
        click.echo(
            f"| {k} | {block} | {cache} | {planner} | {line['accuracy']:.3f} | {line['low']:.3f} to {line['high']:.3f} "
            f"| {line['cumulative_entropy']:.3f} | {line['forwards']:.1f} | {line['token_forwards']:.0f} |"
        )
    if out:
        out.write_text(json.dumps({"machine": describe_machine(), "seed": seed, "lines": lines}, indent=1))


if __name__ == "__main__":
    main()
