"""The terms of docs/scale-out.md: what a job takes locally and on Ray, before its first row and for each row.

Puzzles for the small model inside the package, one token a step. Each run is a process of its own. `start` is the wall
time beyond the seconds in which batches were decoded (for several workers, those of the busiest as if evenly shared).

    python benchmarks/scale_out.py
    python benchmarks/scale_out.py --quick
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

import mdm_sampling as mdm

ENGINES: dict[str, list[str]] = {
    "local": [],
    "ray, 1 worker": ["--engine", "ray", "--workers", "1"],
    "ray, 2 workers": ["--engine", "ray", "--workers", "2"],
}


@click.command(help=__doc__)
@click.option("--rows", default=256, show_default=True)
@click.option("--batch-size", default=16, show_default=True)
@click.option("--quick", is_flag=True, help="Few rows and no Ray, to see whether the script works.")
def main(rows: int, batch_size: int, quick: bool) -> None:
    engines = {"local": ENGINES["local"]} if quick else ENGINES
    with tempfile.TemporaryDirectory() as folder:
        write_prompts(Path(folder, "prompts.jsonl"), 4 if quick else rows)
        for name, options in engines.items():
            click.echo(json.dumps({"engine": name, **measured(Path(folder), options, batch_size)}))


def write_prompts(file: Path, count: int) -> None:
    """Held-out 4x4 puzzles, as prompts."""
    items = mdm.build("tasks", "sudoku:4").items(count, 0)
    prompts = [item.body.replace("[MASK]", ".").replace("\n", " ") for item in items]
    file.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))


def measured(folder: Path, options: list[str], batch_size: int) -> dict[str, Any]:
    """One job: wall seconds, their parts, tokens a second and what it wrote."""
    output = folder / f"{'-'.join(options) or 'local'}.jsonl"
    command = [sys.executable, "-m", "mdm_sampling", "run", "--input", str(folder / "prompts.jsonl")]
    command += ["--output", str(output), "--max-new-tokens", "20", "--steps", "20", "--planner", "info-gain"]
    began = time.perf_counter()
    subprocess.run(
        [*command, "--batch-size", str(batch_size), *options],
        env=os.environ | {"OMP_NUM_THREADS": "1"},  # so that two workers have a core each
        check=True,
        capture_output=True,
    )
    wall = time.perf_counter() - began
    journal = Path(f"{output}.job", "results.jsonl")
    shared = json.loads(journal.with_name("settings.json").read_text())
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    workers = int(options[-1]) if options else 1
    batches = {line["batch"][0]: line["batch_seconds"] for line in lines}
    busy = sum(batches.values()) / workers
    tokens = sum(report_tokens(line) for line in lines)
    return {
        "rows": len(lines),
        "wall_s": round(wall, 2),
        "start_s": round(wall - busy, 2),
        "batch_s": round(sum(batches.values()) / len(batches), 3),
        "tokens_a_second_of_a_worker": round(tokens / sum(batches.values()), 1),
        "journal_bytes_a_row": round(journal.stat().st_size / len(lines)),
        "machine": shared[lines[0]["machine"]],
    }


def report_tokens(line: dict[str, Any]) -> int:
    """Tokens that were generated for a row."""
    return 20 if line["error"] is None else 0


if __name__ == "__main__":
    main()
