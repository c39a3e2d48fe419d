"""`mdm-sampling plugins`: what is installed, what it registers, whether it conforms, and a new one to begin with."""

from __future__ import annotations

import json
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .errors import plain_errors
from .new_plugin import USES, commands_of, write_plugin
from .options import JSON_OPTION
from .plugin_files import PLUGIN_OPTION
from .types import FOLDER, Finite, Whole

if TYPE_CHECKING:
    from ..registry.registry import Plugin, Registration

_KIND_OPTION = click.option("--kind", metavar="KIND", help="Kind of the part, if several kinds have this name.")


@click.group("plugins")
def command() -> None:
    """List, inspect, check and create plug-ins.

    A plug-in is a distribution with an entry point in the group mdm_sampling; see docs/tutorial-plugin.md.
    """


@command.command("list")
@JSON_OPTION
@PLUGIN_OPTION
def _list_command(as_json: bool) -> None:
    """Show the installed plug-ins: what they register, or why they could not be loaded."""
    with plain_errors():
        from ..errors import SpecError
        from ..registry.registry import registry

        for plugin in registry().plugins:
            parts = [f"{claim.kind}: {claim.name}" for claim in plugin.parts]
            if as_json:
                line = {"name": plugin.name, "distribution": plugin.distribution, "version": plugin.version}
                line |= {"module": plugin.module, "parts": parts, "problem": plugin.problem}  # type: ignore[dict-item]
                click.echo(json.dumps(line))
                continue
            origin = f"{plugin.distribution} {plugin.version}".strip()
            click.secho(f"{plugin.name}  ({origin})", bold=True)
            for text in _by_kind(plugin) if plugin.problem is None else [f"not loaded: {plugin.problem}"]:
                click.echo(
                    textwrap.fill(text, 100, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
                )
        for kind, name in registry().parts:
            try:
                registry().get(kind, name)
            except SpecError as error:
                click.echo(f"Warning: {error}", err=True)


def _by_kind(plugin: Plugin) -> list[str]:
    """A line for each kind of part that a plug-in registers."""
    from ..registry.registry import registry

    kinds: dict[str, list[str]] = {}
    for claim in plugin.parts:
        is_refused = len(registry().parts[claim.kind, claim.name]) > 1
        kinds.setdefault(claim.kind, []).append(claim.name + (" (refused)" if is_refused else ""))
    return [f"{kind}: {', '.join(names)}" for kind, names in kinds.items()]


@command.command("show")
@click.argument("name")
@_KIND_OPTION
@PLUGIN_OPTION
def _show_command(name: str, kind: str | None) -> None:
    """Show a plug-in or a part: its documentation, parameters and where it comes from."""
    with plain_errors():
        from ..registry.registry import COMMANDS, registry
        from ..registry.specs import build, in_full

        claims, plugin = _named(name, kind)
        if plugin is None and name != claims[0].name:
            build(claims[0].kind, name)  # says what is wrong with its parameters
        if plugin is not None:
            origin = f"{plugin.distribution} {plugin.version}".strip()
            click.secho(f"{plugin.name}  ({origin}, module {plugin.module})", bold=True)
            if plugin.problem is not None:
                raise click.ClickException(f"plug-in {plugin.name!r} could not be loaded: {plugin.problem}")
        for claim in claims:
            version = next((p.version for p in registry().plugins if p.distribution == claim.distribution), "")
            click.echo()
            click.secho(f"{claim.name}  ({claim.kind}, {f'{claim.distribution} {version}'.strip()})", bold=True)
            if claim.kind == COMMANDS:
                click.echo(f"  {claim.rule}")
                continue
            click.echo(f"  {claim.part.__module__}.{claim.part.__qualname__}\n")
            for line in (claim.part.__doc__ or "It has no documentation.").strip().splitlines():
                click.echo(f"  {line.removeprefix('    ')}".rstrip())
            click.echo(f"\n  Spec: {in_full(claim.name, claim.part)}")


@command.command("check")
@click.argument("name")
@_KIND_OPTION
@click.option("--examples", type=Whole(1), default=50, help="Number of random cases for each rule.")
@click.option("--timeout", type=Finite(min=0.1), default=600.0, help="Time limit for each rule, in seconds.")
@click.option("--model", metavar="NAME|FOLDER|HUB_ID", help="Checkpoint with which to check a model family.")
@PLUGIN_OPTION
def _check_command(name: str, kind: str | None, examples: int, timeout: float, model: str | None) -> None:
    """Check a part's contract on small exact models. NAME may be a spec, or a plug-in to check all of its parts.

    \b
    mdm-sampling plugins check top-mass:k=3
    mdm-sampling plugins check mdm-top-mass

    It needs the extra `testing`, and half a minute for each part. The exit code is 1 if a rule is broken or takes too
    long. A note names work without effect. Tests can make the same checks with mdm_sampling.testing.
    """
    from ..at_work import no_way_out
    from ..registry.registry import COMMANDS

    click.echo(f"Checking {name}; half a minute for each part, more on a busy machine.", err=True)
    with no_way_out(), plain_errors():  # from before plug-ins are loaded, which may take hold of os._exit
        claims, plugin = _named(name, kind)
        if plugin is not None and plugin.problem is not None:
            raise click.ClickException(f"plug-in {plugin.name!r} could not be loaded: {plugin.problem}")
        if model is not None and all(claim.kind != "backends" for claim in claims):
            raise click.UsageError(f"--model is for families of models, and {name!r} is none.")
        specs = [(claim, name if plugin is None else claim.name) for claim in claims if claim.kind != COMMANDS]
        if not specs:
            raise click.ClickException(f"plug-in {name!r} registers no part, and other things are not checked")
        kept = [_check(claim, spec, examples, timeout, model) for claim, spec in specs]
        if not all(kept):
            count = kept.count(False)
            raise click.ClickException(
                f"{count} {'part does' if count == 1 else 'parts do'} not conform, or could not be checked"
            )


def _check(claim: Registration, spec: str, examples: int, timeout: float, model: str | None) -> bool:
    """Check one part and print what became of each rule; whether all are kept."""
    from ..testing.conformance import notes, outcomes

    click.secho(f"{spec}  ({claim.kind}, {claim.distribution})", bold=True)
    reason = _not_checked(claim, spec)
    if reason:
        click.echo(f"  not checked: {reason}")
        return False
    told: set[str] = set()
    part = _part(claim, spec, model)
    for outcome in outcomes(claim.kind, part, examples, timeout, lambda text: click.echo(f"  ...  {text}", err=True)):
        mark = click.style("ok", fg="green") if outcome.breach is None else click.style("BROKEN", fg="red")
        click.echo(f"  {mark}  {outcome.title}  ({outcome.seconds:.1f} s)")
        if outcome.breach is not None:
            got = next(line for line in outcome.breach.splitlines() if line.startswith("  got: "))
            text = "  for the same reason" if got in told else outcome.breach
            told.add(got)
            click.echo("".join(f"      {line}\n" for line in text.splitlines()), nl=False)
    if not told:
        for note in notes(claim.kind, part):
            click.echo(textwrap.fill(f"note: {note}", 100, initial_indent="  ", subsequent_indent="      "))
    return not told


def _not_checked(claim: Registration, spec: str) -> str | None:
    """Why a part cannot be checked: its name is refused, or parameters have no default; None if it can."""
    from ..errors import SpecError
    from ..registry.registry import registry
    from ..registry.specs import required_of

    try:
        registry().get(claim.kind, claim.name)
    except SpecError as error:
        return str(error)
    missing = required_of(claim.part) if spec == claim.name else []
    return f"it needs {', '.join(missing)}; check {claim.name}:{missing[0]}=..." if missing else None


def _part(claim: Registration, spec: str, model: str | None) -> Any:
    """The part to check: built from its spec, or for a family of models one that it loads."""
    from ..loading import load_backend
    from ..registry.specs import build

    if claim.kind != "backends":
        return build(claim.kind, spec)
    family = build(claim.kind, spec)
    source = model or (claim.name if family.recognises(claim.name, None) else None)
    if source is None:
        raise click.ClickException(f"{claim.name} is a family of models: name a checkpoint to check it on with --model")
    backend = load_backend(source)
    if backend.source is None or backend.source.family != claim.name:
        other = "another family" if backend.source is None else backend.source.family
        raise click.ClickException(f"{source} is read by {other}, not by {claim.name}")
    return backend


def _named(name: str, kind: str | None) -> tuple[list[Registration], Plugin | None]:
    """The part of this name (of a spec, its first word), or all parts of the plug-in or distribution of this name."""
    from ..errors import SpecError
    from ..registry.registry import KINDS, near_part, registry
    from ..registry.specs import Spec
    from .list import kind_named

    plugins = [plugin for plugin in registry().plugins if name in (plugin.name, plugin.distribution)]
    word = name if plugins else Spec.parse(name).name
    if kind is not None:
        return [registry().get(kind_named(kind), word)], None
    parts = list(_parts(word))
    if len(parts) > 1:
        kinds = ", ".join(claim.kind for claim in parts)
        raise SpecError(f"{name!r} is a part of several kinds; choose one with --kind: {kinds}")
    if parts:
        return parts, None
    if plugins:
        return list(plugins[0].parts), plugins[0]
    known = sorted({claim.name for k in KINDS for claim in registry().kind(k)} | {p.name for p in registry().plugins})
    hint = near_part(name, known, "`mdm-sampling plugins list` shows what is")
    raise SpecError(f"nothing installed is called {name!r}; {hint}")


def _parts(name: str) -> Iterator[Registration]:
    """The parts of this name, of any kind. Raises `SpecError` for one that two distributions claim."""
    from ..registry.files import CLASS_IN_FILE
    from ..registry.registry import KINDS, registry

    if CLASS_IN_FILE.fullmatch(name):
        yield registry().class_in_file(name)
        return
    for kind in KINDS:
        if any(claim.name == name for claim in registry().kind(kind)):
            yield registry().get(kind, name)


@command.command("new")
@click.argument("name")
@click.option("--kind", type=click.Choice([*USES]), default="planner", help="Kind of the part.")
@click.option("--into", type=FOLDER, default=".", help="Folder to write it to.")
def _new_command(name: str, kind: str, into: Path) -> None:
    """Write a distribution with a part or command called NAME: pyproject.toml, module, test and README."""
    with plain_errors():
        from ..registry.registry import COMMANDS, NAME, registry
        from . import COMMANDS as OWN_COMMANDS

        if not NAME.fullmatch(name):
            raise click.UsageError(f"{name!r} is not a name for a {kind}: use lower-case words joined by hyphens.")
        taken = next(_parts(name), None) if kind != "command" else registry().parts.get((COMMANDS, name), [None])[0]
        if taken is not None or (kind == "command" and name in OWN_COMMANDS):
            of = (taken.kind, taken.distribution) if taken else (COMMANDS, "mdm-sampling")
            raise click.ClickException(f"{name!r} in {of[0]} is already taken by {of[1]}")
        if name.startswith("mdm-"):
            raise click.UsageError(
                f"leave out 'mdm-': the distribution of {name.removeprefix('mdm-')!r} is called {name}."
            )
        written = write_plugin(name, into, kind)
        folder = shlex.quote(f"{'' if written.is_absolute() else './'}{written}")
        click.echo(f"Wrote {written}. Next:\n")
        click.echo(f"  pip install --no-deps -e {folder}")
        for line in commands_of(name, kind):
            click.echo(f"  {line}")
        click.echo(f"  python -m pytest {folder}")
