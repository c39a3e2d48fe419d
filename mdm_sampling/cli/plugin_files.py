"""`--plugin FILE.py`, and the warnings of installed plug-ins that could not be loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..registry.registry import Registry

KEY = f"{__name__}.files"


def _remember(ctx: click.Context, param: click.Parameter, files: Sequence[str]) -> None:
    ctx.meta[KEY] = (*ctx.meta.get(KEY, ()), *files)


PLUGIN_OPTION = click.option(
    "--plugin",
    multiple=True,
    metavar="FILE.py",
    is_eager=True,  # so that --help shows the commands of the files before it
    expose_value=False,
    callback=_remember,
    help="File with hooks to use like an installed plug-in. Repeatable.",
)


def files_of_command(ctx: click.Context | None) -> tuple[str, ...]:
    """The files that `--plugin` names."""
    return ctx.meta.get(KEY, ()) if ctx else ()


def registry_of_command(ctx: click.Context | None = None) -> Registry:
    """The registry with the files that `--plugin` names. Raises `SpecError` for one that cannot be loaded."""
    from ..registry.registry import registry

    for file in files_of_command(ctx or click.get_current_context(silent=True)):
        registry().plug_in_file(file)
    return registry()


def warn_of_plugins() -> None:
    """Name the installed plug-ins that could not be loaded, on stderr; nothing is imported where there are none."""
    from ..registry import installed

    if not installed.plugins() and not installed.hide_unreadable():
        return
    from ..registry.registry import registry

    for plugin in registry().problems:
        click.echo(f"Warning: plug-in {plugin.name!r} of {plugin.distribution}: {plugin.problem}", err=True)
