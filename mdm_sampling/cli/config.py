"""Options from a TOML file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import click

from ..encoding import text_of
from ..errors import nearest
from .layout import spelled
from .targets import CONFIG


def read_config(ctx: click.Context, param: click.Parameter, file: Path | None) -> None:
    """Take a TOML file's values as defaults of the options. An unknown name or a value of a wrong kind is an error."""
    if file is None:
        return
    try:
        values = tomllib.loads(text_of(file.read_bytes()))
    except OSError as error:
        raise click.BadParameter(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"{file} is not a TOML file: {error}") from error
    ctx.meta[CONFIG] = file.absolute()
    options = {
        written.lstrip("-").replace("-", "_"): option
        for option in ctx.command.params
        if isinstance(option, click.Option) and option is not param
        for written in option.opts
    }
    defaults = {}
    for name, value in values.items():
        option = options.get(spelled(name).replace("-", "_"))
        if option is None:
            hint = nearest(name, options, f"known: {', '.join(options)}")
            raise click.BadParameter(f"{file}: there is no option {name!r}; {hint}")
        if str(option.name) in defaults:
            raise click.BadParameter(f"{file}: {name!r} sets an option that the file has set already")
        defaults[str(option.name)] = [_checked(v, option, name, file) for v in _listed(value, option, name, file)]
        if not option.multiple:
            defaults[str(option.name)] = defaults[str(option.name)][0]
    ctx.default_map = {**(ctx.default_map or {}), **defaults}


def _listed(value: Any, option: click.Option, name: str, file: Path) -> list[Any]:
    """The values of an option; only one that may be repeated takes several."""
    if not isinstance(value, list):
        return [value]
    if not option.multiple or not value:
        raise click.BadParameter(f"{file}: {name} takes {'at least one value' if option.multiple else 'one value'}")
    return value


def _checked(value: Any, option: click.Option, name: str, file: Path) -> Any:
    """A value as it would stand on the command line, so that it is read just as strictly."""
    if option.is_flag:
        if not isinstance(value, bool):
            raise click.BadParameter(f"{file}: {name} is true or false")
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise click.BadParameter(f"{file}: {name} takes one value, a text or a number, got {value!r}")
    if "\0" in str(value):
        raise click.BadParameter(f"{file}: {name} holds a character that no option can")
    return str(value)
