"""Which errors mean that a device has no memory left, or has failed."""

from __future__ import annotations

import torch

_DEVICE_ERRORS: tuple[type[BaseException], ...] = (getattr(torch, "AcceleratorError", torch.OutOfMemoryError),)
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
    return isinstance(error, _DEVICE_ERRORS) or (
        isinstance(error, RuntimeError) and str(error).startswith(("CUDA error", "HIP error"))
    )
