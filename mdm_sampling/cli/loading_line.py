"""`loading MODEL ...` on a terminal's stderr, from the first moment until the model is there."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

KEY = f"{__name__}.width"


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Say on a terminal that a model is loaded; `loaded` or the end takes the line away again.

    Importing torch and transformers makes some hundred thousand objects that stay. Collecting garbage between them
    takes a fifth of the time, so it rests until the model is there.
    """
    context = click.get_current_context()
    context.meta[KEY] = 0
    if sys.stderr is not None and sys.stderr.isatty():
        text = f"loading {model[:60]} ..."
        context.meta[KEY] = len(text)
        click.echo(text, nl=False, err=True)
    gc.disable()
    try:
        yield
    finally:
        loaded()


def loaded() -> None:
    """The model is there: the line goes, and garbage is collected again."""
    context = click.get_current_context()
    width = context.meta.get(KEY, 0)
    context.meta[KEY] = 0
    if width:
        click.echo(f"\r{' ' * width}\r", nl=False, err=True)
    gc.enable()
