"""Stop strings: a text ends before the first of them that stands in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .errors import repr_of, require
from .fields import HALF_A_PAIR


def checked_stops(stop: object) -> tuple[str, ...]:
    """The stop strings that a caller gave, one or several. Raises `SpecError` for what is not text or empty."""
    stops = (stop,) if isinstance(stop, str) else tuple(stop) if isinstance(stop, Iterable) else (None,)
    good = all(isinstance(each, str) and each and not HALF_A_PAIR.search(each) for each in stops)
    require(good, f"stop must be a Unicode text or several, none of them empty, got {repr_of(stop):.80}")
    return stops


def before_stops(text: str, stops: Sequence[str]) -> str:
    """What a text holds before the first of the stops in it."""
    return text[: min((text.find(stop) for stop in stops if stop in text), default=len(text))]
