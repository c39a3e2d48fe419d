"""Specs: parts as text and back, and errors that name what is wrong."""

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import caches, planners, schedules, token_samplers
from toys import toy_transformer

import mdm_sampling as mdm
from mdm_sampling.registry.registry import KINDS, Registration, registry
from mdm_sampling.registry.specs import Spec, required_of


@given(part=planners | caches | schedules | token_samplers)
def test_a_spec_round_trips(part: object) -> None:
    kind = next(kind for kind, base in KINDS.items() if isinstance(part, base))
    assert mdm.build(kind, mdm.describe(part)) == part


@given(part=planners | caches | schedules | token_samplers)
def test_a_spec_is_a_value_that_is_written_as_it_is_read(part: object) -> None:
    spec = Spec.parse(mdm.describe(part))
    assert Spec.parse(str(spec)) == Spec.parse(f" ({spec}) ") == spec


@given(parts=st.lists(planners, min_size=1, max_size=4))
def test_specs_with_commas_between_them_are_a_list(parts: list[mdm.PositionPlanner]) -> None:
    texts = [mdm.describe(part) for part in parts]
    assert [str(spec) for spec in Spec.parse_list(", ".join(texts))] == texts
    assert [str(spec) for spec in Spec.parse_list(f"[{','.join(texts)}]")] == texts


def test_a_default_is_written_where_nothing_else_is() -> None:
    for text, found in (("info-gain", 8), ("info-gain:4", 4), ("info-gain:scope=canvas,candidates=5", 5)):
        spec = Spec.parse(text).named("planners").with_default("candidates", 8)
        assert spec.given["candidates"] == str(found)
        assert mdm.build("planners", spec) == spec.build("planners")


REQUIRED = {"jsonl": "file=a.jsonl", "reasoning-gym": "name=mini_sudoku"}


@pytest.mark.parametrize("claim", [c for k in KINDS for c in registry().kind(k)], ids=lambda c: f"{c.kind}-{c.name}")
def test_every_registered_part_is_documented_and_built_by_its_name(claim: Registration) -> None:
    """Of a plug-in's parts, those whose parameters have defaults."""
    name = claim.name
    spec = f"{name}:{REQUIRED[name]}" if name in REQUIRED else name
    assert claim.rule.endswith((".", "`."))
    if claim.distribution == "mdm-sampling" or not required_of(claim.part):
        assert mdm.describe(mdm.build(claim.kind, spec)) == spec


@pytest.mark.parametrize("name", REQUIRED)
def test_a_part_without_its_required_parameter_is_refused(name: str) -> None:
    with pytest.raises(mdm.SpecError, match=f"{name}: needs {REQUIRED[name].split('=')[0]}"):
        mdm.build("tasks", name)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("info-gain", mdm.InfoGain()),
        ("info-gain:candidates=4", mdm.InfoGain(candidates=4)),
        ("info-gain:4", mdm.InfoGain(candidates=4)),
        ("info-gain: 4 ,scope=canvas", mdm.InfoGain(candidates=4, scope="canvas")),
        ("bypass:0.5,otherwise=(info-gain:2)", mdm.Bypass(0.5, mdm.InfoGain(candidates=2))),
        ("defer:(info-gain:candidates=4)", mdm.Defer(mdm.InfoGain(candidates=4))),
        (" info-gain : candidates = 4 , variant = lookum ", mdm.InfoGain(candidates=4, variant="lookum")),
        ("bypass:otherwise=margin", mdm.Bypass(otherwise=mdm.Margin())),
        (
            "bypass:threshold=0.5,otherwise=(info-gain:candidates=2,scope=canvas),capped=true",
            mdm.Bypass(0.5, mdm.InfoGain(candidates=2, scope="canvas"), capped=True),
        ),
        (
            "defer:ids=[1,2],otherwise=(bypass:otherwise=(entropy))",
            mdm.Defer(mdm.Bypass(otherwise=mdm.Entropy()), (1, 2)),
        ),
        ("defer:ids=[]", mdm.Defer()),
    ],
)
def test_specs_read_as_one_would_expect(text: str, part: mdm.PositionPlanner) -> None:
    assert mdm.build("planners", text) == part


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("infogain", "unknown name 'infogain' in planners; did you mean 'info-gain'?"),
        ("plugins/mdm-info-gain/", "did you mean 'info-gain'?"),
        ("mdm-defere", "`pip install --no-deps FOLDER` installs a plug-in, and `mdm-sampling plugins list` shows"),
        ("plugins/entropi", "`pip install --no-deps FOLDER` installs a plug-in"),
        ("origin", "unknown name 'origin' in planners; known: "),
        ("zzz", "unknown name 'zzz' in planners; known: random, "),
        ("info-gain:candidate=4", "info-gain: unknown parameter 'candidate'; did you mean 'candidates'?"),
        ("random:x=1", "random: unknown parameter 'x'; it has none"),
        ("info-gain:candidates=four", "info-gain: candidates must be a whole number, got 'four'"),
        ("info-gain:candidates=0", "candidates must be at least 1, got 0"),
        ("info-gain:position_temperature=nan", "position_temperature must be a number, got nan"),
        ("info-gain:scope=word", "scope must be one of block, canvas, got 'word'"),
        ("bypass:threshold=2", r"threshold must be in \(0, 1\], got 2.0"),
        ("bypass:capped=yes", "capped must be true or false, got 'yes'"),
        ("bypass:otherwise=(prefix)", "unknown name 'prefix' in planners"),
        ("defer:ids=1", r"ids must be a list in brackets such as \[1,2\], got '1'"),
        ("info-gain:", "is not a spec"),
        ("", "is not a spec"),
        ("info-gain:candidates", "'candidates' has no value; write it as in info-gain:candidates=8,position_temp"),
        ("defer:otherwise", r"'otherwise' has no value; write it as in defer:otherwise=\(confidence\)"),
        ("eb:0.1:temperature=0.2", "unknown parameter '0.1:temperature'; write them as in eb:gamma=0.1"),
        ("eb:zzz=1", "unknown parameter 'zzz'; write them as in eb:gamma=0.1"),
        ("info-gain:scope=block,candidates", "must be parameter=value, as in name:"),
        ("info-gain:=4", "must be parameter=value, as in name:"),
        ("info-gain:4,candidates=5", "names 'candidates' twice"),
        ("random:4", "random has no parameters, got '4'"),
        ("info-gain:variant=lookum,future=step", "future would be ignored"),
        ("info-gain:future=next", "future must be one of mean, half-step, step, sum"),
        ("info-gain:candidates=", "must be parameter=value, as in name:"),
        ("info-gain:candidates=1,candidates=2", "names 'candidates' twice"),
        ("bypass:otherwise=(margin", "lacks a closing"),
        ("bypass:otherwise=margin)", "unmatched"),
    ],
)
def test_bad_specs_are_refused_with_a_sentence(text: str, message: str) -> None:
    with pytest.raises(mdm.SpecError, match=message):
        mdm.build("planners", text)


def test_a_part_that_is_not_registered_has_no_spec() -> None:
    class Unknown(mdm.ScorePlanner):
        def score(self, step: mdm.Step) -> object:  # type: ignore[override]
            return step.confidence

    with pytest.raises(mdm.SpecError, match="Unknown is not registered"):
        mdm.describe(Unknown())


def test_a_results_spec_rebuilds_the_sampler(llada_folder: object) -> None:
    sampler = replace(
        mdm.load(str(llada_folder), max_new_tokens=6, steps=3, block_size=4, dtype="float64"),
        planner=mdm.Bypass(0.7, mdm.InfoGain(candidates=3)),
        cache=mdm.Refresh(mdm.PrefixCache(), every=2),
        token_sampler=mdm.GumbelMax(0.5, top_k=5),
        schedule=mdm.Cosine(),
        processors=(mdm.Penalise((1, 2), by=2.0), mdm.Ban((3,))),
        eos="finish",
    )
    result = sampler.generate(["abc", "d"], seed=[4, 5])
    again = mdm.from_spec(result.spec)
    assert again.spec() == result.spec
    repeated = again.generate(["abc", "d"], seed=[row.seed for row in result.rows])
    assert repeated.sequences == result.sequences


def test_a_model_in_memory_must_be_passed_again() -> None:
    spec = mdm.Sampler(toy_transformer()).spec()
    with pytest.raises(mdm.SpecError, match="passed in memory"):
        mdm.from_spec(spec)
    assert mdm.from_spec(spec, toy_transformer()).spec() == spec


def test_unknown_settings_in_a_spec_are_refused() -> None:
    with pytest.raises(mdm.SpecError, match="unknown settings in the spec: stepz"):
        mdm.from_spec({"stepz": 3}, toy_transformer())


def test_a_result_of_a_part_that_is_not_registered_names_it_and_is_not_rebuilt() -> None:
    @dataclass(frozen=True)
    class Mine(mdm.ScorePlanner):
        """Mine."""

        def score(self, step: mdm.Step) -> torch.Tensor:
            return step.confidence

    spec = mdm.Sampler(toy_transformer(), planner=Mine()).spec()
    assert spec["planner"].startswith("not registered: ")
    assert spec["planner"].endswith("Mine")
    with pytest.raises(mdm.SpecError, match=r"planner was not registered: .*Mine; register it in a plug-in"):
        mdm.from_spec(spec, toy_transformer())


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(mdm.SpecError, match="unknown kind 'planner'; there are backends, caches, planners"):
        mdm.build("planner", "confidence")


@pytest.mark.parametrize("depth", [33, 500, 20_000])
@pytest.mark.parametrize(("opens", "closes"), [("bypass:otherwise=(", ")"), ("defer:ids=[", "]"), ("refresh:(", ")")])
def test_a_spec_that_nests_too_deep_is_refused_at_once(depth: int, opens: str, closes: str) -> None:
    kind = "caches" if "refresh" in opens else "planners"
    with pytest.raises(mdm.SpecError, match="nests deeper than 32 brackets") as caught:
        mdm.build(kind, opens * depth + "x" + closes * depth)
    assert len(str(caught.value)) < 300


def test_a_spec_may_nest_deeper_than_anybody_needs() -> None:
    planner: mdm.PositionPlanner = mdm.Confidence()
    for _ in range(32):
        planner = mdm.Bypass(0.5, planner)
    assert mdm.build("planners", mdm.describe(planner)) == planner


@pytest.mark.parametrize("spec", [None, 5, [], b"confidence", mdm.Confidence(), {}], ids=repr)
def test_what_is_no_text_is_no_spec(spec: object) -> None:
    with pytest.raises(mdm.SpecError, match="a spec is a text such as"):
        mdm.build("planners", spec)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (None, "a sampler's spec is a dict"),
        ([], "a sampler's spec is a dict"),
        ('{"steps": 3}', "got a text; read JSON first, with json.loads"),
        (b"{}", "got a text; read JSON first"),
        ({5: 1}, "unknown settings in the spec: 5"),
        ({"planner": 5}, "the spec's planner: a spec is a text"),
        ({"cache": None}, "the spec's cache: a spec is a text"),
        ({"schedule": ["uniform"]}, "the spec's schedule: a spec is a text"),
        ({"token_sampler": "gready"}, "the spec's token_sampler: unknown name 'gready'"),
        ({"processors": None}, "processors must be a list of specs, got None"),
        ({"processors": "ban"}, "processors must be a list of specs, got 'ban'"),
        ({"processors": [5]}, "the spec's processor: a spec is a text"),
        ({"steps": "x"}, "steps must be a whole number, got 'x'"),
        ({"steps": True}, "steps must be a whole number, got True"),
        ({"max_new_tokens": True}, "max_new_tokens must be a whole number, got True"),
        ({"lookahead_batch": 1.5}, "lookahead_batch must be a whole number or None, got 1.5"),
        ({"eos": None}, "eos must be one of off, finish, got None"),
    ],
)
def test_a_samplers_spec_of_the_wrong_kinds_is_refused(spec: object, words: str) -> None:
    with pytest.raises(mdm.SpecError, match=words):
        mdm.from_spec(spec, toy_transformer())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        ("embedded", "backend must be an object such as"),
        (5, "backend must be an object such as"),
        ({}, "backend must be an object such as"),
        ({"model": 5}, "backend must be an object such as"),
        ({"model": "embedded", "x": 1}, "unknown settings in the spec's backend: x"),
        ({"model": "embedded", "family": 5}, "family must be a text or None"),
        ({"model": "embedded", "mask_id": True}, "mask_id must be a whole number or None"),
        ({"model": "embedded", "compile": "no"}, "compile must be true or false"),
    ],
)
def test_a_specs_backend_of_the_wrong_kind_is_refused(backend: object, words: str) -> None:
    with pytest.raises(mdm.MDMError, match=words):
        mdm.from_spec({"backend": backend})
