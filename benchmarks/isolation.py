"""A measurement in a process of its own, so that its peak memory is its own."""

import json
import resource
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import torch
from runs import Run


def resident_mib() -> float:
    """Resident memory of this process now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS in /proc/self/status")


def peak_mib() -> float:
    """The largest that this process has been."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class PeakMemory:
    """Peak memory in MiB above what was in use when this was made: resident on a CPU, allocated on a GPU."""

    def __init__(self, device: str, model: torch.nn.Module) -> None:
        self.device = device
        if device == "cpu":
            # Systems take idle pages away; weights that come back during the run would count as the run's.
            for weight in model.parameters():
                weight.detach().sum()
            self.own = resident_mib()
            # Loading a model may have taken more than the run will, and then hides it.
            self.hidden = peak_mib() - self.own
        else:
            torch.cuda.reset_peak_memory_stats()
            self.own, self.hidden = torch.cuda.memory_allocated() / 2**20, 0.0

    def mib(self) -> float:
        peak = peak_mib() if self.device == "cpu" else torch.cuda.max_memory_allocated() / 2**20
        if peak - self.own < self.hidden * 1.001:
            click.echo(f"the run's peak is hidden by that of loading, {self.hidden:.0f} MiB above the model", err=True)
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
