"""Texts with masks: which parts are text, and how many masks stand between them."""

from __future__ import annotations

import re

from ..errors import CanvasError

_MASK_PATTERN = re.compile(r"\[MASK(?::([^\]]*))?\]")
_MASK_COUNT = re.compile(r"0*[1-9][0-9]{0,5}")
_MOST_MASKS = 999_999
"""Masks of one row, whatever the model: a list of them takes 8 MB."""


def check_count(masks: int, limit: int | None) -> None:
    """Raise `CanvasError` for more masks than a model's context holds, before any of them is made."""
    if limit is not None and masks > limit:
        raise CanvasError(f"{masks} masks exceed the model's context of {limit}; ask for fewer")
    if masks > _MOST_MASKS:
        raise CanvasError(f"{masks} masks are more than {_MOST_MASKS}, the most of one row; ask for fewer")


def parts_of(text: str, own: str | None, limit: int | None) -> list[str | int]:
    """The text's parts in their order: a text, or a number of masks.

    Args:
        text: `[MASK]` is one mask, `[MASK:5]` five.
        own: the model's own mask token, which counts as one mask; None if it has no text.
        limit: most masks.
    """
    parts: list[str | int] = []
    masks = end = 0
    pattern = _MASK_PATTERN if own is None else re.compile(f"{_MASK_PATTERN.pattern}|{re.escape(own)}")
    for match in pattern.finditer(text):
        if match[1] is not None and not _MASK_COUNT.fullmatch(match[1]):
            raise CanvasError(f"{match[0][:40]!r} needs a whole number from 1 to 999999, such as [MASK:5]")
        parts += [text[end : match.start()], int(match[1] or 1)]
        masks += int(match[1] or 1)
        end = match.end()
    check_count(masks, limit)
    return [part for part in [*parts, text[end:]] if part]
