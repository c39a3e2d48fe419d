"""Processes that the tests interrupt."""

import os
import signal
import subprocess
from collections.abc import Sequence


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
