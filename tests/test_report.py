"""The page of traces: its data say what the films say, its markup is safe, and the command says what is wrong."""

import base64
import gzip
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from films import MASK, any_film, big_film, made_film
from hypothesis import given
from hypothesis import strategies as st

from mdm_sampling.cli import main
from mdm_sampling.errors import SpecError
from mdm_sampling.traces import Film, Frame
from mdm_sampling.views import drawing
from mdm_sampling.views.page import page, write_page
from mdm_sampling.views.page.data import page_data

PUZZLE = "1... ..3. .1.. ...4"
EVIL = "</script><img src=x onerror=alert(1)><!--&lt;\u2028"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-"


class Elements(HTMLParser):
    """The tags of a page, and the texts of its script elements by their type."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[tuple[str, str | None], str] = {}
        self.inside: tuple[str, str | None] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = (tag, dict(attrs).get("type"))

    def handle_endtag(self, tag: str) -> None:
        self.inside = None

    def handle_data(self, data: str) -> None:
        if self.inside is not None:
            self.texts[self.inside] = self.texts.get(self.inside, "") + data


def data_of(text: str) -> dict[str, Any]:
    packed = Elements(text).texts["script", "application/gzip"]
    data: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(packed, validate=True)))
    return data


def close(found: list[float], wanted: list[float], within: float) -> bool:
    return len(found) == len(wanted) and all(abs(a - b) <= within for a, b in zip(found, wanted, strict=True))


def check(data: dict[str, Any], written: dict[str, Any], film: Film) -> None:
    """Compare what is written of a film with the film, step by step."""
    names = {int(token): text for token, text in data["names"][written["names"]].items()}
    assert names == film.names
    same = ("prefix", "body", "spec")
    assert [written[name] for name in same] == [getattr(film, name) for name in same]
    assert (written["seed"], written["mask"], written["end"]) == (str(film.seed), film.mask_id, film.end_id)
    assert close(written["cumulative"], film.cumulative_entropy, 1e-4)
    steps = len(film.frames)
    colours = [drawing.viridis(step / max(1, steps - 1)) for step in range(steps)]
    assert written["colours"] == [[drawing.hex_of(colour), drawing.ink(colour)] for colour in colours]
    for found, frame in zip(written["frames"], film.frames, strict=True):
        check_frame(found, frame)
        assert all(0 <= entropy <= data["range"] + 5e-4 for entropy in found["masked_entropy"])


SAME = (
    "positions",
    "tokens",
    "masked",
    "likeliest",
    "reopened",
    "ended",
    "forwards",
    "token_forwards",
    "sequential_forwards",
)
CLOSE = {"confidence": 1e-4, "entropy": 1e-4, "masked_entropy": 1e-3, "likeliest_confidence": 1e-3}


def check_frame(found: dict[str, Any], frame: Frame) -> None:
    assert found["block"] == list(frame.block)
    assert [found[name] for name in SAME] == [getattr(frame, name) for name in SAME]
    assert all(close(found[name], getattr(frame, name), within) for name, within in CLOSE.items())
    for top, wanted in zip(found["top"], frame.top, strict=True):
        assert [token for token, _ in top] == [token for token, _ in wanted]
        assert close([share for _, share in top], [share for _, share in wanted], 1e-4)
    scores = [move["score"] for move in found["candidates"]]
    assert scores == sorted(scores, reverse=True)
    moves = sorted(frame.candidates, key=lambda move: -move.score)
    for move, of_frame in zip(found["candidates"], moves, strict=True):
        assert {name: move[name] for name in ("positions", "tokens", "chosen")}.items() <= vars(of_frame).items()
        figures = ("cost", "next_entropy", "score")
        assert close([move[name] for name in figures], [getattr(of_frame, name) for name in figures], 1e-4)


@given(st.lists(any_film(), min_size=1, max_size=3))
def test_the_page_says_what_the_films_say(films: list[Film]) -> None:
    """Read back from the page's text by a reader that shares nothing with the writer."""
    data = data_of(page({"made": films}))
    assert len(data["films"]) == len(films)
    for written, film in zip(data["films"], films, strict=True):
        check(data, written, film)


@pytest.mark.parametrize("block", [32, 1024])
def test_a_thousand_tokens_make_a_page_below_three_megabytes(block: int) -> None:
    film = big_film(block)
    assert len(film.frames) == 512
    text = page({"big": [film]})
    assert len(text.encode()) < 3e6
    if block == 32:
        assert len(text.encode()) < 1e6
    check(data_of(text), data_of(text)["films"][0], film)


def test_what_a_model_wrote_is_data() -> None:
    text = page({EVIL: [made_film([EVIL, "a"], block=2, prompt=EVIL)]}, title=EVIL)
    elements = Elements(text)
    assert "img" not in [tag for tag, _ in elements.tags]
    assert [tag for tag, _ in elements.tags].count("script") == 2
    assert re.fullmatch("[A-Za-z0-9+/=]+", elements.texts["script", "application/gzip"])
    assert EVIL in data_of(text)["names"][0].values()
    assert data_of(text)["films"][0]["name"] == EVIL


def test_a_text_that_is_a_slot_of_the_page_stays_text() -> None:
    film = made_film(["{{script}}", "\ud800"], block=2)
    data = data_of(page({"made": [film]}, title="{{data}}"))
    assert {"{{script}}", "\ud800"} <= {*data["names"][0].values()}


def test_the_page_needs_nothing_else_and_lets_run_only_its_own_program() -> None:
    text = page({"made": [made_film(["a"], block=1)]})
    elements = Elements(text)
    policy = next(a["content"] for _, a in elements.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for kind in ("style", "script"):
        digest = hashlib.sha256(elements.texts[kind, None].encode()).digest()
        assert f"{kind}-src 'sha256-{base64.b64encode(digest).decode()}'" in policy
    assert not re.search(r"innerHTML|insertAdjacent|document\.write|eval\(|fetch\(", elements.texts["script", None])
    assert not [a for _, a in elements.tags if a.keys() & {"src", "href", "style", "onclick"}]


def test_numbers_that_json_has_none_for_are_left_out() -> None:
    film = made_film(["a", "b"], block=2, candidates=2)
    moves = film.frames[0].candidates
    moves[1] = replace(moves[1], next_entropy=float("nan"), score=float("-inf"))
    assert page_data({"made": [film]})["films"][0]["frames"][0]["candidates"][1] == {
        **vars(moves[1]),
        "cost": round(moves[1].cost, 4),
        "next_entropy": None,
        "score": None,
    }
    page({"made": [film]})


def test_a_row_without_a_step_yet_makes_a_page() -> None:
    film = Film([5], [MASK, MASK], MASK, None, 0, {}, {})
    written = data_of(page({"made": [film]}))["films"][0]
    assert (written["frames"], written["end"], written["colours"]) == ([], None, [])


def test_the_page_has_the_signs_and_colours_of_all_other_views() -> None:
    palette = data_of(page({"made": [made_film(["a"], block=1)]}))["palette"]
    assert palette["end"] == drawing.END
    assert palette["curves"] == [look["color"] for look in drawing.looks(list("abcdefgh")).values()]
    assert palette["order"] == [drawing.hex_of(colour) for colour in drawing.VIRIDIS]


def test_rows_of_a_batch_share_their_names() -> None:
    film, other = made_film(["a", "b"], block=2), made_film(["c"], block=1)
    data = page_data({"one": [film, film], "other": [other]})
    assert data["names"] == [film.names, other.names]
    assert [written["names"] for written in data["films"]] == [0, 0, 1]


@pytest.mark.parametrize("seed", [0, -(2**62), 2**53 + 1, 2**80])
def test_a_seed_of_any_size_is_shown_exactly(seed: int) -> None:
    film = made_film(["a"], block=1, seed=seed)
    assert data_of(page({"made": [film]}))["films"][0]["seed"] == str(seed)


def test_rows_are_named_by_their_trace_and_number() -> None:
    film = made_film(["a"], block=1)
    data = page_data({"one": [film], "two": [film, film]})
    assert [written["name"] for written in data["films"]] == ["one", "two, row 1", "two, row 2"]


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    films = {"made": [made_film(["a"], block=1)]}
    for title in ("first", "second"):
        write_page(films, file, title)
        assert file.read_text().startswith("<!doctype html>")
        assert f"<title>{title}" in file.read_text()
    file.write_text("<!doctype html>mine")
    with pytest.raises(SpecError, match="not overwritten"):
        write_page(films, file)
    assert file.read_text() == "<!doctype html>mine"
    assert list(tmp_path.iterdir()) == [file]


# The command


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("trace") / "steps.jsonl"
    result = run("generate", "--planner", "info-gain", "--steps", "10", "--trace", file, PUZZLE, "..2. 4... ...1 .3..")
    assert result.exit_code == 0, result.stderr
    return file


def test_the_command_writes_a_page_beside_the_first_trace(trace: Path) -> None:
    result = run("report", trace, "--title", "A <title>")
    file = trace.with_suffix(".html")
    assert result.exit_code == 0, result.stderr
    assert re.fullmatch(rf"{re.escape(str(file))}: \d+ kB\n", result.stdout)
    text = file.read_text()
    assert "<h1>A &lt;title&gt;</h1>" in text
    assert [film["name"] for film in data_of(text)["films"]] == ["steps, row 1", "steps, row 2"]
    assert run("report", trace).exit_code == 0  # over the page that is there


def test_traces_of_the_same_name_are_told_apart_and_the_same_trace_is_shown_once(trace: Path, tmp_path: Path) -> None:
    other = tmp_path / "steps.jsonl"
    other.write_bytes(trace.read_bytes())
    page_file = tmp_path / "both.html"
    assert run("report", trace, other, trace, "--output", page_file).exit_code == 0
    names = [film["name"] for film in data_of(page_file.read_text())["films"]]
    assert names == [f"{file}, row {row}" for file in (trace, other) for row in (1, 2)]


def test_what_is_wrong_is_said_in_a_sentence(trace: Path, tmp_path: Path) -> None:
    empty, text, page_like = tmp_path / "empty.jsonl", tmp_path / "text.txt", tmp_path / "trace.html"
    empty.write_text("")
    text.write_text("no trace\n")
    page_like.write_bytes(trace.read_bytes())
    for arguments, code, words in [
        ([], 2, "Missing argument"),
        ([tmp_path / "none.jsonl"], 2, "does not exist"),
        ([tmp_path], 2, "is a directory"),
        ([empty], 1, "holds no trace"),
        ([text], 1, "line 1 is not valid JSON"),
        ([trace, "-o", tmp_path / "none" / "page.html"], 1, "there is no folder"),
        ([trace, "-o", tmp_path], 2, "is a directory"),
        ([trace, "-o", trace], 1, "is read by the same call"),
        ([page_like], 1, "is read by the same call"),
    ]:
        result = run("report", *arguments)
        assert (result.exit_code, result.stdout) == (code, ""), result.stderr
        assert words in result.stderr
        assert result.stderr.rpartition("Error: ")[2].count("\n") == 1
    assert page_like.read_bytes() == trace.read_bytes()
    assert sorted(tmp_path.iterdir()) == sorted([empty, text, page_like])
