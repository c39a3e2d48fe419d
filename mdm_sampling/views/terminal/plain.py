"""What is drawn on a console whose encoding has no signs beyond ASCII, or not all of them."""

from __future__ import annotations

from collections.abc import Iterable

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

SIGNS = {
    "·": ".",
    "■": "#",
    "⏎": "$",
    "∅": "0",
    "▶": ">",
    "…": "~",
    "←": "<",
    "→": ">",
    "↑": "^",
    "↓": "v",
}
"""The signs of the view, and what stands for each where it cannot be written; all are as wide."""


class Encodable:
    """A renderable in which whatever the console's encoding cannot hold has another sign of the same width.

    Args:
        inner: what is drawn.
    """

    def __init__(self, inner: RenderableType) -> None:
        self.inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[Segment]:
        for text, style, control in console.render(self.inner, options):
            yield Segment(encodable(text, console.encoding), style, control)


def encodable(text: str, encoding: str) -> str:
    """A text in which whatever an encoding cannot hold has another sign of the same width."""
    if _can_hold(encoding, text):
        return text
    return "".join(c if _can_hold(encoding, c) else SIGNS.get(c, "?" * cell_len(c)) for c in text)


def _can_hold(encoding: str, text: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
