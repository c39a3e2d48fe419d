"""The hooks through which parts are registered, the built-in ones included.

A plug-in is a module (or object) with functions marked `@mdm_sampling.hookimpl`, named in the entry-point group
`mdm_sampling` of its distribution. Each hook receives `register(name, part)`, where `part` is a frozen dataclass.
"""

from __future__ import annotations

from typing import Any, Protocol

import pluggy

GROUP = "mdm_sampling"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class Register(Protocol):
    """What a hook receives, to be called once for each part."""

    def __call__(self, name: str, part: type[Any]) -> None:
        """Register a part, a frozen dataclass, under a name of lower-case words joined by hyphens."""


@hookspec
def register_backends(register: Register) -> None:
    """Register families of checkpoints: frozen dataclasses that implement `BackendFamily`."""


@hookspec
def register_caches(register: Register) -> None:
    """Register cache strategies: frozen dataclasses that implement `CacheStrategy`."""


@hookspec
def register_planners(register: Register) -> None:
    """Register position planners: frozen dataclasses that implement `PositionPlanner`."""


@hookspec
def register_token_samplers(register: Register) -> None:
    """Register token samplers: frozen dataclasses that implement `TokenSampler`."""


@hookspec
def register_schedules(register: Register) -> None:
    """Register schedules: frozen dataclasses that implement `Schedule`."""


@hookspec
def register_processors(register: Register) -> None:
    """Register logits processors: frozen dataclasses that implement `Processor`."""


@hookspec
def register_tasks(register: Register) -> None:
    """Register tasks: frozen dataclasses that implement `Task`."""
