"""Prompts from arguments, a file or standard input."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

import click

from ..encoding import text_of


def prompts_from(arguments: Sequence[str], file: str | None) -> list[str]:
    """Prompts from arguments, else one a line from a file or from standard input."""
    if arguments and file is not None:
        raise click.UsageError("give prompts as arguments or with --file, not both.")
    if arguments:
        for i, text in enumerate(arguments, 1):
            if not text.strip():
                raise click.UsageError(f"text {i} is empty.")
            if any("\ud800" <= c <= "\udfff" for c in text):
                raise click.UsageError(f"text {i} is not valid UTF-8.")
        return list(arguments)
    if file is None and (sys.stdin is None or sys.stdin.isatty()):
        raise click.UsageError("nothing to do: give a text, --file FILE, or pipe lines to standard input.")
    try:
        with click.open_file(file or "-", "rb") as opened:
            text = text_of(opened.read())
    except ValueError as error:
        raise click.UsageError(f"the input cannot be read: {error}.") from error
    except OSError as error:
        raise click.UsageError(f"the input cannot be read: {error.strerror}.") from error
    prompts = [line for line in re.split("\r\n|\r|\n", text) if line.strip()]
    if not prompts:
        raise click.UsageError("the input holds no text.")
    return prompts
