"""Films as the compact data of a page.

Tokens are named by their number in the page's table, `tokens`, a list of [id, text]. Lists of a film have an entry for
each of its steps, in their order; `reopened` and `ended` hold [step, positions] only of the steps that have any,
`blocks` [step, start, stop] only of the steps that begin one. Steps and positions count from 0. Of each position that a
step filled there are `positions`, `filled` (the token), `confidence`, `entropy` and `top`, which has the likeliest
tokens and their probabilities by turns. `seed` is a text, for a page's numbers are exact up to 53 bits only. A
candidate is [positions, tokens, C, H, J, 1 for the winner, else 0]; they are sorted by J.

A whole answer in one block has a record of each masked position at each step, a quarter of a million for 1,024
positions. They are three texts for each film, `seen`, with an entry for each record, step by step and in the order of
the positions. Which positions those are is not written: a reader plays the film and takes the masked positions of the
block before the step. An entry is `.` if the position had the same at its last record, else a number in base 64, the
highest digit first:

- `entropy`: two digits, of which 4095 stands for the page's `range` in nats;
- `probability` of the likeliest token: two digits, of which 4095 stands for 1;
- `token`, the likeliest: as many digits as `width` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from ...traces.film import Film, Frame

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-"
REPEAT = "."
LEVELS = 64**2 - 1
DECIMALS = 4

Table = dict[tuple[int, str], int]
Numbers = Callable[[Sequence[int]], list[int]]


def page_data(films_by_name: Mapping[str, Sequence[Film]]) -> dict[str, Any]:
    """What the page shows: all rows of each trace, by its name."""
    films = [
        (name if len(rows) == 1 else f"{name}, row {number}", film)
        for name, rows in films_by_name.items()
        for number, film in enumerate(rows, 1)
    ]
    table = _table(film for _, film in films)
    width = len(_base_64(len(table)))
    top = max((max(frame.masked_entropy, default=0.0) for _, film in films for frame in film.frames), default=0.0)
    return {
        "tokens": list(table),
        "width": width,
        "range": top,
        "films": [{"name": name} | _film(film, table, width, top) for name, film in films],
    }


def _film(film: Film, table: Table, width: int, top: float) -> dict[str, Any]:
    def numbers(tokens: Sequence[int]) -> list[int]:
        return [table[token, film.name(token)] for token in tokens]

    frames = film.frames
    return {
        "seed": str(film.seed),
        "spec": film.spec,
        "mask": numbers([film.mask_id])[0],
        "end": None if film.end_id is None else numbers([film.end_id])[0],
        "prefix": numbers(film.prefix),
        "body": numbers(film.body),
        "blocks": _beginnings([frame.block for frame in frames]),
        "positions": [frame.positions for frame in frames],
        "filled": [numbers(frame.tokens) for frame in frames],
        "confidence": [_rounded(frame.confidence) for frame in frames],
        "entropy": [_rounded(frame.entropy) for frame in frames],
        "top": [[_top(position, numbers) for position in frame.top] for frame in frames],
        "reopened": _of_some([frame.reopened for frame in frames]),
        "ended": _of_some([frame.ended for frame in frames]),
        "candidates": [_candidates(frame, numbers) for frame in frames],
        "cumulative": _rounded(film.cumulative_entropy),
        "forwards": [frame.forwards for frame in frames],
        "token_forwards": [frame.token_forwards for frame in frames],
        "seen": {
            "entropy": _entries(frames, (_level(e, top) for f in frames for e in f.masked_entropy), 2),
            "probability": _entries(frames, (_level(p, 1.0) for f in frames for p in f.likeliest_confidence), 2),
            "token": _entries(frames, (number for f in frames for number in numbers(f.likeliest)), width),
        },
    }


def _table(films: Iterable[Film]) -> Table:
    """All tokens that the films name, numbered."""
    found: set[tuple[int, str]] = set()
    for film in films:
        found.update((token, film.name(token)) for token in _ids(film))
    return {token: number for number, token in enumerate(sorted(found))}


def _ids(film: Film) -> set[int]:
    ids = {film.mask_id, *film.prefix, *film.body} | ({film.end_id} if film.end_id is not None else set())
    return ids.union(*(frame.all_tokens() for frame in film.frames))


def _beginnings(blocks: Sequence[tuple[int, int]]) -> list[list[int]]:
    return [[step, *block] for step, block in enumerate(blocks) if step == 0 or block != blocks[step - 1]]


def _of_some(positions: Sequence[list[int]]) -> list[tuple[int, list[int]]]:
    return [(step, some) for step, some in enumerate(positions) if some]


def _top(position: Sequence[tuple[int, float]], numbers: Numbers) -> list[float | None]:
    """The likeliest tokens of a position and their probabilities by turns."""
    tokens = numbers([token for token, _ in position])
    probabilities = _rounded([probability for _, probability in position])
    return [part for pair in zip(tokens, probabilities, strict=True) for part in pair]


def _candidates(frame: Frame, numbers: Numbers) -> list[list[Any]]:
    """The moves that a step weighed, the best first."""
    moves = sorted(frame.candidates, key=lambda move: -move.score if isfinite(move.score) else float("inf"))
    return [
        [
            *(move.positions, numbers(move.tokens)),
            *_rounded([move.cost, move.next_entropy, move.score]),
            int(move.chosen),
        ]
        for move in moves
    ]


def _entries(frames: Sequence[Frame], values: Iterator[int], width: int) -> str:
    """The text of one value of all records; see this module."""
    last: dict[int, int] = {}
    entries = []
    for position, value in zip((position for frame in frames for position in frame.masked), values, strict=True):
        entries.append(REPEAT if last.get(position) == value else _base_64(value, width))
        last[position] = value
    return "".join(entries)


def _level(value: float, top: float) -> int:
    """A value as one of the levels from 0 to `top`."""
    return round(min(max(value / top, 0.0), 1.0) * LEVELS) if top > 0 else 0


def _base_64(number: int, width: int = 1) -> str:
    text = ""
    while number or len(text) < width:
        number, digit = divmod(number, 64)
        text = DIGITS[digit] + text
    return text


def _rounded(numbers: Iterable[float]) -> list[float | None]:
    """Rounded; None for what JSON has no number for."""
    return [round(number, DECIMALS) if isfinite(number) else None for number in numbers]
