"""Guards around a call: it may change nothing that it was given, and draw nothing from a global generator."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy
import torch
from torch import Tensor

from .rules import ConformanceError, breach


@contextmanager
def guarded(part: Any, given: Mapping[str, Tensor], noise: str, case: object = None) -> Iterator[None]:
    """Raise `ConformanceError` if what runs inside changes a given tensor or draws from a global generator.

    Args:
        part: who is blamed.
        given: tensors by name.
        noise: where it should draw from instead.
    """
    copies = {name: tensor.clone() for name, tensor in given.items()}
    before = _generators()
    yield
    for name, copy in copies.items():
        if not torch.equal(copy, given[name]):
            got = f"it changed {name} in place"
            raise ConformanceError(breach(part, "what it is given stays as it is", got, case))
    for name, state in _generators().items():
        if state != before[name]:
            raise ConformanceError(breach(part, f"all randomness comes from {noise}", f"it drew from {name}", case))


def _generators() -> dict[str, Any]:
    """The states of the process's generators."""
    numpys: Any = numpy.random.get_state(legacy=True)
    return {
        "torch's global generator": torch.get_rng_state().numpy().tobytes(),
        "Python's global generator": random.getstate(),
        "numpy's global generator": (numpys[1].tobytes(), *numpys[2:]),
    }
