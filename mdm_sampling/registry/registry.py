"""Names of parts: what is registered, by which distribution, and what went wrong while loading plug-ins."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, is_dataclass, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, get_type_hints

import pluggy

from ..backends.base import BackendFamily
from ..caches import CacheStrategy
from ..errors import RegistrationError, SpecError, nearest
from ..planners.base import PositionPlanner
from ..processors import Processor
from ..schedules import Schedule
from ..tasks.base import Task
from ..token_samplers import TokenSampler
from . import builtins, hookspecs
from .installed import hide_unreadable

KINDS: dict[str, type[Any]] = {
    "backends": BackendFamily,
    "caches": CacheStrategy,
    "planners": PositionPlanner,
    "token_samplers": TokenSampler,
    "schedules": Schedule,
    "processors": Processor,
    "tasks": Task,
}
OURS = "mdm-sampling"
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Registration:
    """A registered part: its kind, name, frozen dataclass and the distribution that it came from."""

    kind: str
    name: str
    part: type[Any]
    distribution: str

    @property
    def rule(self) -> str:
        """The first sentence of the part's docstring."""
        text = " ".join((self.part.__doc__ or "").split("\n\n")[0].split())
        return text if text and not text.startswith(f"{self.part.__name__}(") else ""


@dataclass(frozen=True)
class Plugin:
    """An installed plug-in, loaded or not.

    Attributes:
        name: of its entry point.
        distribution: the distribution that it came with.
        version: of the distribution.
        module: what its entry point names.
        parts: what it registered.
        problem: why it could not be loaded or registered; None if it was.
    """

    name: str
    distribution: str
    version: str
    module: str
    parts: tuple[Registration, ...] = ()
    problem: str | None = None


@dataclass
class Registry:
    """Parts by kind and name. Two plug-ins that claim one name make that name unusable, and nothing else."""

    parts: dict[tuple[str, str], list[Registration]] = field(default_factory=dict)
    plugins: list[Plugin] = field(default_factory=list)

    @property
    def problems(self) -> list[Plugin]:
        """The plug-ins that could not be loaded or registered."""
        return [plugin for plugin in self.plugins if plugin.problem is not None]

    def add(self, kind: str, name: str, part: type[Any], distribution: str) -> None:
        """Register a part. Raises `RegistrationError` for a bad name or part, and for a name that is built in."""
        base = KINDS[kind]
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise RegistrationError(f"{name!r} is no name for a part: use lower-case words joined by hyphens")
        if not (isinstance(part, type) and issubclass(part, base)):
            raise RegistrationError(f"{name!r} in {kind} must be a subclass of {base.__name__}, got {part!r}")
        params = getattr(part, "__dataclass_params__", None)
        if not is_dataclass(part) or params is None or not params.frozen:
            raise RegistrationError(f"{name!r} in {kind} must be a frozen dataclass; decorate {part.__name__} with it")
        try:
            get_type_hints(part)
        except Exception as error:
            raise RegistrationError(f"{name!r} in {kind}: the type of a parameter cannot be read ({error})") from error
        claims = self.parts.setdefault((kind, name), [])
        if any(claim.distribution == distribution for claim in claims):
            raise RegistrationError(f"{name!r} in {kind} is registered twice")
        if claims and claims[0].distribution == OURS:
            raise RegistrationError(f"{name!r} in {kind} is already taken by {OURS}")
        claims.append(Registration(kind, name, part, distribution))

    def kind(self, kind: str) -> list[Registration]:
        """All registrations of a kind, in order."""
        return [claim for (k, _), claims in self.parts.items() if k == kind for claim in claims]

    def get(self, kind: str, name: str) -> Registration:
        """The part of this name. Raises `SpecError` with the nearest names, or with the distributions that claim it."""
        if not isinstance(kind, str) or kind not in KINDS:
            raise SpecError(f"unknown kind {kind!r:.80}; there are {', '.join(KINDS)}")
        claims = self.parts.get((kind, name), [])
        if len(claims) > 1:
            claimants = " and ".join(claim.distribution for claim in claims)
            raise SpecError(f"{name!r} in {kind} is claimed by {claimants}; uninstall one of them")
        if not claims:
            known = [n for k, n in self.parts if k == kind]
            hint = nearest(name, known, f"known: {', '.join(known)}")
            raise SpecError(f"unknown name {name!r:.80} in {kind}; {hint}")
        return claims[0]

    def name_of(self, kind: str, part: type[Any]) -> str | None:
        """The name under which a part is registered."""
        return next((claim.name for claim in self.kind(kind) if claim.part is part), None)


@cache
def registry() -> Registry:
    """The registry of this process: the built-ins and all installed plug-ins, loaded once."""
    unreadable = hide_unreadable()
    loaded = load(entry_points(group=hookspecs.GROUP))
    problem = "its metadata cannot be read, so it is left out"
    loaded.plugins += [Plugin(path.name, str(path.parent), "", "", problem=problem) for path in unreadable]
    return loaded


def load(plugins: Iterable[EntryPoint]) -> Registry:
    """A registry of the built-ins and the given plug-ins. One that fails is noted with its problem; the rest works."""
    from .. import __version__

    loaded = Registry()
    ours = Plugin(OURS, OURS, __version__, builtins.__name__)
    loaded.plugins.append(replace(ours, parts=_register_plugin(loaded, builtins, OURS, OURS)))
    for entry in sorted(plugins, key=lambda entry: entry.name):
        distribution = (entry.dist and entry.dist.name) or "unknown distribution"
        plugin = Plugin(entry.name, distribution, (entry.dist and entry.dist.version) or "", entry.value)
        try:
            # What a plug-in prints is no part of a command's result, and it does not choose where files are.
            with redirect_stdout(sys.stderr), kept_folder():
                plugin = replace(plugin, parts=_register_plugin(loaded, entry.load(), entry.name, distribution))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a plug-in does while loading, the others must go on
            message = str(error) if isinstance(error, RegistrationError) else f"{type(error).__name__}: {error}"
            plugin = replace(plugin, problem=message)
        loaded.plugins.append(plugin)
    return loaded


@contextmanager
def kept_folder() -> Iterator[None]:
    """Go back to the working folder afterwards."""
    before = os.getcwd()
    try:
        yield
    finally:
        os.chdir(before)


def _register_plugin(loaded: Registry, plugin: object, name: str, distribution: str) -> tuple[Registration, ...]:
    """Call the registration hooks of one plug-in and return its parts; all of them are added, or none."""
    manager = pluggy.PluginManager(hookspecs.GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin, name)
    manager.check_pending()
    trial = Registry(parts={key: list(claims) for key, claims in loaded.parts.items()})
    called = False
    for kind in KINDS:
        hook = getattr(manager.hook, f"register_{kind}")
        called = called or bool(hook.get_hookimpls())
        hook(register=_adder(trial, kind, distribution))
    if not called:
        raise RegistrationError("it implements no hook; mark a function such as register_planners with @hookimpl")
    if len(trial.parts) == len(loaded.parts) and trial.parts == loaded.parts:
        raise RegistrationError("it registers nothing; a hook must call register(name, part)")
    before = {claim for claims in loaded.parts.values() for claim in claims}
    loaded.parts = trial.parts
    return tuple(claim for claims in trial.parts.values() for claim in claims if claim not in before)


def _adder(target: Registry, kind: str, distribution: str) -> Callable[[str, type[Any]], None]:
    def register(name: str, part: type[Any]) -> None:
        target.add(kind, name, part, distribution)

    return register
