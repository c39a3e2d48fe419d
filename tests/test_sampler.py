"""The sampler as a value: settings given as parts or as specs, its description in a line, and texts as they grow."""

from itertools import pairwise

import pytest

import mdm_sampling as mdm

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
