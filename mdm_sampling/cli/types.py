"""Kinds of values that options take."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Any

import click

FOLDER = click.Path(file_okay=False, path_type=Path)
GIVEN_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
GIVEN_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class Whole(click.IntRange):
    """A whole number that a tensor's size can take."""

    name = "integer"
    largest = 2**31 - 1

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if number > self.largest:
            self.fail(f"{number} is larger than {self.largest}.", param, ctx)
        return number


class Finite(click.FloatRange):
    """A number, neither infinite nor nan."""

    name = "float"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class OutputFile(click.Path):
    """The name of a file to write; it cannot be standard output."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value) in ("", "-"):
            self.fail(f"{value!r} is not a file; this cannot go to standard output.", param, ctx)
        return super().convert(value, param, ctx)


class Threshold(click.ParamType[float | None]):
    """A probability, or `none`."""

    name = "probability|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        if value is None or str(value).lower() == "none":
            return None
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not 0 < number <= 1:
            self.fail(f"{value!r} is neither a probability in (0, 1] nor 'none'.", param, ctx)
        return number
