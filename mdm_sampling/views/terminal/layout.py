"""Where the positions of a canvas stand on the screen: in the lines of its text."""

from __future__ import annotations

from collections.abc import Sequence

from ...traces.film import Film
from ..drawing import END, visible


def expected(film: Film, steps: int) -> list[int]:
    """The body after so many steps, with what the model last thought likeliest at the masked positions that it saw."""
    tokens, _ = film.after(steps)
    for frame in film.frames[max(steps, 1) - 1 :][:1]:
        for position, token in zip(frame.masked, frame.likeliest, strict=True):
            tokens[position] = token if tokens[position] == film.mask_id else tokens[position]
    return tokens


def lines_of(film: Film, tokens: Sequence[int]) -> list[list[int]]:
    """The positions of a body in lines, each of which ends with a token that ends a line."""
    lines: list[list[int]] = [[]]
    for position, token in enumerate(tokens):
        lines[-1].append(position)
        if film.name(token).endswith("\n"):
            lines.append([])
    return [line for line in lines if line]


def space_around(film: Film, tokens: Sequence[int]) -> str:
    """What stands around each position: a space where all tokens are single characters, as in a puzzle."""
    texts = [shown(film, token) for token in tokens if token != film.mask_id]
    return " " if texts and all(len(text) == 1 for text in texts) else ""


def shown(film: Film, token: int) -> str:
    """A token's text as it is drawn; the end token, and one without any text, have signs of their own."""
    return END if token == film.end_id else visible(film.name(token)) or "∅"
