"""Where the positions of a canvas stand on the screen: as the text does, and a Sudoku as a grid."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...traces.film import Film
from ..drawing import END, visible

SIZES = (4, 6, 9)
"""Sudokus have so many rows and columns."""

SPECIAL = r"<\|[^>]*\|>"
"""Special tokens, as they are usually written."""


def lines_of(film: Film, tokens: Sequence[int]) -> list[list[int]]:
    """The positions of a body in lines: a line ends with a token that ends one, or with a row of a grid."""
    size = grid_size(film)
    lines: list[list[int]] = [[]]
    for position, token in enumerate(tokens):
        lines[-1].append(position)
        row, column = divmod(position, size + 1) if size else (0, 0)
        if ends_line(film.name(token)) or (size and row < size and column == size):
            lines.append([])
    return [line for line in lines if line]


def grid_size(film: Film) -> int:
    """Rows of the Sudoku that the prompt is, such as `1... ..3. .1.. ...4`, or the body itself; 0 if neither is one."""
    prompt = "".join(film.name(token) for token in film.prefix)
    body = "".join("_" if token == film.mask_id else film.name(token) for token in film.body)
    for text in (prompt, body):
        groups = re.sub(SPECIAL, " ", text).split()
        size = len(groups)
        is_grid = size in SIZES and all(len(group) == size and set(group) <= set("0123456789._") for group in groups)
        if is_grid and len(film.body) >= size * (size + 1) - 1:
            return size
    return 0


def ends_line(text: str) -> bool:
    return text.endswith("\n")


def shown(film: Film, token: int) -> str:
    """A token's text as it is drawn; the end token, and one without any text, have signs of their own."""
    return END if token == film.end_id else visible(film.name(token)) or "∅"
