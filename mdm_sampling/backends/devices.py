"""Where a model is computed: the choice of a device, and checks of one that was named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from ..errors import ModelError
from ..randomness import RowNoise
from .files import first_sentence

_ROOM = 1.1
"""Memory that must be free, in sizes of the weights: a run needs some beside them."""

_PLACEMENTS = ("auto", "balanced", "balanced_low_0", "sequential")
"""Device maps that accelerate works out by itself."""


def choose_device(size: int) -> str:
    """The device for a model whose weights take `size` bytes.

    It is a CUDA device that has room for them, the current one first; else MPS, if it works and has room; else the CPU.
    """
    return next((name for name, free in _accelerators() if free >= _ROOM * size and works(name)), "cpu")


def _accelerators() -> Iterator[tuple[str, float]]:
    """Names of devices and the bytes that are free on each."""
    if torch.cuda.is_available():
        current = torch.cuda.current_device()
        yield "cuda", _free_on_cuda(current)
        for index in range(torch.cuda.device_count()):
            if index != current:
                yield f"cuda:{index}", _free_on_cuda(index)
    if torch.backends.mps.is_available():
        yield "mps", torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()


def _free_on_cuda(index: int) -> float:
    """Bytes that are free on a device, together with those that this process holds and does not use."""
    try:
        free, _ = torch.cuda.mem_get_info(index)
    except RuntimeError:  # another process may have it to itself
        return -1.0
    return float(free + torch.cuda.memory_reserved(index) - torch.cuda.memory_allocated(index))


def describe_choice(device: torch.device) -> str:
    """A device that was chosen, and why if it is slower than the machine could be."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu" and torch.cuda.is_available():
        return "cpu, since no GPU has room for the model"
    return str(device)


def works(name: str) -> bool:
    """Whether a device computes what a run needs: noise is drawn in float64, which MPS does not know."""
    try:
        return bool(RowNoise.from_seeds([0], torch.device(name)).uniform([0], 1).isfinite().all())
    except (RuntimeError, AssertionError, NotImplementedError, TypeError):
        return False


def check_device(name: str) -> None:
    """Raise `ModelError` unless tensors can live on this device, before anything large is read."""
    try:
        torch.empty(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise ModelError(f"device {name!r:.60} cannot be used: {first_sentence(error):.200}") from error


def check_device_map(device_map: Any) -> None:
    """Raise `ModelError` for a device map that names what is not a device; accelerate checks the rest."""
    if device_map is None or device_map in _PLACEMENTS:
        return
    places = list(device_map.values()) if isinstance(device_map, Mapping) else [device_map]
    if not places:
        raise ModelError("the device_map names no device")
    for place in places:
        if place == "disk":
            continue
        if not isinstance(place, str | torch.device | int) or isinstance(place, bool):
            raise ModelError(
                f"device_map: {place!r:.60} is not a device; give one of {', '.join(_PLACEMENTS)}, or a device"
            )
        check_device(f"cuda:{place}" if isinstance(place, int) else str(place))
