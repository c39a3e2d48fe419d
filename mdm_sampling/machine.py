"""The machine: what a figure was measured on, to stand beside it, and whether its memory is full."""

from __future__ import annotations

import platform
from pathlib import Path

import torch
import transformers

from . import __version__

DEVICE_ERRORS: tuple[type[BaseException], ...] = (getattr(torch, "AcceleratorError", torch.OutOfMemoryError),)
"""What torch raises of a device itself; earlier releases have a `RuntimeError` for it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device's or this machine's memory is full."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
        return True
    return _is_of_device(error) and "out of memory" in str(error)


def is_device_fault(error: BaseException) -> bool:
    """Whether an error says that a device has failed: whatever is asked of it by this process would fail as well."""
    return _is_of_device(error) and not is_out_of_memory(error)


def _is_of_device(error: BaseException) -> bool:
    return isinstance(error, DEVICE_ERRORS) or (
        isinstance(error, RuntimeError) and str(error).startswith(("CUDA error", "HIP error"))
    )


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
