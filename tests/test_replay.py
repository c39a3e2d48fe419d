"""Reading a trace that may have been changed by hand: what no run can write is refused, with its line."""

import io
import json
import re
import tempfile
from collections.abc import Callable
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from test_trace import ROWS, ReopeningAnywhere
from toys import MASK, toy_callable

import mdm_sampling as mdm
from mdm_sampling.traces import Film
from mdm_sampling.views.page import page
from mdm_sampling.views.terminal.view import Lane, picture


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no trace"),
        ("{}\n", "line 1: it is not the first line of a trace"),
        ("hello\n", "line 1 is not valid JSON"),
        ('{"step": 0, "block": [0, 1], "rows": [], "names": {}}\n', "line 1: it is not the first line of a trace"),
        ('{"canvas": {}, "seeds": [], "spec": {}}\n', "another version"),
        ("[1, 2]\n", "line 1: it holds no JSON object"),
        ("\udcff", "not UTF-8"),
    ],
)
def test_what_is_no_trace_is_refused(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(mdm.SpecError, match=message):
        mdm.read_trace(file)


def test_a_missing_trace_is_named(tmp_path: Path) -> None:
    with pytest.raises(mdm.SpecError, match=r"nothing\.jsonl cannot be read"):
        mdm.read_trace(tmp_path / "nothing.jsonl")


def test_a_trace_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    sampler = mdm.Sampler(toy_callable(), block_size=4, steps=7)
    file = tmp_path / "t.jsonl"
    with file.open("w") as out:
        sampler.fill(ROWS, observers=[mdm.Trace(out, sampler.backend, sampler.spec())])
    text = file.read_text()
    file.write_text(text[:-30])
    steps = len(text.splitlines()) - 2
    assert max(len(film.frames) for film in mdm.read_trace(file)) <= steps
    lines = text.splitlines(keepends=True)
    file.write_text(lines[0] + lines[2])  # a step is missing
    with pytest.raises(mdm.SpecError, match="line 2: step 1 stands where step 0 should"):
        mdm.read_trace(file)


WRONG: list[Any] = [None, True, -1, 10**9, 1.5, float("nan"), "x", [], ["a"], [-1], [999], [[1]], {}, {"a": 1}, MASK]
WRONG += [10**400, 2**63, 1e308, float("inf"), "\ud800", [[1, 0.5], [1, 0.5]], [0, 0]]


@settings(max_examples=60)
@given(data=st.data())
def test_a_trace_that_was_changed_by_hand_is_refused_with_its_line_or_makes_pictures(data: st.DataObject) -> None:
    """One value, anywhere, becomes another: never another kind of error, and what is read can be drawn."""
    lines = [json.loads(text) for text in data.draw(st.sampled_from(traced_texts())).splitlines()]
    number = data.draw(st.integers(0, len(lines) - 1))
    path = data.draw(st.sampled_from([path for path in paths(lines[number]) if "spec" not in path[:-1]]))
    holder = lines[number]
    for key in path[:-1]:
        holder = holder[key]
    change(data, holder, path[-1])
    films, refused = read(lines)
    assert bool(films) != bool(
        re.fullmatch(r"[^\n]*(line \d+: |line \d+ is not valid JSON|another version)[^\n]*", refused)
    )
    for film in films:
        check_is_a_run(film)
        for steps in range(len(film.frames) + 1):
            console = Console(file=io.StringIO(), width=100, height=40)
            console.print(picture(Lane("x", film), steps, console, 100, 40))
    if films:
        assert page({"t": films}).startswith("<!doctype html>")


def change(data: st.DataObject, holder: Any, key: Any) -> None:
    """A value is taken away, given twice, changed positions with its neighbour, moved a little, or becomes another
    one.
    """
    value = holder[key]
    way = data.draw(st.sampled_from(["away", "twice", "swap", "near", "other", "other"]))
    if way == "away":
        del holder[key]
    elif way == "twice" and isinstance(holder, list):
        holder.insert(key, value)
    elif way == "swap" and isinstance(holder, list):
        holder[key - 1], holder[key] = value, holder[key - 1]
    elif way == "near" and isinstance(value, int | float):
        holder[key] = value + data.draw(st.sampled_from([-1, 1, 0.5, -0.5]))
    elif way == "near" and isinstance(value, list):
        holder[key] = value + data.draw(st.sampled_from([[], [0], [1], [MASK], [0.5], [value]]))
    else:
        holder[key] = data.draw(st.sampled_from(WRONG))


def check_is_a_run(film: Film) -> None:
    """Play the film on a canvas of our own: each step fills masks, and reopens what a step has filled."""
    canvas, by_a_step = list(film.body), set[int]()
    for frame in film.frames:
        start, stop = frame.block
        assert frame.masked == [p for p in range(start, min(stop, len(canvas))) if canvas[p] == film.mask_id]
        assert film.mask_id not in canvas[:start]
        assert frame.positions
        assert len({*frame.positions}) == len(frame.positions)
        for position, token in zip(frame.positions, frame.tokens, strict=True):
            assert canvas[position] == film.mask_id != token
            canvas[position] = token
        assert {*frame.reopened} <= by_a_step - {*frame.positions}
        by_a_step = (by_a_step | {*frame.positions}) - {*frame.reopened}
        for position in frame.reopened:
            canvas[position] = film.mask_id
        assert {*frame.ended} in (set(), {p for p, token in enumerate(canvas) if token == film.mask_id})
        for position in frame.ended:
            canvas[position] = film.end_id  # type: ignore[call-overload]
        probabilities = [*frame.confidence, *frame.likeliest_confidence, *(p for top in frame.top for _, p in top)]
        assert all(0 <= p <= 1.001 for p in probabilities)
        assert all(0 <= entropy <= 64 for entropy in (*frame.entropy, *frame.masked_entropy))
    assert canvas == film.canvas
    assert type(film.seed) is int
    assert all(isfinite(entropy) for entropy in film.cumulative_entropy)


def read(lines: list[Any]) -> tuple[list[Film], str]:
    """The films of lines, or why they are refused."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "t.jsonl")
        file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
        try:
            return mdm.read_trace(file), ""
        except mdm.SpecError as error:
            return [], str(error)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where the values of a JSON value stand, itself left out."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, inner in items for found in ((*path, key), *paths(inner, (*path, key)))]


@cache
def traced_texts() -> tuple[str, str]:
    """A trace with moves that were weighed, and one with positions that were reopened and a row's end."""
    weighing = mdm.Sampler(toy_callable(), mdm.InfoGain(3, 1.0), block_size=4, steps=4)
    ending = mdm.Sampler(
        toy_callable(), ReopeningAnywhere(), token_sampler=mdm.GumbelMax(2.0), block_size=9, steps=6, eos="finish"
    )
    texts = []
    for sampler, seed in ((weighing, 0), (ending, 1)):
        file = io.StringIO()
        sampler.fill(ROWS[1:], seed, observers=[mdm.Trace(file, sampler.backend, sampler.spec())])
        texts.append(file.getvalue())
    return texts[0], texts[1]


def test_the_traces_that_are_changed_hold_what_there_is_to_change() -> None:
    weighing, ending = ([json.loads(line) for line in text.splitlines()] for text in traced_texts())
    rows = [row for line in ending[1:] for row in line["rows"]]
    assert any(row["reopened"] for row in rows)
    assert any(row["ended"] for row in rows)
    assert any(row["candidates"] for line in weighing[1:] for row in line["rows"])
    assert all(read(lines)[0] for lines in (weighing, ending))


def first(lines: list[Any], name: str) -> Any:
    """The first row of a step that has anything in this field."""
    return next(row for line in lines[1:] for row in line["rows"] if row[name])


IMPOSSIBLE: dict[str, Callable[[list[Any]], Any]] = {
    "a probability above 1": lambda t: first(t, "positions")["confidence"].__setitem__(0, 2.0),
    "a negative probability": lambda t: first(t, "positions")["likeliest_confidence"].__setitem__(0, -0.5),
    "a negative entropy": lambda t: first(t, "positions")["entropy"].__setitem__(0, -1.0),
    "an endless entropy": lambda t: first(t, "positions")["masked_entropy"].__setitem__(-1, 1e300),
    "a position twice in a step": lambda t: [
        first(t, "positions")[name].insert(0, first(t, "positions")[name][0])
        for name in ("positions", "tokens", "confidence", "entropy", "top")
    ],
    "a mask that is filled with a mask": lambda t: first(t, "positions")["tokens"].__setitem__(0, MASK),
    "a step that fills nothing": lambda t: [
        first(t, "positions").__setitem__(name, []) for name in ("confidence", "entropy", "top", "tokens", "positions")
    ],
    "a mask that is reopened": lambda t: t[1]["rows"][0]["reopened"].append(t[1]["rows"][0]["positions"][0]),
    "a given position that is reopened": lambda t: t[2]["rows"][0]["reopened"].insert(0, 1),
    "a row's end that leaves masks": lambda t: first(t, "ended")["ended"].pop(),
    "an end that is the mask": lambda t: t[0]["canvas"].__setitem__("end_id", MASK),
    "a seed that is true": lambda t: t[0]["seeds"].__setitem__(0, True),
    "a row with nothing to fill": lambda t: t[0]["canvas"]["bodies"].__setitem__(0, [1]),
    "a mask in a prompt": lambda t: t[0]["canvas"]["prefixes"].__setitem__(0, [MASK]),
    "a row twice in a step": lambda t: t[1]["rows"].append(t[1]["rows"][-1]),
    "a row left out of a step": lambda t: t[1]["rows"].pop(0),
    "rows in another order": lambda t: t[1]["rows"].reverse(),
    "a step left out": lambda t: t.pop(2),
    "a step twice": lambda t: t.insert(2, t[1]),
    "a block beyond the canvas": lambda t: t[1].__setitem__("block", [0, 99]),
    "a block of nothing": lambda t: t[1].__setitem__("block", [3, 3]),
    "a block behind masks": lambda t: t[1].__setitem__("block", [1, 6]),
    "a whole number that no float can hold": lambda t: first(t, "positions")["confidence"].__setitem__(0, 10**400),
    "deep nesting": lambda t: t.insert(1, "[" * 100_000),
    "a step after the last": lambda t: t.append({**t[-1], "step": len(t) - 1}),
}


@pytest.mark.parametrize("change_lines", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_no_run_can_write_is_refused(change_lines: Callable[[list[Any]], Any]) -> None:
    lines = [json.loads(line) for line in traced_texts()[1].splitlines()]
    change_lines(lines)
    films, refused = read(lines)
    assert not films
    assert re.search(r"t\.jsonl is not a trace: line \d+", refused)
    assert "\n" not in refused


@pytest.mark.parametrize("figure", ["cost", "next_entropy", "score"])
def test_a_planners_figures_may_be_infinite_but_not_huge_whole_numbers(figure: str) -> None:
    for value, is_read in ((float("inf"), True), (float("-inf"), True), (7, True), (10**400, False), (True, False)):
        lines = [json.loads(line) for line in traced_texts()[0].splitlines()]
        first(lines, "candidates")["candidates"][0][figure] = value
        films, refused = read(lines)
        assert bool(films) is is_read is not bool(refused)
        if films:
            page({"t": films})
