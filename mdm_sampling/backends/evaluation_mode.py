"""A model is in evaluation mode while it decodes, whatever mode its owner keeps it in, and goes back to that mode."""

from __future__ import annotations

from functools import partial
from types import MethodType
from typing import Any

import torch

from .base import ModelBackend


class EvaluationMode:
    """A context in which a backend's module is in evaluation mode; it may be entered many times, one after the other.

    A run enters it at each step and leaves it before it hands out the step's record. So runs that take turns don't
    disturb each other, and a module that is trained between two steps is in its own mode there.

    Args:
        backend: its `module` is meant; a callable that only calls a module hides it.
    """

    def __init__(self, backend: ModelBackend) -> None:
        self.module = backend.module
        # Walking through the modules of a large model takes as long as a few of its kernels, so it is done once.
        self.modules = [] if self.module is None else list(self.module.modules())
        self.training: list[torch.nn.Module] = []
        self.root_mode = False

    def __enter__(self) -> None:
        self.training = [module for module in self.modules if module.training]
        if self.module is not None and self.training:
            self.root_mode = self.module.training
            self.module.eval()

    def __exit__(self, *_: object) -> None:
        if self.module is None or not self.training:
            return
        self.module.train(self.root_mode)
        own = set(self.training)
        for module in self.modules:
            module.training = module in own


def module_of(model: Any) -> torch.nn.Module | None:
    """The module behind a callable: itself, the one whose method it is, or the one that a partial calls."""
    if isinstance(model, partial):
        return module_of(model.func)
    if isinstance(model, MethodType):
        return module_of(model.__self__)
    return model if isinstance(model, torch.nn.Module) else None
