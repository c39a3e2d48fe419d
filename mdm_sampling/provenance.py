"""What a result was made with: the weights, the machine."""

from __future__ import annotations

import platform
from hashlib import sha256
from pathlib import Path

import torch
import transformers
from torch.distributed.tensor import DTensor

from . import __version__

_SAMPLED = 64  # numbers of each weight that tell models apart


def fingerprint_of(module: torch.nn.Module) -> str:
    """A few characters that differ between modules with different weights."""
    digest = sha256()
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {list(tensor.shape)}".encode())
        if tensor.device.type != "meta":
            own = tensor.to_local() if isinstance(tensor, DTensor) else tensor  # the part that this process holds
            few = own.detach().flatten()[:: max(1, own.numel() // _SAMPLED)][:_SAMPLED]
            digest.update(few.double().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def describe_machine(device: torch.device | None = None) -> dict[str, str | int]:
    """Processor, threads, GPU and the versions of what computes.

    Args:
        device: where the model is: the GPU is that one, and "none" for a model on the CPU, whatever the machine has.
    """
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "threads": torch.get_num_threads(),
        "gpu": _accelerator(device),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "mdm-sampling": __version__,
    }


def _accelerator(device: torch.device | None) -> str:
    if device is None or device.type == "cpu":
        return "none"
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
