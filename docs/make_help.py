"""Writes docs/help.md from the commands themselves: what `--help` says of each, as tables.

python docs/make_help.py
"""

import re
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from textwrap import dedent, indent

import click

from mdm_sampling.cli import COMMANDS, main

PAGE = Path(__file__).parent / "help.md"
BEGINNING = """# Commands

This page lists every command with all its options, as `--help` does. [Concepts](concepts.md) defines the words. A
*spec* is the text of a part with its parameters, such as `info-gain:candidates=4`: see
[specs](composing.md#specs-parts-as-text). Options may also be written with underscores, such as `--block_size`.
`python docs/make_help.py` writes this page.
"""


def commands() -> Iterator[click.Context]:
    """The program and its commands, in the order of its help; those of installed plug-ins are not ours."""
    program = click.Context(main, info_name="mdm-sampling", **main.context_settings)
    yield program
    for name in COMMANDS:
        command = main.get_command(program, name)
        assert command is not None
        yield from with_subcommands(click.Context(command, parent=program, info_name=name))


def with_subcommands(context: click.Context) -> Iterator[click.Context]:
    yield context
    if isinstance(context.command, click.Group):
        for name, command in context.command.commands.items():
            yield from with_subcommands(click.Context(command, parent=context, info_name=name))


def section(context: click.Context) -> str:
    """A command's usage, its explanation and its options."""
    usage = " ".join([context.command_path, *context.command.collect_usage_pieces(context)])
    return "\n\n".join([f"## {context.command_path}", f"    {usage}", *explanation(context.command), *options(context)])


def explanation(command: click.Command) -> Iterator[str]:
    """The paragraphs of a command's help. Indented ones, and those that click must not wrap (\\b), are code."""
    for paragraph in re.split(r"\n\s*\n", cleandoc(command.help or "")):
        text = paragraph.removeprefix("\b\n")
        is_code = text != paragraph or text.startswith(" ")
        yield indent(dedent(text), "    ") if is_code else text


def options(context: click.Context) -> Iterator[str]:
    """A table of the options, without `--help`."""
    rows = []
    for option in context.command.params:
        if isinstance(option, click.Option) and (record := option.get_help_record(context)):
            names, text = (" ".join(part.split()).replace("|", r"\|") for part in record)
            rows.append(f"| `{names}` | {text} |")
    if rows:
        yield "\n".join(["| option | what it does |", "|---|---|", *rows])


def page() -> str:
    return "\n\n".join([BEGINNING.rstrip(), *map(section, commands())]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
