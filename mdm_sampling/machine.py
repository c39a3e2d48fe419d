"""What a figure was measured on: hardware, versions and threads, to stand beside it."""

from __future__ import annotations

import platform
from pathlib import Path

import torch
import transformers

from . import __version__


def describe_machine() -> dict[str, str | int]:
    """Processor, threads, GPU and the versions of what computes."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "mdm-sampling": __version__,
    }
