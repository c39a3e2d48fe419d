"""What all pictures share: viridis for the order of filling, ink that reads on it, visible texts, looks of curves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..backends.text import TextCodec
    from ..history import RowHistory

Colour = tuple[float, float, float]
"""Red, green and blue from 0 to 1."""


def from_hex(text: str) -> Colour:
    """The colour that six hexadecimal digits name."""
    red, green, blue = (int(text[n : n + 2], 16) / 255 for n in (0, 2, 4))
    return red, green, blue


VIRIDIS = tuple(
    from_hex(text)
    for text in (
        *("440154", "48186a", "472d7b", "424086", "3b528b", "33638d", "2c728e", "26828e", "21918c"),
        *("1fa088", "28ae80", "3fbc73", "5ec962", "84d44b", "addc30", "d8e219", "fde725"),
    )
)
"""Evenly spaced colours of matplotlib's viridis, which may not be installed; in between they are mixed."""


def viridis(share: float) -> Colour:
    """The colour at a share, 0 to 1, of the scale."""
    return between(VIRIDIS, share)


def between(scale: Sequence[Colour], share: float) -> Colour:
    """The colour at a share, 0 to 1, of a scale of evenly spaced colours."""
    position = min(max(share, 0.0), 1.0) * (len(scale) - 1)
    below = min(int(position), len(scale) - 2)
    red, green, blue = (a + (position - below) * (b - a) for a, b in zip(scale[below], scale[below + 1], strict=True))
    return red, green, blue


def ink(colour: Colour) -> str:
    """Black or white, whichever is read more easily on a colour, by the contrast that WCAG 2 defines."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    luminance = sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return "black" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "white"


def hex_of(colour: Colour) -> str:
    """A colour as `#rrggbb`."""
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour)


GREY = (0.8, 0.8, 0.8)
"""The colour of positions that no step filled."""


def last_step(histories: Sequence[RowHistory]) -> int:
    """The last step, from 0, that filled a position of any of the rows; 0 if none did."""
    return max((step for history in histories for step in history.order), default=0)


END = "■"
"""The sign of the end token, which may stand in a text hundreds of times."""

_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""What counts as printable, though fonts draw nothing for it: fillers and variation selectors."""


def visible(text: str) -> str:
    """A token's text with nothing in it that moves the text around it or cannot be seen.

    A newline becomes ⏎, a control character, a format or a filler its escape.
    """
    return "".join("⏎" if c == "\n" else c if _is_seen(c) else c.encode("unicode_escape").decode() for c in text)


def _is_seen(character: str) -> bool:
    return character.isprintable() and not _UNSEEN.match(character)


_LONGEST_TEXT = 24


def token_texts(ids: Sequence[int], codec: TextCodec | None) -> list[str]:
    """Tokens on one line each: a newline as ⏎, the end token as ■; their ids where there is no codec."""
    if codec is None:
        return [str(token) for token in ids]
    names = {token: printable(codec.token_text(token)) for token in set(ids)}
    names |= dict.fromkeys(codec.eos_ids[:1], END)
    return [names[token] for token in ids]


def printable(text: str) -> str:
    """A token's text with nothing in it that moves the text around it, shortened if it is very long."""
    text = text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"
    if text.isspace():
        text = text.replace(" ", "␣")
    return visible(text)


def shortened(text: str, most: int) -> str:
    """A name in at most so many characters, three or more: its middle is left out, for its end tells rows apart."""
    if len(text) <= most:
        return text
    start = most // 2
    return f"{text[:start]}…{text[len(text) - (most - 1 - start) :]}"


def counted(many: float, one: str) -> str:
    """A number and what is counted: "1 step", "2 steps", "0.25 steps"."""
    return f"{many:g} {one if many == 1 else f'{one}s'}"


COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#9467BD", "#999933")
_MARKERS = ("o", "s", "^", "D", "P", "v", "X", "<", "h")
"""Colours of Okabe and Ito, which people with any kind of colour vision tell apart. Purple stands for their black,
which is lost on a dark page. Curves differ in marker as well."""

_DASHES = ("-", "--", ":")
Look = dict[str, str]
"""How a curve is drawn, as matplotlib takes it."""


def looks(names: Sequence[str]) -> dict[str, Look]:
    """How the curve of each name looks, as matplotlib takes it; no two among 72 are alike.

    Curves differ in colour and marker, and after the last colour in dashes and hollow markers.
    """
    found = {}
    for i, name in enumerate(names):
        turn, colour = i // len(COLOURS), COLOURS[i % len(COLOURS)]
        filling = "white" if turn % 2 else colour
        how = {"marker": _MARKERS[i % len(_MARKERS)], "linestyle": _DASHES[turn % len(_DASHES)]}
        found[name] = {"color": colour, "markerfacecolor": filling, **how}
    return found
