"""Films as the data of a page.

They are what `Film` and `Frame` say, under the same names, with rounded numbers; what JSON has no number for is null.
Moves are sorted by their score. `seed` is a text, for a page's numbers are exact up to 53 bits only. A film's `names`
is a number, that of its tokens' texts in the page's `names`; `colours` has for each step a colour and the ink on it.
`range` is the largest entropy of a masked position.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf, isfinite
from typing import Any

from ...traces.film import Film, Frame, Move
from ..drawing import COLOURS, END, VIRIDIS, hex_of, ink, viridis

_DECIMALS = 4

_MASKED_DECIMALS = 3
"""For the numbers of masked positions, which are many: as many as the page shows."""


def page_data(films_by_name: Mapping[str, Sequence[Film]]) -> dict[str, Any]:
    """What the page shows: all rows of each trace, by its name."""
    films = [
        (name if len(rows) == 1 else f"{name}, row {number}", film)
        for name, rows in films_by_name.items()
        for number, film in enumerate(rows, 1)
    ]
    names: list[dict[int, str]] = []
    for _, film in films:
        if film.names not in names:
            names.append(film.names)
    entropies = (entropy for _, film in films for frame in film.frames for entropy in frame.masked_entropy)
    return {
        "palette": {"order": [hex_of(colour) for colour in VIRIDIS], "curves": COLOURS, "end": END},
        "range": max(entropies, default=0.0),
        "names": names,
        "films": [{"name": name, "names": names.index(film.names)} | _film(film) for name, film in films],
    }


def _film(film: Film) -> dict[str, Any]:
    colours = [viridis(step / max(1, len(film.frames) - 1)) for step in range(len(film.frames))]
    return {
        "seed": str(film.seed),
        "spec": film.spec,
        "mask": film.mask_id,
        "end": film.end_id,
        "prefix": film.prefix,
        "body": film.body,
        "colours": [(hex_of(colour), ink(colour)) for colour in colours],
        "cumulative": _rounded(film.cumulative_entropy),
        "frames": [_frame(frame) for frame in film.frames],
    }


def _frame(frame: Frame) -> dict[str, Any]:
    moves = sorted(frame.candidates, key=lambda move: -move.score if isfinite(move.score) else inf)
    return {
        **vars(frame),
        "confidence": _rounded(frame.confidence),
        "entropy": _rounded(frame.entropy),
        "top": [[(token, round(share, _DECIMALS)) for token, share in position] for position in frame.top],
        "masked_entropy": _rounded(frame.masked_entropy, _MASKED_DECIMALS),
        "likeliest_confidence": _rounded(frame.likeliest_confidence, _MASKED_DECIMALS),
        "candidates": [_move(move) for move in moves],
    }


def _move(move: Move) -> dict[str, Any]:
    cost, after, score = _rounded([move.cost, move.next_entropy, move.score])
    return vars(move) | {"cost": cost, "next_entropy": after, "score": score}


def _rounded(numbers: Iterable[float], decimals: int = _DECIMALS) -> list[float | None]:
    """Rounded; None for what JSON has no number for."""
    return [round(number, decimals) if isfinite(number) else None for number in numbers]
