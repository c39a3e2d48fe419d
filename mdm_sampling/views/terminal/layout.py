"""Where the positions of a canvas stand on the screen: in the lines of its text."""

from __future__ import annotations

from collections.abc import Sequence

from ...traces.film import Film
from ..drawing import END, visible


def lines_of(film: Film, steps: int, tokens: Sequence[int]) -> list[list[int]]:
    """The positions of a body in lines, each of which ends with a token that ends a line.

    A masked position counts as what the model last thought likeliest there, so that lines stand before they are filled.

    Args:
        tokens: the body after so many steps, as `film.after(steps)` gives it.
    """
    frame = film.frames[max(steps, 1) - 1] if film.frames else None
    guessed = {} if frame is None else dict(zip(frame.masked, frame.likeliest, strict=True))
    lines: list[list[int]] = [[]]
    for position, token in enumerate(tokens):
        lines[-1].append(position)
        if film.name(guessed.get(position, token) if token == film.mask_id else token).endswith("\n"):
            lines.append([])
    return [line for line in lines if line]


def shown(film: Film, token: int) -> str:
    """A token's text as it is drawn; the end token, and one without any text, have signs of their own."""
    return END if token == film.end_id else visible(film.name(token)) or "∅"
