"""A row's decoding, step by step, rebuilt from the lines of a trace."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

from .encoding import text_of
from .errors import SpecError
from .fields import Fields
from .trace import VERSION


@dataclass(frozen=True)
class Frame:
    """One step of one row. Places count from the start of the row's body; lists of places are in their order.

    Attributes:
        block: the first place of the block and the one behind its last.
        places: those that the step filled; `tokens`, `confidence`, `entropy` and `top` belong to them.
        tokens: what they were filled with.
        confidence: the model's probability of those tokens.
        entropy: the places' entropies when they were filled, in nats.
        top: for each, the likeliest tokens and their probabilities.
        masked: the block's masked places before the step; the next three belong to them.
        masked_entropy: their entropies, in nats.
        likeliest: their likeliest tokens.
        likeliest_confidence: the probabilities of those.
        reopened: places that were masked again.
        ended: places that were filled with the end token since the row had ended.
        candidates: the moves that were weighed, as the trace has them.
        forwards: model rows computed for it in this step.
        token_forwards: tokens computed for it in this step.
    """

    block: tuple[int, int]
    places: list[int]
    tokens: list[int]
    confidence: list[float]
    entropy: list[float]
    top: list[list[tuple[int, float]]]
    masked: list[int]
    masked_entropy: list[float]
    likeliest: list[int]
    likeliest_confidence: list[float]
    reopened: list[int]
    ended: list[int]
    candidates: list[Mapping[str, Any]]
    forwards: int
    token_forwards: int


@dataclass(eq=False)
class Film:
    """One row's decoding.

    Attributes:
        prefix: token ids before the body.
        body: token ids of the body before the first step.
        mask_id: the id of the mask token.
        end_id: what the places behind a row's end are filled with, or None.
        seed: the row's.
        spec: the sampler's settings.
        names: the texts of tokens; shared by the rows of a batch.
        frames: its steps so far.
        canvas: token ids of the body after the last of them.
    """

    prefix: list[int]
    body: list[int]
    mask_id: int
    end_id: int | None
    seed: int
    spec: Mapping[str, Any]
    names: dict[int, str]
    frames: list[Frame] = field(default_factory=list)
    canvas: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.canvas = list(self.body)

    def name(self, token: int) -> str:
        """The text of a token; its id in brackets where the model has no tokenizer."""
        return self.names.get(token, f"[{token}]")

    @property
    def cumulative_entropy(self) -> list[float]:
        """After each step, the entropies of all places that were filled so far, in nats."""
        return list(accumulate(sum(frame.entropy) for frame in self.frames))

    def add(self, frame: Frame) -> None:
        """Take the next step."""
        self._change(self.canvas, frame)
        self.frames.append(frame)

    def _change(self, canvas: list[int], frame: Frame) -> None:
        for place, token in zip(frame.places, frame.tokens, strict=True):
            canvas[place] = token
        for place in frame.reopened:
            canvas[place] = self.mask_id
        for place in frame.ended:
            canvas[place] = self.mask_id if self.end_id is None else self.end_id

    def after(self, steps: int) -> tuple[list[int], list[int]]:
        """The body's token ids after so many steps, and for each place the step that filled it, from 0; -1 for none."""
        canvas, filled = list(self.body), [-1] * len(self.body)
        for number, frame in enumerate(self.frames[:steps]):
            self._change(canvas, frame)
            for place in (*frame.places, *frame.ended):
                filled[place] = number
            for place in frame.reopened:
                filled[place] = -1
        return canvas, filled

    def masked(self, start: int, stop: int) -> list[int]:
        """The masked places of [start, stop)."""
        return [place for place in range(start, min(stop, len(self.canvas))) if self.canvas[place] == self.mask_id]


class Replay:
    """Rebuilds the rows' films from the lines of a trace, one after the other.

    Attributes:
        films: of all batches so far.
    """

    def __init__(self) -> None:
        self.films: list[Film] = []
        self.batch: list[Film] = []
        self.steps = 0

    def add(self, line: Mapping[str, Any]) -> None:
        """Take the next line. Raises `ValueError`, with a sentence that names the field, for what is no such line."""
        given = Fields(line)
        if "canvas" in line:
            self._open(given)
            return
        if not self.batch:
            raise ValueError("a step stands before the line that opens its batch")
        if given.whole("step") != self.steps:
            raise ValueError(f"step {given.whole('step')} stands where step {self.steps} should")
        self.steps += 1
        self._name(given)
        start, stop = given.wholes("block", 2)
        for row in given.objects("rows"):
            film = self.batch[row.whole("row", len(self.batch) - 1)]
            film.add(_frame(film, (start, stop), row))

    def _open(self, line: Fields) -> None:
        canvas = line.inside("canvas")
        bodies = canvas.lists("bodies")
        prefixes = canvas.lists("prefixes", len(bodies))
        seeds = line.list_of("seeds", len(bodies))
        if not bodies or not all(isinstance(seed, int) for seed in seeds):
            raise ValueError("seeds has no whole number for each row")
        mask_id, names = canvas.whole("mask_id"), dict[int, str]()
        end_id = None if canvas.value("end_id") is None else canvas.whole("end_id")
        spec = line.inside("spec").finite()
        rows = zip(prefixes, bodies, seeds, strict=True)
        self.batch = [Film(prefix, body, mask_id, end_id, seed, spec, names) for prefix, body, seed in rows]
        self.films += self.batch
        self.steps = 0
        self._name(line)

    def _name(self, line: Fields) -> None:
        for token, text in line.inside("names").values.items():
            if not token.isdecimal() or not isinstance(text, str):
                raise ValueError(f"names has {token!r:.20}: {text!r:.20}, expected a token's id and its text")
            self.batch[0].names[int(token)] = text


def _frame(film: Film, block: tuple[int, int], row: Fields) -> Frame:
    """The row's part of a step. Raises `ValueError` where it cannot follow the canvas that the film has reached."""
    masked, last = film.masked(*block), len(film.body) - 1
    seen = row.inside("masked")
    places = row.wholes("places", most=last)
    count, ended = len(places), row.wholes("ended", most=last)
    wrong = next((place for place in (*places, *ended) if film.canvas[place] != film.mask_id), None)
    if wrong is not None:
        raise ValueError(f"place {wrong} is filled, but it was not masked")
    if ended and film.end_id is None:
        raise ValueError("ended has places, but there is no end token")
    return Frame(
        block=block,
        places=places,
        tokens=row.wholes("tokens", count),
        confidence=row.numbers("confidence", count),
        entropy=row.numbers("entropy", count),
        top=[_likeliest(place) for place in row.list_of("top", count)],
        masked=masked,
        masked_entropy=seen.numbers("entropy", len(masked)),
        likeliest=seen.wholes("tokens", len(masked)),
        likeliest_confidence=seen.numbers("confidence", len(masked)),
        reopened=row.wholes("reopened", most=last),
        ended=ended,
        candidates=[_move(move, last) for move in row.objects("candidates")],
        forwards=row.whole("forwards"),
        token_forwards=row.whole("token_forwards"),
    )


def _likeliest(pairs: Any) -> list[tuple[int, float]]:
    """The likeliest tokens of a place and their probabilities."""
    if not isinstance(pairs, list) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise ValueError("top is no list of tokens and probabilities")
    tokens = Fields({"top": [token for token, _ in pairs]}).wholes("top")
    return list(zip(tokens, Fields({"top": [p for _, p in pairs]}).numbers("top", len(pairs)), strict=True))


def _move(move: Fields, last: int) -> dict[str, Any]:
    """A move that was weighed. A planner's figures may be infinite."""
    places = move.wholes("places", most=last)
    figures = {name: move.value(name) for name in ("cost", "next_entropy", "score")}
    wrong = next((name for name, figure in figures.items() if not isinstance(figure, int | float)), None)
    if wrong is not None or not isinstance(move.value("chosen"), bool):
        raise ValueError(f"{move.where}{wrong or 'chosen'} is of the wrong kind")
    return {"places": places, "tokens": move.wholes("tokens", len(places)), **figures, "chosen": move.value("chosen")}


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
            line = json.loads(text)
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
