"""The hooks of plug-ins, through which the built-in parts are registered as well.

A plug-in is a module (or object) with functions marked `@mdm_sampling.hookimpl`, named in the entry-point group
`mdm_sampling` of its distribution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pluggy

from .installed import GROUP

if TYPE_CHECKING:
    import click

    from ..sampler import Observer, Sampler

_hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class Register(Protocol):
    """What the hook of a kind of part receives, to be called once for each part."""

    def __call__(self, name: str, part: type[Any]) -> None:
        """Register a part, a frozen dataclass, under a name of lower-case words joined by hyphens."""


@_hookspec
def register_backends(register: Register) -> None:
    """Register families of checkpoints: frozen dataclasses that implement `BackendFamily`."""


@_hookspec
def register_caches(register: Register) -> None:
    """Register cache strategies: frozen dataclasses that implement `CacheStrategy`."""


@_hookspec
def register_planners(register: Register) -> None:
    """Register position planners: frozen dataclasses that implement `PositionPlanner`."""


@_hookspec
def register_draft_shapes(register: Register) -> None:
    """Register draft shapes: frozen dataclasses that implement `DraftShape`."""


@_hookspec
def register_token_samplers(register: Register) -> None:
    """Register token samplers: frozen dataclasses that implement `TokenSampler`."""


@_hookspec
def register_schedules(register: Register) -> None:
    """Register schedules: frozen dataclasses that implement `Schedule`."""


@_hookspec
def register_processors(register: Register) -> None:
    """Register logits processors: frozen dataclasses that implement `Processor`."""


@_hookspec
def register_tasks(register: Register) -> None:
    """Register tasks: frozen dataclasses that implement `Task`."""


@_hookspec
def register_commands(cli: click.Group) -> None:
    """Add commands to `mdm-sampling`, with `@cli.command()` or `cli.add_command(...)`."""


@_hookspec
def observe_run(sampler: Sampler) -> Observer | None:
    """An observer of a run that begins, told of each batch and step; None for no interest in this run."""
