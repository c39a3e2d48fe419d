"""A measurement in a process of its own, so that its peak memory is its own."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import torch
from runs import Run

STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def memory_mib(field: str) -> float:
    """This process's resident memory: `VmRSS` now, `VmHWM` at its largest since it was last forgotten.

    Not `ru_maxrss`, which a process takes over from the one that started it.
    """
    for line in STATUS.read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {field} in {STATUS}")


class PeakMemory:
    """Peak memory in MiB above what was in use when this was made: resident on a CPU, allocated on a GPU."""

    def __init__(self, device: str, model: torch.nn.Module) -> None:
        self.device = device
        if device == "cpu":
            # Systems take idle pages away; weights that come back during the run would count as the run's.
            for weight in model.parameters():
                weight.detach().sum()
            FORGET.write_text("5")  # loading the model may have taken more than the run will
            self.own = memory_mib("VmRSS")
        else:
            torch.cuda.reset_peak_memory_stats()
            self.own = torch.cuda.memory_allocated() / 2**20

    def mib(self) -> float:
        peak = memory_mib("VmHWM") if self.device == "cpu" else torch.cuda.max_memory_allocated() / 2**20
        return peak - self.own


def apart(script: str, side: str, run: Run) -> dict[str, Any]:
    """Run `script --one [side, run]` and return the JSON object of its last line."""
    command = [sys.executable, script, "--one", json.dumps([side, asdict(run)])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(done.stderr)
    click.echo(done.stderr, err=True, nl=False)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
