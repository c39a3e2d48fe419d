"""The sampler as a value: settings given as parts or as specs, its description in a line, and texts as they grow."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mdm_sampling as mdm
from mdm_sampling.stops import before_stops, checked_stops

PUZZLE = "1... ..3. .1.. ...4"


@pytest.fixture(scope="module")
def sampler() -> mdm.Sampler:
    return mdm.load("embedded", max_new_tokens=16, block_size=8, steps=32)


def test_a_part_may_be_given_as_its_spec(sampler: mdm.Sampler) -> None:
    given = sampler.replace(
        planner="bypass:0.8,otherwise=(info-gain:4)",
        cache="refresh:every=3,otherwise=(dual)",
        token_sampler="gumbel:0.5",
        schedule="constant:2",
        processors=["ban:ids=[3]", mdm.Penalise(by=2.0)],
    )
    parts = mdm.Sampler(
        sampler.backend,
        planner=mdm.Bypass(0.8, mdm.InfoGain(4)),
        cache=mdm.Refresh(every=3, otherwise=mdm.DualCache()),
        token_sampler=mdm.GumbelMax(0.5),
        schedule=mdm.Constant(2),
        processors=(mdm.Ban(ids=(3,)), mdm.Penalise(by=2.0)),
        max_new_tokens=16,
        block_size=8,
        steps=32,
    )
    assert given == parts
    assert sampler.planner == mdm.Bypass(0.9, mdm.InfoGain())  # the one that was asked stays as it is


def test_a_part_inside_a_part_may_be_given_as_its_spec() -> None:
    assert mdm.Bypass(0.5, "info-gain:4") == mdm.Bypass(0.5, mdm.InfoGain(4))  # type: ignore[arg-type]
    assert mdm.Refresh(otherwise="dual", every=2) == mdm.Refresh(otherwise=mdm.DualCache(), every=2)  # type: ignore[arg-type]


def test_a_sampler_and_a_result_are_described_in_a_line(sampler: mdm.Sampler) -> None:
    assert repr(sampler) == "Sampler(TransformerBackend(embedded), max_new_tokens=16, block_size=8, steps=32)"
    assert "planner=Margin(), " in repr(sampler.replace(planner="margin"))
    result = sampler.replace(planner="confidence").fill([([1], [sampler.backend.mask_id] * 3)] * 100)
    assert len(repr(result)) < 100
    assert repr(result).startswith("Result(100 rows, the first of them ")


@pytest.mark.parametrize("planner", ["left-to-right", "random", "bypass:0.9,otherwise=(info-gain:3)"])
def test_a_stream_grows_to_the_text_of_a_result(sampler: mdm.Sampler, planner: str) -> None:
    chosen = sampler.replace(planner=planner, token_sampler="gumbel:0.7")
    texts = list(chosen.stream(PUZZLE, seed=3))
    result = chosen.generate(PUZZLE, seed=3)
    assert texts[-1] == result.texts[0]
    assert len(texts) == result.rows[0].steps
    for before, after in pairwise(texts):
        assert after.startswith(before.split("_")[0])
        assert before.count("_") > after.count("_")


def test_a_stream_is_of_one_prompt_and_refuses_at_once(sampler: mdm.Sampler) -> None:
    with pytest.raises(mdm.CanvasError, match="takes one prompt, got 2"):
        sampler.stream([PUZZLE, PUZZLE])  # type: ignore[list-item]


# --- Stop strings and a system message ----------------------------------------------------------------------------


@given(st.text("ab\n", max_size=12), st.lists(st.text("ab\n", min_size=1, max_size=3), max_size=3))
def test_a_text_goes_up_to_its_first_stop(text: str, stops: list[str]) -> None:
    found = before_stops(text, stops)
    assert not any(stop in found for stop in stops)
    assert found == text or any(text.startswith(found + stop) for stop in stops)


@pytest.mark.parametrize("stop", ["", ["a", ""], [5], 5, None, "\ud800"])
def test_what_is_no_stop_is_refused(stop: Any) -> None:
    with pytest.raises(mdm.SpecError, match="stop must be a Unicode text or several, none of them empty"):
        checked_stops(stop)


def test_a_stop_ends_texts_and_changes_no_token(sampler: mdm.Sampler) -> None:
    whole, cut = sampler.generate([PUZZLE] * 3), sampler.generate([PUZZLE] * 3, stop=["9", "4"], batch_size=2)
    assert cut.sequences == whole.sequences
    assert cut.texts == [text.split("4")[0] for text in whole.texts]
    assert 0 < len(cut.texts[0]) < len(whole.texts[0])
    assert sampler.generate(PUZZLE, stop="4").texts == cut.texts[:1]
    assert list(sampler.stream(PUZZLE, stop="4"))[-1] == cut.texts[0]
    with pytest.raises(mdm.SpecError, match="stop must be"):
        sampler.stream(PUZZLE, stop="")


def test_a_system_message_is_that_of_a_chat(dream_folder: Path, sampler: mdm.Sampler) -> None:
    chatty = mdm.load(str(dream_folder), max_new_tokens=2)
    user, system = {"role": "user", "content": "a"}, {"role": "system", "content": "b c"}
    expected = chatty.generate([[system, user]]).sequences[0]
    assert chatty.generate(["a", [user]], system="b c").sequences == [expected] * 2
    assert chatty.generate("a").sequences[0] != expected
    assert list(chatty.stream("a", system="b c"))[-1] == chatty.generate([[system, user]]).texts[0]
    with pytest.raises(mdm.CanvasError, match="a system message of its own"):
        chatty.generate([[system, user]], system="b")
    with pytest.raises(mdm.CanvasError, match="no chat template"):
        sampler.generate(PUZZLE, system="b")
