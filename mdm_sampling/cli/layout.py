"""How the help of a command is laid out: options under headings, each with one spelling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


_PUBLISHED = {"model_name_or_path": "model", "use_cache": "cache"}
"""Options that the published Info-Gain scripts call by another name."""


def spelled(name: str) -> str:
    """The name of an option, which may be written with underscores too, and as the published scripts have it."""
    return _PUBLISHED.get(name, name.replace("_", "-"))


class LaidOutCommand(click.Command):
    """A command whose help shows its options under their headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                sections.setdefault(getattr(parameter, "heading", "Options"), []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def under(heading: str, *options: Callable[[Command], Command]) -> list[Callable[[Command], Command]]:
    """The options, under a heading of the help."""

    def headed(option: Callable[[Command], Command]) -> Callable[[Command], Command]:
        def add(command: Command) -> Command:
            command = option(command)
            command.__click_params__[-1].heading = heading  # type: ignore[attr-defined]
            return command

        return add

    return [headed(option) for option in options]
