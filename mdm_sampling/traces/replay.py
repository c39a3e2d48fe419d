"""Films rebuilt from the lines of a trace, which may have been changed by hand: what no run can write is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from math import isnan
from pathlib import Path
from typing import Any

from ..encoding import text_of
from ..errors import SpecError
from ..fields import Fields, parse_json
from .film import Film as Film
from .film import Frame as Frame
from .trace import DIGITS, VERSION

TOKEN_ID = re.compile("0|[1-9][0-9]{0,18}")

MOST_ENTROPY = 64.0
"""In nats; no vocabulary that is counted in 64 bits has more."""

SLACK = 10.0**-DIGITS
"""What the rounding of a trace and of the model's own sums may add to a number."""


class Replay:
    """Rebuilds the rows' films from the lines of a trace, one after the other.

    Attributes:
        films: of all batches so far.
    """

    def __init__(self) -> None:
        self.films: list[Film] = []
        self.batch: list[Film] = []
        self.steps = 0
        self.block = (0, 0)

    def add(self, line: Mapping[str, Any]) -> None:
        """Take the next line.

        Raises `ValueError`, with a sentence that names the field, for what is no such line, and for a step that no run
        can take after those before it.
        """
        given = Fields(line)
        if "canvas" in line:
            self._open(given)
            return
        if not self.batch:
            raise ValueError("a step stands before the line that opens its batch")
        if given.whole("step") != self.steps:
            raise ValueError(f"step {given.whole('step')} stands where step {self.steps} should")
        self._name(given)
        self._enter(*given.wholes("block", 2))
        rows = {row.whole("row", len(self.batch) - 1): row for row in given.objects("rows")}
        unfinished = [number for number, film in enumerate(self.batch) if film.masked(*self.block)]
        if [row.values["row"] for row in given.objects("rows")] != unfinished:
            raise ValueError(f"rows are not the {len(unfinished)} that have masks in the block")
        for number, row in rows.items():
            self.batch[number].add(_frame(self.batch[number], self.block, row))
        self.steps += 1

    def _open(self, line: Fields) -> None:
        canvas = line.inside("canvas")
        bodies = canvas.lists("bodies")
        prefixes = canvas.lists("prefixes", len(bodies))
        seeds = line.list_of("seeds", len(bodies))
        if not bodies or not all(isinstance(seed, int) and not isinstance(seed, bool) for seed in seeds):
            raise ValueError("seeds has no whole number for each row")
        mask_id, names = canvas.whole("mask_id"), dict[int, str]()
        end_id = None if canvas.value("end_id") is None else canvas.whole("end_id")
        if end_id == mask_id:
            raise ValueError("canvas: end_id is the mask token")
        for number, (prefix, body) in enumerate(zip(prefixes, bodies, strict=True)):
            if mask_id in prefix or mask_id not in body:
                raise ValueError(f"canvas: row {number} has a mask in its prefix, or none in its body")
        spec = line.inside("spec").finite()
        rows = zip(prefixes, bodies, seeds, strict=True)
        batch = [Film(prefix, body, mask_id, end_id, seed, spec, names) for prefix, body, seed in rows]
        self.batch = batch
        self._name(line)
        for film in batch:
            _check_named(film, (*film.prefix, *film.body))
        self.films += batch
        self.steps, self.block = 0, (0, 0)

    def _name(self, line: Fields) -> None:
        names = self.batch[0].names
        for token, text in line.inside("names").values.items():
            if not TOKEN_ID.fullmatch(token) or not isinstance(text, str):
                raise ValueError(f"names has {token!r:.20}: {text!r:.20}, expected a token's id and its text")
            if names.setdefault(int(token), text) != text:
                raise ValueError(f"names has token {token} a second time, with another text")

    def _enter(self, start: int, stop: int) -> None:
        """The block of the next step: the last one, or a later one once all before it is filled."""
        if (start, stop) == self.block:
            return
        longest = max(len(film.body) for film in self.batch)
        if not self.block[1] <= start < stop <= longest:
            raise ValueError(f"block has {[start, stop]}, which is no span behind the last block")
        if any(film.masked(0, start) for film in self.batch):
            raise ValueError(f"block begins at {start}, but positions before it are masked")
        self.block = (start, stop)


def _frame(film: Film, block: tuple[int, int], row: Fields) -> Frame:
    """The row's part of a step. Raises `ValueError` where it cannot follow the canvas that the film has reached."""
    masked = film.masked(*block)
    seen = row.inside("masked")
    positions = _positions(row, "positions", film, block)
    count, left = len(positions), len(masked)
    frame = Frame(
        block=block,
        positions=positions,
        tokens=_real(film, row, "tokens", count),
        confidence=_numbers(row, "confidence", count, 1.0),
        entropy=_numbers(row, "entropy", count, MOST_ENTROPY),
        top=[_likeliest(film, position) for position in row.list_of("top", count)],
        masked=masked,
        masked_entropy=_numbers(seen, "entropy", left, MOST_ENTROPY),
        likeliest=_real(film, seen, "tokens", left),
        likeliest_confidence=_numbers(seen, "confidence", left, 1.0),
        reopened=_positions(row, "reopened", film, block),
        ended=_positions(row, "ended", film, (0, len(film.body))),
        candidates=[_move(film, block, move) for move in row.objects("candidates")],
        forwards=row.whole("forwards"),
        token_forwards=row.whole("token_forwards"),
    )
    _check_fills(film, frame)
    _check_entropies(frame)
    if sum(move["chosen"] for move in frame.candidates) > 1:
        raise ValueError("candidates has two moves that were chosen")
    return frame


def _check_fills(film: Film, frame: Frame) -> None:
    """Raise `ValueError` unless the step fills masks, reopens what a step has filled, and an end leaves no mask."""
    if not frame.positions:
        raise ValueError("positions is empty, but each step fills a position of each row")
    filled = next((position for position in frame.positions if film.canvas[position] != film.mask_id), None)
    if filled is not None:
        raise ValueError(f"position {filled} is filled, but it was not masked")
    for position in frame.reopened:
        if film.canvas[position] == film.mask_id or film.body[position] != film.mask_id:
            raise ValueError(f"position {position} is reopened, but no step had filled it")
    if frame.ended and film.end_id is None:
        raise ValueError("ended has positions, but there is no end token")
    left = {*film.masked(0, len(film.body))}.difference(frame.positions).union(frame.reopened) if frame.ended else set()
    if left != {*frame.ended}:
        raise ValueError("ended is not all that was still masked when the row had ended")


def _check_entropies(frame: Frame) -> None:
    """Raise `ValueError` unless the entropies of the positions that were filled are those of the masked positions."""
    of_masked = dict(zip(frame.masked, frame.masked_entropy, strict=True))
    for position, entropy in zip(frame.positions, frame.entropy, strict=True):
        if abs(of_masked[position] - entropy) > SLACK:
            raise ValueError(f"entropy has {entropy:g} for position {position}, but masked has {of_masked[position]:g}")


def _check_named(film: Film, tokens: Iterable[int]) -> None:
    """Raise `ValueError` for a token that no line has named, if any line names tokens."""
    unnamed = next((token for token in tokens if film.names and token not in film.names), None)
    if unnamed is not None:
        raise ValueError(f"token {unnamed} has no name")


def _positions(row: Fields, name: str, film: Film, span: tuple[int, int]) -> list[int]:
    """Positions of a span of the row's body, in their order."""
    positions = row.wholes(name, most=len(film.body) - 1)
    outside = next((position for position in positions if not span[0] <= position < span[1]), None)
    if outside is not None:
        raise ValueError(f"{row.where}{name} has {outside}, which is not in the block")
    if not all(first < second for first, second in pairwise(positions)):
        raise ValueError(f"{row.where}{name} are not in their order, or one stands there twice")
    return positions


def _real(film: Film, row: Fields, name: str, count: int) -> list[int]:
    """So many tokens, none the mask token."""
    tokens = row.wholes(name, count)
    if film.mask_id in tokens:
        raise ValueError(f"{row.where}{name} has the mask token")
    _check_named(film, tokens)
    return tokens


def _numbers(row: Fields, name: str, count: int, most: float) -> list[float]:
    """So many numbers from 0 to `most`."""
    numbers = row.numbers(name, count)
    wrong = next((number for number in numbers if not 0 <= number <= most + SLACK), None)
    if wrong is not None:
        raise ValueError(f"{row.where}{name} has {wrong:g}, expected a number from 0 to {most:g}")
    return numbers


def _likeliest(film: Film, pairs: Any) -> list[tuple[int, float]]:
    """The likeliest tokens of a position and their probabilities."""
    if not isinstance(pairs, list) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise ValueError("top is no list of tokens and probabilities")
    tokens = _real(film, Fields({"top": [token for token, _ in pairs]}), "top", len(pairs))
    shares = _numbers(Fields({"top": [share for _, share in pairs]}), "top", len(pairs), 1.0)
    if len(set(tokens)) < len(tokens) or sorted(shares, reverse=True) != shares or sum(shares) > 1 + 10 * SLACK:
        raise ValueError("top has a token twice, probabilities that rise, or more than 1 of them together")
    return list(zip(tokens, shares, strict=True))


def _move(film: Film, block: tuple[int, int], move: Fields) -> dict[str, Any]:
    """A move that was weighed. A planner's figures may be infinite, and all but its score nan."""
    positions = _positions(move, "positions", film, block)
    figures = {name: _figure(move, name) for name in ("cost", "next_entropy", "score")}
    if isnan(figures["score"]) or not isinstance(move.value("chosen"), bool):
        raise ValueError(f"{move.where}{'score' if isnan(figures['score']) else 'chosen'} is of the wrong kind")
    tokens = _real(film, move, "tokens", len(positions))
    return {"positions": positions, "tokens": tokens, **figures, "chosen": move.value("chosen")}


def _figure(move: Fields, name: str) -> float:
    value = move.value(name)
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    except OverflowError:
        pass
    raise ValueError(f"{move.where}{name} is of the wrong kind")


def read_trace(file: str | Path) -> list[Film]:
    """The films of a trace's rows. A last line that was cut off, as by a kill, is left out.

    Raises `SpecError`, with the line and the field, for a file that is no trace, or one of an older version.
    """
    replay = Replay()
    try:
        lines = text_of(Path(file).read_bytes()).split("\n")
    except OSError as error:
        raise SpecError(f"{file} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise SpecError(f"{file} is no trace: {error}") from error
    for number, text in enumerate(lines[:-1], 1):
        try:
            line = parse_json(text)
        except ValueError as error:
            raise SpecError(f"{file} is no trace: line {number} is not valid JSON ({error})") from error
        if isinstance(line, dict) and "canvas" in line and line.get("trace") != VERSION:
            raise SpecError(f"{file} is a trace of another version; make it again")
        try:
            replay.add(line)
        except ValueError as error:
            raise SpecError(f"{file} is no trace: line {number}: {error}") from error
    if not replay.films:
        raise SpecError(f"{file} holds no trace")
    return replay.films
