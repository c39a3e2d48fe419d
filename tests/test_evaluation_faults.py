"""lm-evaluation-harness with faulty tasks: one sentence that names task and item, and no answer is lost."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from evaluated import evaluate, go_offline, write_task, written
from hypothesis import given
from hypothesis import strategies as st

import mdm_sampling as mdm

pytest.importorskip("lm_eval")
from lm_eval.api.instance import Instance

from mdm_sampling.evaluation import answer_seed
from mdm_sampling.evaluation.arguments import MOST_POSITIONS, read_generation
from mdm_sampling.evaluation.groups import check_group, knows_all
from mdm_sampling.evaluation.harness import HarnessModel

_offline = pytest.fixture(autouse=True)(go_offline)

LINES = [{"puzzle": p, "solution": "1", "choices": ["1", "2"]} for p in ("1... ..3. .1.. ...4", "..34 4.1. 142. 3...")]
METRIC = [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}]
AT_ONCE = {"custom_dataset": "!function utils.data"}  # the harness's own reader takes seconds
GENERATES: dict[str, Any] = AT_ONCE | {
    "output_type": "generate_until",
    "generation_kwargs": {"max_gen_toks": 2, "until": ["\n\n"]},
    "metric_list": METRIC,
}
CHOOSES: dict[str, Any] = AT_ONCE | {
    "output_type": "multiple_choice",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": 0,
    "target_delimiter": "",
    "metric_list": [{"metric": "acc"}],
}
FUNCTIONS = """
import json, pathlib
import datasets
def data(data_files, **_):
    lines = pathlib.Path(data_files["test"]).read_text().splitlines()
    return {"test": datasets.Dataset.from_list([json.loads(line) for line in lines])}
def at_second(do):
    def process(doc, results):
        if doc["puzzle"].startswith("..34"):
            return do()
        return {"acc": 1.0}
    return process
def fail(error):
    def do():
        raise error
    return at_second(do)
boom = fail(RuntimeError("boom at doc"))
key = fail(KeyError("gold"))
memory = fail(MemoryError())
leave = fail(SystemExit(0))
close = fail(GeneratorExit())
text = at_second(lambda: {"acc": "abc"})
a_set = at_second(lambda: {"acc": {1}})
none = at_second(lambda: {"acc": None})
no_scores = at_second(lambda: 5)
name = at_second(lambda: {"x\\ud800": 1.0})
value = at_second(lambda: {"acc": "x\\ud800"})
number = at_second(lambda: {5: 1.0})
huge = at_second(lambda: {"acc": 10**400})
def prints(doc, results):
    print("noise")
    return {"acc": 1.0}
def no_text(doc):
    return None
def a_number(doc):
    return 5 if doc["puzzle"].startswith("..34") else "1"
def late(doc):
    return 1 / 0 if doc["puzzle"].startswith("..34") else "1"
def divides(items):
    return 1 / 0
def overflows(items):
    return 2.0 ** 5000
def passes(items):
    return items
def filters(resps, docs):
    return [[1 / 0 if doc["puzzle"].startswith("..34") else resp[0]] for resp, doc in zip(resps, docs)]
"""


@pytest.fixture
def folder(tmp_path: Path, base: mdm.Sampler, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of tasks with functions beside them; the model is loaded once for all tests."""
    monkeypatch.setattr(
        "mdm_sampling.cli.evaluate.make_sampler", lambda *given, **more: replace(base, planner=mdm.Confidence())
    )
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "utils.py").write_text(FUNCTIONS)
    return tmp_path / "tasks"


def run(folder: Path, names: str = "it", *options: str) -> Result:
    return evaluate("--tasks", names, "--include-path", folder, "--out", "out", *options)


def refused(done: Result, *words: str) -> str:
    """The one sentence that a command ended with."""
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code in (1, 2), done.stderr
    message = done.stderr.rpartition("Error: ")[2]
    for word in words:
        assert word in message
    assert message.count("\n") == 1
    return message


def kept() -> list[dict[str, Any]]:
    return [json.loads(line) for file in Path("out").glob("*/samples_it_*") for line in file.read_text().splitlines()]


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("boom", "task 'it', item 1: RuntimeError boom at doc"),
        ("key", "task 'it', item 1: KeyError 'gold'"),
        ("memory", "task 'it', item 1: MemoryError"),
        ("leave", "task 'it', item 1: SystemExit 0"),
        ("close", "task 'it', item 1: GeneratorExit"),
        ("text", "task 'it', item 1, aggregating 'acc', which is 'abc': TypeError"),
        ("a_set", "task 'it', item 1, aggregating 'acc', which is {1}: TypeError"),
        ("none", "task 'it', item 1, aggregating 'acc', which is None: TypeError"),
        ("no_scores", "task 'it', item 1: process_results gave 5"),
        ("name", "task 'it', item 1: process_results gave a text that is not Unicode"),
        ("value", "task 'it', item 1: process_results gave a text that is not Unicode"),
        ("number", "task 'it', item 1: process_results gave {5: 1.0}"),
        ("huge", "task 'it', item 1, aggregating 'acc'"),
    ],
)
def test_whatever_grading_raises_names_the_item_and_the_answers_are_kept(
    function: str, words: str, folder: Path
) -> None:
    write_task(folder, "it", LINES, **GENERATES, process_results=f"!function utils.{function}")
    message = refused(run(folder), words)
    assert "the answers are kept in " in message
    assert "out/embedded" in message
    lines = kept()
    assert [line["doc"]["puzzle"] for line in lines] == [line["puzzle"] for line in LINES]
    assert all(isinstance(line["resps"][0][0], str) for line in lines)


@pytest.mark.parametrize("function", ["divides", "overflows"])
def test_what_aggregation_raises_names_the_task_and_the_scores_are_kept(function: str, folder: Path) -> None:
    metric = [{"metric": "exact_match", "aggregation": f"!function utils.{function}", "higher_is_better": True}]
    write_task(folder, "it", LINES, **(GENERATES | {"metric_list": metric}))
    refused(run(folder), "task 'it', item 0, aggregating 'exact_match'", "the answers are kept in ", "out/embedded")
    assert [line["exact_match"] for line in kept()] == [0.0, 0.0]


def test_a_filter_that_fails_names_the_item(folder: Path) -> None:
    filters = [{"name": "mine", "filter": [{"function": "custom", "filter_fn": "!function utils.filters"}]}]
    write_task(folder, "it", LINES, **GENERATES, filter_list=filters)
    refused(run(folder), "task 'it', item 1, its filter 'mine': ZeroDivisionError", "the answers are kept")
    assert len(kept()) == 2


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            {"doc_to_text": "!function utils.no_text"},
            "task 'it', item 0: AssertionError Context is not a string! : None",
        ),
        ({"doc_to_text": "!function utils.late"}, "task 'it', item 1: ZeroDivisionError"),
        ({"repeats": 0}, "task 'it': repeats must be a whole number of at least 1, got 0"),
        ({"repeats": 1.5}, "task 'it': repeats must be"),
        (
            {"filter_list": [{"name": "f", "filter": [{"function": "regex", "regex_pattern": "("}]}]},
            "task 'it': its filter 'f' cannot be made: ",
        ),
        ({"generation_kwargs": {"until": [1]}}, "task 'it': a task's generation_kwargs: until must be"),
        ({"process_results": "!function utils.nothing"}, "cannot be loaded: task 'it': "),
    ],
    ids=str,
)
def test_a_faulty_task_is_refused_before_anything_is_decoded(
    config: dict[str, Any], words: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mdm.Sampler, "fill", None)
    write_task(folder, "it", LINES, **(GENERATES | config))
    refused(run(folder), words)
    assert not kept()


@pytest.mark.parametrize("item", [0, 1])
def test_an_empty_choice_names_task_and_item(item: int, folder: Path) -> None:
    for choices in (["1", ""], [" ", "1"]):
        lines = [line | ({"choices": choices} if i == item else {}) for i, line in enumerate(LINES)]
        write_task(folder, "it", lines, **CHOOSES)
        refused(run(folder), f"task 'it', item {item}: ", "choice")


def test_an_item_without_choices_is_refused(folder: Path) -> None:
    write_task(folder, "it", [LINES[0], LINES[1] | {"choices": []}], **CHOOSES)
    refused(run(folder), "task 'it', item 1: it asks for nothing")


def test_a_perplexity_that_no_float_holds_is_infinite(folder: Path) -> None:
    """One word of 250 letters that the model finds unlikely; an empty text has no bytes to divide by."""
    rolling = AT_ONCE | {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{solution}}",
        "metric_list": [{"metric": "word_perplexity"}],
    }
    write_task(folder, "it", [{"solution": "=" * 250}], **rolling)
    done = run(folder, "it", "--samples", "1")
    assert done.exit_code == 0, done.stderr
    assert written(Path("out"), "results")["results"]["it"]["word_perplexity,none"] == math.inf
    assert "Infinity" in done.stdout
    assert len(written(Path("out"), "samples_it")) == 1
    write_task(folder, "it", [{"solution": ""}], **(rolling | {"metric_list": [{"metric": "byte_perplexity"}]}))
    refused(
        run(folder), "task 'it', item 0, aggregating 'byte_perplexity'", "ZeroDivisionError", "the answers are kept"
    )


def test_what_a_task_prints_is_no_part_of_the_result_and_nothing_is_left_over(folder: Path) -> None:
    write_task(folder, "it", LINES, **GENERATES, process_results="!function utils.prints")
    done = run(folder)
    assert done.exit_code == 0, done.stderr
    assert "noise" not in done.stdout
    assert "noise" in done.stderr
    names = sorted(re.split("[_-]", file.name)[0] for file in Path("out", "embedded").iterdir())
    assert names == ["answers", "ours", "results", "samples"]
    assert "not a git repository" not in done.stderr


@pytest.mark.parametrize("name", ["a/../../b", "/x/abs", "b" * 250, "\u00e9" * 120, "a\0b", "a\nb"], ids=ascii)
def test_a_task_that_cannot_name_a_file_is_refused_before_the_model_is_loaded(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdm_sampling.cli.evaluate.make_sampler", None)
    write_task(folder, name, LINES, file="it", **GENERATES)
    (folder / "it.yaml").write_text((folder / "it.yaml").read_text().replace('"task"', '"tag": "odd",\n "task"'))
    from lm_eval.tasks import TaskManager

    monkeypatch.setattr(TaskManager.__init__, "__kwdefaults__", None)
    defaults = TaskManager.__init__
    monkeypatch.setattr(
        TaskManager, "__init__", lambda self, include_path=None, include_defaults=True: defaults(
            self, include_path=include_path, include_defaults=False
        )
    )  # fmt: skip
    refused(run(folder, "odd"), "cannot name a file of results")


# --- Groups ----------------------------------------------------------------------------------------------------------


def write_group(folder: Path, name: str, members: Any) -> None:
    (folder / f"{name}.yaml").write_text(json.dumps({"group": name, "task": members}))


@pytest.fixture
def own_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness's own tasks, which take many seconds to read, must not be."""
    from lm_eval.tasks import TaskManager

    build = TaskManager.__init__

    def refuse(self: Any, *, include_path: str | None = None, include_defaults: bool = True) -> None:
        assert not include_defaults, "the harness's own tasks were read"
        build(self, include_path=include_path, include_defaults=False)

    monkeypatch.setattr(TaskManager, "__init__", refuse)


@pytest.mark.usefixtures("own_only")
def test_an_own_group_does_not_need_the_harnesss_tasks(folder: Path) -> None:
    for name in ("one", "two"):
        write_task(folder, name, LINES, **GENERATES)
    write_group(folder, "inner", ["two"])
    write_group(folder, "grp", ["one", "inner"])
    done = run(folder, "grp")
    assert done.exit_code == 0, done.stderr
    assert all(word in done.stdout for word in ("one", "two"))


@pytest.mark.usefixtures("own_only")
@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({"grp": []}, "group 'grp' holds no task"),
        ({"grp": "one"}, "group 'grp' holds no task"),
        ({"grp": ["inner"], "inner": []}, "group 'inner' holds no task"),
        ({"grp": ["grp"]}, "group 'grp' contains itself"),
        ({"grp": ["one", "inner"], "inner": [{"group": "grp"}]}, "group 'grp' contains itself"),
        ({"grp": ["one", 5]}, "group 'grp': a member is the name of a task or its settings, got 5"),
        ({"grp": [{"group": "new", "task": []}]}, "there is no task 'new'"),
    ],
    ids=str,
)
def test_a_faulty_group_is_told_in_a_sentence(
    groups: dict[str, Any], words: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdm_sampling.evaluation.run.knows_all", lambda index, names: True)
    write_task(folder, "one", LINES, **GENERATES)
    for name, members in groups.items():
        write_group(folder, name, members)
    refused(run(folder, "grp"), words)


class Entry:
    def __init__(self, **config: Any) -> None:
        self.cfg = config or None


def test_only_what_is_not_known_makes_the_harness_read_its_own_tasks() -> None:
    index = {
        "mine": Entry(task="mine"),
        "all": Entry(group="all", task=["mine", {"task": "mine", "num_fewshot": 1}]),
        "inline": Entry(group="inline", task=[{"task": "new", "dataset_path": "x"}, {"group": "g", "task": ["mine"]}]),
        "theirs": Entry(group="theirs", task=["mine", "arc_easy"]),
        "deep": Entry(group="deep", task=[{"group": "g", "task": ["theirs"]}]),
        "tag": Entry(),
    }  # fmt: skip
    found = {name: knows_all(index, [name]) for name in index}
    assert found == {"mine": True, "all": True, "inline": True, "theirs": False, "deep": False, "tag": False}
    assert not knows_all(index, ["mi*"])
    check_group(index, "inline")
    with pytest.raises(mdm.SpecError, match=r"group 'theirs': there is no task 'arc_easy'"):
        check_group(index, "deep")


# --- What a task asks for --------------------------------------------------------------------------------------------

NO_NUMBERS = st.one_of(
    st.booleans(), st.text(), st.lists(st.integers(), min_size=1), st.just(math.inf), st.just(math.nan)
)
NO_TEXTS = st.one_of(
    st.integers(), st.booleans(), st.floats(), st.dictionaries(st.text(), st.text(), min_size=1),
    st.lists(st.one_of(st.integers(), st.lists(st.text())), min_size=1),
)  # fmt: skip


@given(
    st.one_of(
        st.tuples(
            st.sampled_from(["max_gen_toks", "max_tokens", "top_k"]), NO_NUMBERS | st.just(8.9) | st.just(10**400)
        ),
        st.tuples(st.sampled_from(["temperature", "top_p"]), NO_NUMBERS | st.just(10**400)),
        st.tuples(st.just("until"), NO_TEXTS),
        st.tuples(st.just("do_sample"), st.sampled_from(["no", 0, 1, 1.0, [], {}])),
        st.tuples(st.just("max_gen_toks"), st.integers(max_value=0) | st.integers(min_value=MOST_POSITIONS + 1)),
        st.tuples(st.just("num_beams"), st.sampled_from([2, True, "1"])),
        st.tuples(st.just("repetition_penalty"), st.sampled_from([1.2, True, "1.0", [1.0]])),
    ),
    st.booleans(),
)
def test_generation_kwargs_of_a_wrong_kind_are_refused(given: tuple[str, Any], sampled: bool) -> None:
    with pytest.raises(mdm.SpecError, match="generation_kwargs"):
        read_generation({"do_sample": sampled, given[0]: given[1]})


def test_generation_kwargs_that_change_nothing_are_accepted() -> None:
    neutral = {"repetition_penalty": 1.0, "num_beams": 1, "min_p": 0.0, "no_repeat_ngram_size": 0, "length_penalty": 1}
    assert read_generation(neutral | {"max_gen_toks": 8.0, "until": ("a",)}).length == 8
    for no_settings in ([], "x", 5):
        with pytest.raises(mdm.SpecError, match="generation_kwargs"):
            read_generation(no_settings)  # type: ignore[arg-type]


def asks(*arguments: Any, task: str | None = None) -> list[Instance]:
    return [Instance("generate_until", {}, given, i, (task, i, 1)) for i, given in enumerate(arguments)]


def test_a_length_beyond_the_context_is_refused_before_its_masks_are_made(base: mdm.Sampler) -> None:
    with pytest.raises(mdm.CanvasError, match=r"task 't', item 0: a prompt of 5 tokens and 1000000 positions"):
        HarnessModel(base).generate_until(asks(("123", {"max_gen_toks": 1_000_000}), task="t") * 10_000)


@pytest.mark.parametrize("given", [{"batch_size": 0}, {"samples": 0}, {"batch_size": True}, {"seed": 1.5}])
def test_a_harness_model_checks_its_numbers(base: mdm.Sampler, given: dict[str, Any]) -> None:
    with pytest.raises(mdm.SpecError, match=next(iter(given))):
        HarnessModel(base, **given)


def test_the_module_tells_errors_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import runpy

    from lm_eval.api.registry import get_model

    def cli_evaluate() -> None:
        get_model("mdm-sampling").create_from_arg_string("", {"batch_size": 0})

    monkeypatch.setattr("lm_eval.__main__.cli_evaluate", cli_evaluate)
    with pytest.raises(SystemExit, match="Error: batch_size must be a whole number of at least 1, or 'auto', got 0"):
        runpy.run_module("mdm_sampling.evaluation", run_name="__main__")


# --- Seeds, and the harness's cache ----------------------------------------------------------------------------------


def test_equal_noise_is_not_shared_by_items(base: mdm.Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    fill = mdm.Sampler.fill

    def watched(self: mdm.Sampler, rows: Any, seed: Any, **options: Any) -> mdm.Result:
        seeds.extend(seed)
        return fill(self, rows, seed, **options)

    monkeypatch.setattr(mdm.Sampler, "fill", watched)
    model = HarnessModel(replace(base, planner=mdm.Confidence()), seed=3)
    asked = asks(*((prompt, {"max_gen_toks": 1}) for prompt in ("1", "2", "3", "1")))
    model.generate_until(asked)
    assert len(seeds) == 3
    assert sorted(seeds) == sorted({answer_seed(request.args[0], 3) for request in asked}), "equal ones are one"


class Cache:
    """Stands for the harness's hook of an open cache."""

    def __init__(self, held: dict[str, Any]) -> None:
        self.dbdict = held

    def add_partial(self, attribute: str, request: Any, answer: Any) -> None:
        self.dbdict[str(request)] = answer


def test_a_cache_of_another_sampler_seed_or_model_is_refused(base: mdm.Sampler) -> None:
    held: dict[str, Any] = {}
    greedy = replace(base, planner=mdm.Confidence())
    HarnessModel(greedy).set_cache_hook(Cache(held))
    HarnessModel(greedy, batch_size=3).set_cache_hook(Cache(held))
    for other in (
        HarnessModel(replace(base, planner=mdm.Margin())),
        HarnessModel(greedy, seed=1),
        HarnessModel(greedy, samples=3),
        HarnessModel(greedy, max_new_tokens=5),
    ):
        with pytest.raises(mdm.SpecError, match="holds answers of another sampler, seed or model"):
            other.set_cache_hook(Cache(held))
    with pytest.raises(mdm.SpecError, match="another sampler"):
        HarnessModel(greedy).set_cache_hook(Cache({"answers": "of before"}))


def test_repeats_are_not_answered_from_a_cache(base: mdm.Sampler) -> None:
    model = HarnessModel(replace(base, planner=mdm.Confidence()))
    model.set_cache_hook(Cache({}))
    request = asks(("123", {"max_gen_toks": 2}), task="t")
    with pytest.raises(mdm.SpecError, match="task 't', item 0: it repeats requests"):
        model.generate_until(request * 2)
    drawn = asks(("123", {"max_gen_toks": 2, "do_sample": True}))
    assert len(model.generate_until(drawn * 2)) == 2, "the harness keeps none that is drawn"


def test_a_sampler_that_has_no_name_takes_no_cache(base: mdm.Sampler) -> None:
    class Nameless(mdm.ScorePlanner):
        def score(self, step: mdm.Step) -> Any:
            return step.confidence

    with pytest.raises(mdm.SpecError, match="cannot be told from others"):
        HarnessModel(replace(base, planner=Nameless())).set_cache_hook(Cache({}))
