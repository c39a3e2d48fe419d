"""Processes that the tests interrupt."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path


def interruptible(command: Sequence[str]) -> "subprocess.Popen[str]":
    """Start a command on one thread. It hears SIGINT even if we don't, as what a shell's background job starts."""
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for_lines(folder: Path, pattern: str = "results.jsonl", seconds: float = 120) -> None:
    """Wait until a file of the folder has content."""
    began = time.monotonic()
    while not any(file.stat().st_size for file in folder.glob(pattern)) and time.monotonic() - began < seconds:
        time.sleep(0.02)
