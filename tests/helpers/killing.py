"""Runs a job to its end; then again in child processes that are killed at random moments, and once more to its end.

    python killing.py INPUT WHOLE KILLED KILLS

The model is loaded once and the children are forked, so that a kill costs milliseconds. Prints how many rows the folder
of KILLED held at each kill, and how many were there before the last run.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

torch.set_num_threads(1)  # a forked child cannot use its parent's threads

import mdm_sampling as mdm  # noqa: E402
from mdm_sampling.jobs import Job, read_rows  # noqa: E402


def lines_of(folder: Path) -> int:
    file = folder / "results.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def wait(folder: Path, rows: int, seconds: float) -> None:
    """Wait for so many more rows in the folder, or so long if there are none to wait for."""
    if not rows:
        time.sleep(seconds)
        return
    began, before = time.monotonic(), lines_of(folder)
    while lines_of(folder) < before + rows and time.monotonic() - began < 60:
        time.sleep(0.001)


def main(file: str, whole: str, output: str, kills: int) -> None:
    sampler = mdm.Sampler(mdm.load_backend(), planner=mdm.Confidence(), max_new_tokens=20, steps=5)
    rows = read_rows(file)
    Job(sampler, rows, whole, batch_size=6).run()
    job = Job(sampler, rows, output, batch_size=6)
    rng = random.Random(0)
    held: list[int] = []
    while len(held) < kills:
        child = os.fork()
        if child == 0:
            job.run()
            os._exit(0)
        # At some moment of the first batches, or as soon as some rows more are on disk, however fast the machine is.
        wait(job.results_folder, rng.choice([0, rng.randint(1, 12)]), rng.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            break
        held.append(lines_of(job.results_folder))
    outcome = job.run()
    print(json.dumps({"held": held, "before": outcome.before, "errors": outcome.errors}))


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
