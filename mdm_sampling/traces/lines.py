"""Traces: films as lines of JSON, see docs/traces.md. `Trace` writes them.

`read_trace` reads them and is the only place that checks: a file may have been changed by hand, and what no run can
write is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from itertools import islice, pairwise
from math import isnan
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..encoding import read_text
from ..errors import SpecError, require
from ..fields import Fields, is_number, parse_json
from .film import Film, Frame, Move
from .keeper import FilmKeeper

if TYPE_CHECKING:
    from ..backends.base import ModelBackend
    from ..canvas import Canvas
    from ..records import StepRecord

_VERSION = 5

DIGITS = 4
"""Decimals of the numbers of positions that a step only looked at; those that it filled are kept as they are."""

_AT_ONCE = 16
"""Steps that are written together, see `FilmKeeper.frames`."""

_TOKEN_ID = re.compile("0|[1-9][0-9]{0,18}")

_MOST_ENTROPY = 64.0
"""In nats; no vocabulary that is counted in 64 bits has more."""

_SLACK = 10.0**-DIGITS
"""What the rounding of a trace and of the model's own sums may add to a number."""


class Trace:
    """An observer that writes a line for each batch and for each step of it, a few steps at a time.

    Args:
        file: open for writing text.
        backend: names the tokens.
        spec: the sampler's settings, repeated in each opening line.
        asked: what else of the rows belongs into each opening line, such as whether they are texts to infill.
    """

    def __init__(
        self, file: IO[str], backend: ModelBackend, spec: dict[str, Any], asked: Mapping[str, Any] | None = None
    ) -> None:
        self.file = file
        self.keeper = FilmKeeper(backend, spec)
        self.asked = dict(asked or {})
        self.records: list[StepRecord] = []

    def begin(self, canvas: Canvas, seeds: list[int]) -> None:
        self.flush()
        self.keeper.films.clear()  # of the batch before; they are written, and would grow with the run
        self.keeper.begin(canvas, seeds)
        self.named = 0
        self._write(_opening(self.keeper.batch) | self.asked)

    def add(self, record: StepRecord) -> None:
        self.records.append(record)
        if len(self.records) == _AT_ONCE or not bool(record.canvas.masked.any()):
            self.flush()

    def flush(self) -> None:
        """Write the steps that are held back; only a run that was cut off leaves any."""
        records, self.records = self.records, []
        for record, frames in zip(records, self.keeper.frames(records), strict=True):
            rows = [{"row": row} | to_line(frame, self.keeper.names) for row, frame in frames.items()]
            self._write({"step": record.step, "block": next(iter(frames.values())).block, "rows": rows})

    def _write(self, line: dict[str, Any]) -> None:
        """Write a line, which names the tokens that no line has named yet."""
        names = dict(islice(self.keeper.names.items(), self.named, None))
        self.named += len(names)
        self.file.write(json.dumps(line | {"names": names}, separators=(",", ":")) + "\n")


def _opening(films: list[Film]) -> dict[str, Any]:
    canvas = {
        "prefixes": [film.prefix for film in films],
        "bodies": [film.body for film in films],
        "mask_id": films[0].mask_id,
        "end_id": films[0].end_id,
    }
    return {"trace": _VERSION, "canvas": canvas, "seeds": [film.seed for film in films], "spec": films[0].spec}


def to_line(frame: Frame, names: Mapping[int, str]) -> dict[str, Any]:
    """A frame as a row of a step's line: its fields, but what the batch's canvas and the step imply."""
    line = {
        **vars(frame),
        "texts": [names[token] for token in frame.tokens] if names else [],
        "top": [[(token, round(share, DIGITS)) for token, share in position] for position in frame.top],
        "masked_entropy": [round(entropy, DIGITS) for entropy in frame.masked_entropy],
        "likeliest_confidence": [round(share, DIGITS) for share in frame.likeliest_confidence],
        "candidates": [vars(move) for move in frame.candidates],
    }
    del line["block"], line["masked"]
    return line


def read_trace(file: str | Path) -> list[Film]:
    """The films of a trace's rows. A last line that was cut off, as by a kill, is left out.

    Raises `SpecError`, with the line and the field, for a file that is not a trace, or one of an older version.
    """
    reader = _Reader()
    for number, text in enumerate(read_text(file).split("\n")[:-1], 1):
        try:
            line = parse_json(text)
        except ValueError as error:
            raise SpecError(f"{file} is not a trace: line {number} is not valid JSON ({error})") from error
        if isinstance(line, dict) and "canvas" in line and line.get("trace") != _VERSION:
            raise SpecError(f"{file} is a trace of another version; make it again")
        try:
            reader.add(line)
        except ValueError as error:
            raise SpecError(f"{file} is not a trace: line {number}: {error}") from error
    if not reader.films:
        raise SpecError(f"{file} holds no trace")
    return reader.films


class _Reader:
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

        Raises `ValueError`, with a sentence that names the field, for what is not such a line, and for a step that no
        run can take after those before it.
        """
        given = Fields(line)
        if "canvas" in line:
            self._open(given)
            return
        require(bool(self.batch), "it is not the first line of a trace (--trace writes one)")
        step = given.whole("step")
        require(step == self.steps, f"step {step} stands where step {self.steps} should")
        self._name(given)
        self._enter(*given.wholes("block", 2))
        rows = given.objects("rows")
        unfinished = [number for number, film in enumerate(self.batch) if film.masked(*self.block)]
        numbers = [row.whole("row") for row in rows]
        require(numbers == unfinished, f"rows are not the {len(unfinished)} that have masks in the block")
        for number, row in zip(unfinished, rows, strict=True):
            self.batch[number].add(_from_line(row, self.batch[number], self.block))
        self.steps += 1

    def _open(self, line: Fields) -> None:
        canvas = line.inside("canvas")
        bodies = canvas.lists("bodies")
        prefixes = canvas.lists("prefixes", len(bodies))
        seeds = line.list_of("seeds", len(bodies))
        whole = all(isinstance(seed, int) and not isinstance(seed, bool) for seed in seeds)  # of any size
        require(bool(bodies) and whole, "seeds has no whole number for each row")
        mask_id, names = canvas.whole("mask_id"), dict[int, str]()
        end_id = None if canvas.value("end_id") is None else canvas.whole("end_id")
        require(end_id != mask_id, "canvas: end_id is the mask token")
        for number, (prefix, body) in enumerate(zip(prefixes, bodies, strict=True)):
            can_be = mask_id not in prefix and mask_id in body
            require(can_be, f"canvas: row {number} has a mask in its prefix, or none in its body")
        spec = line.inside("spec").finite()
        rows = zip(prefixes, bodies, seeds, strict=True)
        self.batch = [Film(prefix, body, mask_id, end_id, seed, spec, names) for prefix, body, seed in rows]
        self._name(line)
        for film in self.batch:
            _check_named(film, (*film.prefix, *film.body))
        self.films += self.batch
        self.steps, self.block = 0, (0, 0)

    def _name(self, line: Fields) -> None:
        names = self.batch[0].names
        for token, text in line.inside("names").values.items():
            if not _TOKEN_ID.fullmatch(token) or not isinstance(text, str):
                raise ValueError(f"names has {token!r:.20}: {text!r:.20}, expected a token's id and its text")
            is_first = names.setdefault(int(token), text) == text
            require(is_first, f"names has token {token} a second time, with another text")

    def _enter(self, start: int, stop: int) -> None:
        """The block of the next step: the last one, or a later one once all before it is filled."""
        if (start, stop) == self.block:
            return
        is_later = self.block[1] <= start < stop <= max(len(film.body) for film in self.batch)
        require(is_later, f"block has {[start, stop]}, which is not a span behind the last block")
        is_open = any(film.masked(0, start) for film in self.batch)
        require(not is_open, f"block begins at {start}, but positions before it are masked")
        self.block = (start, stop)


def _from_line(row: Fields, film: Film, block: tuple[int, int]) -> Frame:
    """The frame that a row of a step's line holds. Raises `ValueError` where it cannot follow the film's canvas."""
    masked = film.masked(*block)
    positions = _positions(row, "positions", film, block)
    count, left = len(positions), len(masked)
    frame = Frame(
        block=block,
        positions=positions,
        tokens=_real(film, row, "tokens", count),
        confidence=_numbers(row, "confidence", count, 1.0),
        entropy=_numbers(row, "entropy", count, _MOST_ENTROPY),
        top=[_likeliest(film, position) for position in row.list_of("top", count)],
        masked=masked,
        masked_entropy=_numbers(row, "masked_entropy", left, _MOST_ENTROPY),
        likeliest=_real(film, row, "likeliest", left),
        likeliest_confidence=_numbers(row, "likeliest_confidence", left, 1.0),
        reopened=_positions(row, "reopened", film, block),
        ended=_positions(row, "ended", film, (0, len(film.body))),
        candidates=[_move(film, block, move) for move in row.objects("candidates")],
        forwards=row.whole("forwards"),
        token_forwards=row.whole("token_forwards"),
        sequential_forwards=row.whole("sequential_forwards"),
    )
    _check_fills(film, frame)
    _check_entropies(frame)
    chosen = sum(move.chosen for move in frame.candidates)
    require(chosen == bool(frame.candidates), f"candidates has {chosen} moves that were chosen")
    return frame


def _check_fills(film: Film, frame: Frame) -> None:
    """Raise `SpecError` unless the step fills masks, reopens what a step has filled, and an end leaves no mask."""
    require(bool(frame.positions), "positions is empty, but each step fills a position of each row")
    for position in frame.positions:
        require(film.canvas[position] == film.mask_id, f"position {position} is filled, but it was not masked")
    for position in frame.reopened:
        was_filled = film.canvas[position] != film.mask_id == film.body[position]
        require(was_filled, f"position {position} is reopened, but no step had filled it")
    if frame.ended:
        require(film.end_id is not None, "ended has positions, but there is no end token")
        left = {*film.masked(0, len(film.body))}.difference(frame.positions).union(frame.reopened)
        require(left == {*frame.ended}, "ended is not all that was still masked when the row had ended")


def _check_entropies(frame: Frame) -> None:
    """Raise `SpecError` unless the entropies of the positions that were filled are those of the masked positions."""
    of_masked = dict(zip(frame.masked, frame.masked_entropy, strict=True))
    for position, entropy in zip(frame.positions, frame.entropy, strict=True):
        seen = of_masked[position]
        agree = abs(seen - entropy) <= _SLACK
        require(agree, f"entropy has {entropy:g} for position {position}, but masked_entropy {seen:g}")


def _check_named(film: Film, tokens: Iterable[int]) -> None:
    """Raise `SpecError` for a token that no line has named, if any line names tokens."""
    unnamed = next((token for token in tokens if film.names and token not in film.names), None)
    require(unnamed is None, f"token {unnamed} has no name")


def _positions(row: Fields, name: str, film: Film, span: tuple[int, int]) -> list[int]:
    """Positions of a span of the row's body, in their order."""
    positions = row.wholes(name, most=len(film.body) - 1)
    outside = next((position for position in positions if not span[0] <= position < span[1]), None)
    require(outside is None, f"{row.where}{name} has {outside}, which is not in the block")
    in_order = all(first < second for first, second in pairwise(positions))
    require(in_order, f"{row.where}{name} are not in their order, or one stands there twice")
    return positions


def _real(film: Film, row: Fields, name: str, count: int) -> list[int]:
    """So many tokens, none the mask token."""
    tokens = row.wholes(name, count)
    require(film.mask_id not in tokens, f"{row.where}{name} has the mask token")
    _check_named(film, tokens)
    return tokens


def _numbers(row: Fields, name: str, count: int, most: float) -> list[float]:
    """So many numbers from 0 to `most`."""
    numbers = row.numbers(name, count)
    wrong = next((number for number in numbers if not 0 <= number <= most + _SLACK), None)
    require(wrong is None, f"{row.where}{name} has {wrong}, expected a number from 0 to {most:g}")
    return numbers


def _likeliest(film: Film, pairs: Any) -> list[tuple[int, float]]:
    """The likeliest tokens of a position and their probabilities."""
    if not isinstance(pairs, list) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise ValueError("top is not a list of tokens and probabilities")
    tokens = _real(film, Fields({"top": [token for token, _ in pairs]}), "top", len(pairs))
    shares = _numbers(Fields({"top": [share for _, share in pairs]}), "top", len(pairs), 1.0)
    if len(set(tokens)) < len(tokens) or sorted(shares, reverse=True) != shares or sum(shares) > 1 + 10 * _SLACK:
        raise ValueError("top has a token twice, probabilities that rise, or more than 1 of them together")
    return list(zip(tokens, shares, strict=True))


def _move(film: Film, block: tuple[int, int], move: Fields) -> Move:
    """A move that was weighed. A planner's figures may be infinite, and all but its score nan."""
    positions = _positions(move, "positions", film, block)
    tokens = _real(film, move, "tokens", len(positions))
    cost, after, score = (_figure(move, name) for name in ("cost", "next_entropy", "score"))
    require(not isnan(score), f"{move.where}score is nan")
    require(isinstance(move.value("chosen"), bool), f"{move.where}chosen is neither true nor false")
    return Move(positions, tokens, cost, after, score, move.value("chosen"))


def _figure(move: Fields, name: str) -> float:
    """Any number, also an infinite one or nan."""
    value = move.value(name)
    require(is_number(value) or (isinstance(value, float)), f"{move.where}{name} is not a number")
    return float(value)
