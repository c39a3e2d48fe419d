"""Names of parts and commands: what is registered, by which distribution, and what went wrong with plug-ins."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cache, partial
from importlib.metadata import EntryPoint
from typing import Any, get_type_hints

import click
import pluggy

from ..backends.base import BackendFamily
from ..caches import CacheStrategy
from ..errors import RegistrationError, SpecError, nearest
from ..planners.base import PositionPlanner
from ..planners.draft_shapes import DraftShape
from ..processors import Processor
from ..schedules import Schedule
from ..tasks.base import Task
from ..token_samplers import TokenSampler
from . import builtins, hookspecs, installed
from .files import CLASS_IN_FILE, PartFile, left_alone

KINDS: dict[str, type[Any]] = {
    "backends": BackendFamily,
    "caches": CacheStrategy,
    "planners": PositionPlanner,
    "draft_shapes": DraftShape,
    "token_samplers": TokenSampler,
    "schedules": Schedule,
    "processors": Processor,
    "tasks": Task,
}
COMMANDS = "commands"
_OURS = "mdm-sampling"
_HERE = "this process"
"""Where parts come from that were registered by `register`."""
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Registration:
    """What a plug-in registered: kind, name, the part's frozen dataclass or the command, and the distribution."""

    kind: str
    name: str
    part: Any
    distribution: str

    @property
    def rule(self) -> str:
        """The first sentence of the part's docstring, or of the command's help."""
        text = self.part.help if self.kind == COMMANDS else self.part.__doc__
        sentence = " ".join((text or "").split("\n\n")[0].split())
        return "" if sentence.startswith(f"{getattr(self.part, '__name__', None)}(") else sentence


@dataclass(frozen=True)
class Plugin:
    """An installed plug-in, loaded or not.

    Attributes:
        name: of its entry point.
        distribution: the distribution that it came with.
        version: of the distribution.
        module: what its entry point names.
        parts: what it registered, commands included.
        problem: why it could not be loaded or registered; None if it was.
    """

    name: str
    distribution: str
    version: str
    module: str
    parts: tuple[Registration, ...] = ()
    problem: str | None = None

    @property
    def full_name(self) -> str:
        """Its name and its distribution's, where they differ."""
        return self.name if self.name == self.distribution else f"{self.name} of {self.distribution}"


def _new_manager() -> pluggy.PluginManager:
    """A plug-in manager that knows the hooks, and no plug-in yet."""
    manager = pluggy.PluginManager(installed.GROUP)
    manager.add_hookspecs(hookspecs)
    return manager


@dataclass
class Registry:
    """Parts and commands by kind and name. Two plug-ins that claim one name make that name unusable, and nothing else.

    Attributes:
        parts: who claims each kind and name.
        plugins: the installed plug-ins, also those that could not be loaded.
        files: those that specs or `--plugin` have named, by their absolute path.
        manager: of the plug-ins that are loaded; it calls their hooks.
    """

    parts: dict[tuple[str, str], list[Registration]] = field(default_factory=dict)
    plugins: list[Plugin] = field(default_factory=list)
    files: dict[str, PartFile] = field(default_factory=dict)
    manager: pluggy.PluginManager = field(default_factory=_new_manager)

    @property
    def problems(self) -> list[Plugin]:
        """The plug-ins that could not be loaded or registered."""
        return [plugin for plugin in self.plugins if plugin.problem is not None]

    def plug_in(self, plugin: Plugin, module: object) -> None:
        """Register what the hooks of a plug-in's module offer: all of it, or nothing where anything is wrong."""
        if self.manager.is_registered(module):
            raise RegistrationError(f"its module is registered already, as {self.manager.get_name(module)}")
        if self.manager.has_plugin(plugin.full_name):
            raise RegistrationError(f"another plug-in called {plugin.full_name} is registered already")
        before = {key: list(claims) for key, claims in self.parts.items()}
        try:
            self.manager.register(module, plugin.full_name)
            self.manager.check_pending()
            self._call_hooks(module, plugin.distribution)
        except BaseException:
            self.parts = before
            if self.manager.is_registered(module):
                self.manager.unregister(module)
            raise
        old = {claim for claims in before.values() for claim in claims}
        new = tuple(claim for claims in self.parts.values() for claim in claims if claim not in old)
        self.plugins.append(replace(plugin, parts=new))

    def _call_hooks(self, module: object, distribution: str) -> None:
        hooks = {caller.name for caller in self.manager.get_hookcallers(module) or ()}
        if not hooks:
            raise RegistrationError("it implements no hook; mark a function such as register_planners with @hookimpl")
        count = sum(map(len, self.parts.values()))
        for kind in KINDS:
            self.call(module, f"register_{kind}", register=partial(self.add, distribution, kind))
        group = click.Group()
        self.call(module, "register_commands", cli=group)
        for name, command in group.commands.items():
            self.add_command(name, command, distribution)
        if sum(map(len, self.parts.values())) == count and "observe_run" not in hooks:
            raise RegistrationError("it registers nothing; a hook must call register(name, part)")

    def call(self, module: object, hook: str, **given: Any) -> list[Any]:
        """Call a hook of one plug-in alone, and return what it returns, if it has this hook."""
        found = [each for each in getattr(self.manager.hook, hook).get_hookimpls() if each.plugin is module]
        return [each.function(*(given[name] for name in each.argnames)) for each in found]

    def add(self, distribution: str, kind: str, name: str, part: type[Any]) -> None:
        """Register a part. Raises `RegistrationError` for a bad name or part, and for a name that is built in."""
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise RegistrationError(f"{name!r} is not a name for a part: use lower-case words joined by hyphens")
        _check_part(kind, name, part)
        self._claim(Registration(kind, name, part, distribution))

    def add_command(self, name: str, command: click.Command, distribution: str) -> None:
        """Register a command. Raises `RegistrationError` for a bad name, and for that of a command of our own."""
        from ..cli import COMMANDS as BUILT_IN

        if not NAME.fullmatch(name):
            raise RegistrationError(f"{name!r} is not a name for a command: use lower-case words joined by hyphens")
        if not isinstance(command, click.Command):
            raise RegistrationError(f"{name!r} in commands must be a click command, got {command!r:.80}")
        if name in BUILT_IN:
            raise RegistrationError(f"{name!r} in commands is already taken by {_OURS}")
        self._claim(Registration(COMMANDS, name, command, distribution))

    def _claim(self, claim: Registration) -> None:
        claims = self.parts.setdefault((claim.kind, claim.name), [])
        if any(other.distribution == claim.distribution for other in claims):
            raise RegistrationError(f"{claim.name!r} in {claim.kind} is registered twice")
        if claims and claims[0].distribution == _OURS:
            raise RegistrationError(f"{claim.name!r} in {claim.kind} is already taken by {_OURS}")
        claims.append(claim)

    def file(self, path: str, source: str | None = None) -> PartFile:
        """A file of parts, which a process loads once. Raises `SpecError` for one that cannot be loaded."""
        absolute = os.path.abspath(path)
        if absolute not in self.files:
            self.files[absolute] = PartFile.load(path, source)
        return self.files[absolute]

    def plug_in_file(self, path: str) -> None:
        """Register what the hooks of a file offer, once. Raises `SpecError` where anything is wrong with it."""
        file = self.file(path)
        if self.manager.is_registered(file.module):
            return
        try:
            with left_alone():
                self.plug_in(Plugin(file.written, file.written, "", os.path.abspath(path)), file.module)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise SpecError(f"the plug-in {file.written}: {_problem_of(error)}") from error

    def files_to_send(self) -> dict[str, dict[str, Any]]:
        """The files of parts that were loaded, as JSON-able values with which another process has the same parts."""
        return {
            file.written: {"source": file.source, "plugin": self.manager.is_registered(file.module)}
            for file in self.files.values()
        }

    def receive_files(self, sent: Mapping[str, Mapping[str, Any]]) -> None:
        """Load what `files_to_send` of another process has returned."""
        for written, values in sent.items():
            self.file(written, values["source"])
            if values["plugin"]:
                self.plug_in_file(written)

    def names_only_here(self, value: object) -> list[str]:
        """The names that `register` gave to parts within a value, such as a sampler: no other process knows them."""
        inside = list(value) if isinstance(value, tuple | list) else []
        if is_dataclass(value) and not isinstance(value, type):
            inside = [getattr(value, field.name) for field in fields(value)]
        claims = [claim for claims in self.parts.values() for claim in claims]
        own = [claim.name for claim in claims if claim.distribution == _HERE and claim.part is type(value)]
        return own + [name for each in inside for name in self.names_only_here(each)]

    def class_in_file(self, name: str, kind: str | None = None) -> Registration:
        """The part that FILE.py:Class names, of this kind or of its own. Raises `SpecError` for another thing."""
        path, _, cls = name.rpartition(":")
        file = self.file(path)
        part = getattr(file.module, cls, None)
        if part is None:
            known = [name for name, value in vars(file.module).items() if isinstance(value, type)]
            hint = nearest(cls, known, f"it has {', '.join(known) or 'none'}")
            raise SpecError(f"{file.written} has no class {cls!r}; {hint}")
        try:
            kind = kind or _kind_of(part)
            _check_part(kind, cls, part)
        except RegistrationError as error:
            raise SpecError(f"{file.written}: {error}") from error
        claim = Registration(kind, f"{file.written}:{cls}", part, file.written)
        self.parts[kind, claim.name] = [claim]
        return claim

    def kind(self, kind: str) -> list[Registration]:
        """All registrations of a kind, in order."""
        return [claim for (k, _), claims in self.parts.items() if k == kind for claim in claims]

    def get(self, kind: str, name: str) -> Registration:
        """The part of this name. Raises `SpecError` with the nearest names, or with the distributions that claim it."""
        if not isinstance(kind, str) or kind not in (*KINDS, COMMANDS):
            raise SpecError(f"unknown kind {kind!r:.80}; there are {', '.join(KINDS)}")
        if CLASS_IN_FILE.fullmatch(name):
            return self.class_in_file(name, kind)
        claims = self.parts.get((kind, name), [])
        if len(claims) > 1:
            claimants = " and ".join(claim.distribution for claim in claims)
            raise SpecError(f"{name!r} in {kind} is claimed by {claimants}; uninstall one of them")
        if not claims:
            known = [n for k, n in self.parts if k == kind]
            hint = near_part(name, known, f"known: {', '.join(known)}")
            hint = f"name a class in the file, as {name:.80}:Class" if name.endswith(".py") else hint
            raise SpecError(f"unknown name {name!r:.80} in {kind}; {hint}")
        return claims[0]

    def name_of(self, kind: str, part: type[Any]) -> str | None:
        """The name under which a part is registered."""
        return next((claim.name for claim in self.kind(kind) if claim.part is part), None)


def near_part(name: str, known: Collection[str], otherwise: str) -> str:
    """What to say of an unknown part, see `nearest`; of one called as a plug-in's folder, how that is installed."""
    folder, _, last = name.rstrip("/").rpartition("/")
    part = last.removeprefix("mdm-")
    if part in known:
        return f"did you mean {part!r}?"
    if part != last or folder:
        return "`pip install --no-deps FOLDER` installs a plug-in, and `mdm-sampling plugins list` shows its parts"
    return nearest(name, known, otherwise)


def _check_part(kind: str, name: str, part: object) -> None:
    """Raise `RegistrationError` for what is not a part of the kind: a frozen dataclass with the kind's interface."""
    base = KINDS[kind]
    if not (isinstance(part, type) and issubclass(part, base)):
        raise RegistrationError(f"{name!r} in {kind} must be a subclass of {base.__name__}, got {part!r}")
    params = getattr(part, "__dataclass_params__", None)
    if not is_dataclass(part) or params is None or not params.frozen:
        raise RegistrationError(f"{name!r} in {kind} must be a frozen dataclass; decorate {part.__name__} with it")
    try:
        get_type_hints(part)
    except Exception as error:
        raise RegistrationError(f"{name!r} in {kind}: the type of a parameter cannot be read ({error})") from error


def _kind_of(part: object) -> str:
    """The kind of a part's class. Raises `RegistrationError` for what is not a part."""
    for kind, base in KINDS.items():
        if isinstance(part, type) and issubclass(part, base):
            return kind
    raise RegistrationError(f"{part!r:.80} is not a part: it implements none of the interfaces of {', '.join(KINDS)}")


@cache
def registry() -> Registry:
    """The registry of this process: the built-ins and all installed plug-ins, loaded once."""
    loaded = load(installed.plugins())
    problem = "its metadata cannot be read, so it is left out"
    unreadable = installed.hide_unreadable()
    loaded.plugins += [Plugin(path.name, str(path.parent), "", "", problem=problem) for path in unreadable]
    return loaded


def load(plugins: Iterable[EntryPoint]) -> Registry:
    """A registry of the built-ins and the given plug-ins. One that fails is noted with its problem; the rest works."""
    from .. import __version__

    loaded = Registry()
    loaded.plug_in(Plugin(_OURS, _OURS, __version__, builtins.__name__), builtins)
    for entry in plugins:
        distribution = (entry.dist and entry.dist.name) or "unknown distribution"
        plugin = Plugin(entry.name, distribution, (entry.dist and entry.dist.version) or "", entry.value)
        try:
            with left_alone():
                loaded.plug_in(plugin, entry.load())
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a plug-in does while loading, the others must go on
            loaded.plugins.append(replace(plugin, problem=_problem_of(error)))
    return loaded


def _problem_of(error: BaseException) -> str:
    """What is wrong with a plug-in that raised this while it was loaded."""
    return str(error) if isinstance(error, RegistrationError) else f"{type(error).__name__}: {error}"


def register(part: type[Any], name: str | None = None, kind: str | None = None) -> type[Any]:
    """Give a part a name in this process, as a plug-in's hook does, and return it; also a decorator.

    Specs, `build`, `describe` and `from_spec` then know it. A part that is registered anew, as when a notebook's cell
    runs again, takes the place of the old one. Other processes don't know it: for Ray's workers name a part as
    FILE.py:Class, or write a plug-in.

    Args:
        part: a frozen dataclass that implements the interface of its kind.
        name: lower-case words joined by hyphens; by default the class's, `top-mass` for TopMass.
        kind: such as "planners"; by default that of the interface.

    Raises:
        RegistrationError: for another kind of value, a bad name, and one that is taken.
    """
    kind = _kind_of(part) if kind is None else kind
    if kind not in KINDS:
        raise RegistrationError(f"unknown kind {kind!r:.80}; there are {', '.join(KINDS)}")
    name = name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", part.__name__).lower()
    claims = registry().parts.get((kind, name), [])
    claims[:] = [claim for claim in claims if claim.distribution != _HERE]
    registry().add(_HERE, kind, name, part)
    return part
