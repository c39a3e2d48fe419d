"""lm-evaluation-harness: what it asks, what it is told, and scores by hand."""

import json
import runpy
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from click.testing import CliRunner
from evaluated import evaluate, go_offline, write_task, written
from toys import MASK, ToyModel, toy_callable

import mdm_sampling as mdm
from mdm_sampling.cli import main
from mdm_sampling.evaluation import answer_seed, greedy_checks, log_likelihoods
from mdm_sampling.sampler import SETTINGS
from mdm_sampling.tasks.grids import as_text, solutions

pytest.importorskip("lm_eval", reason="needs the extra `lm-eval`")
from lm_eval.api.instance import Instance

from mdm_sampling.backends.options import LoadOptions
from mdm_sampling.evaluation.arguments import ARGUMENTS, read_generation, read_model_arg, read_model_args
from mdm_sampling.evaluation.harness import HarnessModel

_offline = pytest.fixture(autouse=True)(go_offline)

PUZZLES = [item.prompt for item in mdm.Sudoku(form="prompt", holes="6-9", unique=True).items(6, 0)]
GREEDY = {"until": [], "do_sample": False}


# --- What the harness asks, and what it is told ----------------------------------------------------------------------


def asks(*arguments: Any) -> list[Instance]:
    return [Instance("generate_until", {}, given, i) for i, given in enumerate(arguments)]


@pytest.fixture(scope="module")
def model() -> HarnessModel:
    return HarnessModel(replace(mdm.load(), planner=mdm.Confidence()))


def answer(model: HarnessModel, prompt: str, **settings: Any) -> str:
    return model.generate_until(asks((prompt, GREEDY | settings)), disable_tqdm=True)[0]


def test_an_answer_is_what_generate_gives(model: HarnessModel) -> None:
    texts = model.generate_until(asks(*((puzzle, GREEDY) for puzzle in PUZZLES)))
    assert texts == model.sampler.generate(PUZZLES).texts
    assert all(text.count("\n") == 3 for text in texts)


def test_an_answer_ends_before_the_first_stop_string(model: HarnessModel) -> None:
    whole = answer(model, PUZZLES[0])
    rows = whole.split("\n")
    assert answer(model, PUZZLES[0], until="\n") == rows[0]
    assert answer(model, PUZZLES[0], until=[rows[2], "x", rows[1], ""]) == rows[0] + "\n"
    assert answer(model, PUZZLES[0], until=[whole[:2], "\n"]) == ""


def test_a_stop_string_may_be_a_special_token(llada_folder: Path) -> None:
    """Which the decoded text would not show. An end token ends an answer without being named."""
    model = HarnessModel(mdm.Sampler(mdm.load_backend(str(llada_folder))))
    user, eot = (model.codec.tokenizer.convert_tokens_to_ids(name) for name in ("<|user|>", "<|eot_id|>"))
    a, b = model.codec.ids("ab", special=False)
    assert model._text([a, user, b], ["<|user|>"]) == "a"
    assert model._text([a, user, b], []) == "ab"
    assert model._text([a, eot, b], []) == "a"


def test_answers_do_not_depend_on_order_neighbours_or_batch_size(base: mdm.Sampler) -> None:
    """Prompts of different lengths, answers of different lengths, drawn and greedy ones."""
    countdowns = ["3,5,8=23", "1,2=3", "9,9,1=17"]
    settings = [GREEDY | {"max_gen_toks": 16}, {"do_sample": True, "temperature": 0.7, "max_gen_toks": 20}]
    requests = [(prompt, settings[i % 2]) for i, prompt in enumerate([*PUZZLES[:4], *countdowns])]
    alone = [HarnessModel(base, batch_size=1).generate_until(asks(request))[0] for request in requests]
    for size in (1, 3, 16):
        assert HarnessModel(base, batch_size=size).generate_until(asks(*requests)) == alone
    assert HarnessModel(base).generate_until(asks(*reversed(requests))) == alone[::-1]


@pytest.mark.parametrize("name", ["max_gen_toks", "max_new_tokens", "max_tokens"])
def test_the_task_says_how_long_an_answer_is(base: mdm.Sampler, name: str) -> None:
    """To the position: nothing is rounded up, the last block is shorter."""
    sampler = replace(base, planner=mdm.Confidence(), block_size=4, steps=20)
    model = HarnessModel(sampler)
    assert answer(model, PUZZLES[0], **{name: 6}) == replace(sampler, max_new_tokens=6).generate(PUZZLES[0]).texts[0]
    assert model.rows[0].steps == 6
    assert model.notes == []


def test_a_given_length_comes_first_and_is_noted(base: mdm.Sampler) -> None:
    model = HarnessModel(replace(base, planner=mdm.Confidence()), max_new_tokens=7)
    answer(model, PUZZLES[0], max_gen_toks=20)
    answer(model, PUZZLES[1], max_gen_toks=20)
    assert [row.steps for row in model.rows] == [7, 7]
    assert model.notes == ["a task asks for answers of 20 positions and gets 7"]


def test_tokens_are_drawn_where_the_task_says_so(base: mdm.Sampler) -> None:
    hot = {"until": [], "do_sample": True, "temperature": 3.0, "top_k": 8, "top_p": 0.99}
    drawing = replace(base, token_sampler=mdm.GumbelMax(3.0, 8, 0.99))
    model = HarnessModel(base, seed=5)
    texts = model.generate_until([*asks((PUZZLES[0], hot)) * 3, *asks((PUZZLES[0], GREEDY))])
    seeds = [answer_seed(PUZZLES[0], 5, repeat) for repeat in range(3)]
    assert texts[:3] == drawing.generate([PUZZLES[0]] * 3, seed=seeds).texts
    assert len(set(texts[:3])) == 3, "repeats of a request are different samples"
    assert texts[3] == base.generate(PUZZLES[0], seed=answer_seed(PUZZLES[0], 5)).texts[0]
    assert model.generate_until(asks((PUZZLES[0], hot), (PUZZLES[0], hot))) == [texts[0]] * 2, "and equal ones are not"
    assert HarnessModel(base, seed=6).generate_until(asks((PUZZLES[0], hot))) == [texts[1]]
    assert model.notes == []


def test_a_sampler_that_draws_tokens_goes_on_drawing_and_says_so(base: mdm.Sampler) -> None:
    drawing = replace(base, token_sampler=mdm.GumbelMax(3.0))
    model = HarnessModel(drawing)
    assert answer(model, PUZZLES[0]) == drawing.generate(PUZZLES[0], seed=answer_seed(PUZZLES[0], 0)).texts[0]
    assert model.notes == ["a task asks for the token sampler greedy and gets gumbel:temperature=3.0"]


@pytest.mark.parametrize(
    ("given", "token_sampler"),
    [
        ({"do_sample": False, "temperature": 1.0}, mdm.Greedy()),
        ({"do_sample": True}, mdm.GumbelMax(1.0)),
        ({"do_sample": True, "temperature": 0}, mdm.Greedy()),
        ({"temperature": 0.0}, mdm.Greedy()),
        ({"temperature": 0.4, "top_p": 0.9}, mdm.GumbelMax(0.4, 0, 0.9)),
        ({"do_sample": None, "temperature": None, "num_beams": 1}, mdm.Greedy()),
        ({}, mdm.Greedy()),
    ],
)
def test_what_generation_kwargs_ask_for(given: dict[str, Any], token_sampler: mdm.TokenSampler) -> None:
    found = read_generation(given | {"until": ["a", ""], "max_gen_toks": None, "max_new_tokens": 9})
    assert (found.until, found.length, found.token_sampler) == (("a",), 9, token_sampler)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"num_beams": 4}, "num_beams, which mdm-sampling does not offer"),
        ({"repetition_penalty": 1.2}, "repetition_penalty"),
        ({"do_sample": True, "temperature": -1}, "temperature must be finite and above 0"),
        ({"do_sample": True, "top_k": "many"}, "top_k must be a whole number"),
        ({"max_gen_toks": 0}, "answers of 0 positions"),
    ],
)
def test_generation_kwargs_that_would_be_ignored_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(mdm.SpecError, match=words):
        read_generation(given)


def test_a_prompt_that_does_not_fit_is_refused_before_any_is_decoded(
    model: HarnessModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(model.rows), len(model.estimates)
    monkeypatch.setattr("mdm_sampling.evaluation.harness.SCORED_AT_ONCE", 1)
    with pytest.raises(mdm.CanvasError, match="row 1: a prompt of 302 tokens"):
        model.loglikelihood(asks((PUZZLES[0], "1"), ("1" * 300, "1")))
    with pytest.raises(mdm.CanvasError, match="row 1: a prompt of 302 tokens"):
        model.generate_until(asks((PUZZLES[0], GREEDY), ("1" * 300, GREEDY)))
    assert (len(model.rows), len(model.estimates)) == before


def test_chats_are_encoded_as_generate_encodes_them(llada_folder: Path) -> None:
    model = HarnessModel(mdm.Sampler(mdm.load_backend(str(llada_folder))))
    messages = [
        {"role": "user", "content": "ab"},
        {"role": "assistant", "content": "c"},
        {"role": "user", "content": "d"},
    ]
    text = model.apply_chat_template(messages)
    assert text == "<|user|>ab<|eot_id|><|assistant|>c<|eot_id|><|user|>d<|eot_id|><|assistant|>"
    assert model._ids(text) == model.codec.encode(messages)
    opened = model.apply_chat_template(
        [*messages[:1], {"role": "assistant", "content": "c"}], add_generation_prompt=False
    )
    assert opened == "<|user|>ab<|eot_id|><|assistant|>c"
    assert model.chat_template(True) == model.codec.tokenizer.chat_template
    assert model.tokenizer_name == str(llada_folder).replace("/", "__")


def test_special_tokens_are_added_to_plain_prompts_only(model: HarnessModel) -> None:
    assert model._ids("1..") == model.codec.encode("1..")
    assert model._ids("<|start|>1..<|answer|>") == model.codec.encode("1..")
    assert model._ids("") == [1, 2]


def test_a_pair_is_read_as_one_text(model: HarnessModel, dream_folder: Path) -> None:
    """The context's last spaces belong to the continuation, and the special tokens around a prompt to the prefix."""
    codec = model.codec
    assert model._pair("1.. ", "12") == (codec.encode("1.."), codec.ids(" 12", special=False))
    assert model._pair("", "12") == ([1, 2], codec.ids("12", special=False))
    dream = HarnessModel(mdm.Sampler(mdm.load_backend(str(dream_folder))))
    prefix, continuation = dream._pair("ab", " cd")
    assert dream.codec.decode([*prefix, *continuation]) == "ab cd"
    assert dream.codec.decode(continuation) == " cd"


class Merging:
    """A tokenizer that reads `ab` as one token, and else every character as one."""

    def __call__(self, text: str, **settings: Any) -> dict[str, list[int]]:
        return {"input_ids": [9 if c == "#" else ord(c) - 97 for c in text.replace("ab", "#")]}


def test_tokens_that_would_merge_across_the_seam_are_kept_apart() -> None:
    backend = mdm.wrap(ToyModel(), mask_id=MASK, vocab_size=13, tokenizer=Merging(), takes_attention_mask=True)
    model = HarnessModel(mdm.Sampler(backend))
    assert model._pair("ca", "bd") == ([2, 0], [1, 3])
    assert model._pair("ca", "ab") == ([2, 0], [9])
    (value, matches) = model.loglikelihood(asks(("ca", "bd")))[0]
    assert value == log_likelihoods(backend, [([2, 0], [1, 3])])[0].log_likelihood
    assert matches is greedy_checks(backend, [([2, 0], [1, 3])])[0].matches


def test_likelihoods_of_solutions_are_larger_and_independent_of_order(model: HarnessModel) -> None:
    texts = [as_text(next(iter(solutions([int(c) for c in name]))), ".", "\n") for name in puzzle_names()]
    requests = [(p, t) for p, right in zip(PUZZLES, texts, strict=True) for t in (right, "1" + right[1:] + "1")][:6]
    found = model.loglikelihood(asks(*requests))
    assert all(found[i][0] > found[i + 1][0] for i in range(0, 6, 2))
    assert [pair[1] for pair in found] == [True, False] * 3
    backwards = HarnessModel(model.sampler, batch_size=50).loglikelihood(asks(*reversed(requests)))
    assert [pair[0] for pair in backwards[::-1]] == pytest.approx([pair[0] for pair in found], abs=1e-3)


def puzzle_names() -> list[str]:
    return [puzzle.replace(" ", "").replace(".", "0") for puzzle in PUZZLES]


def test_whole_texts_are_scored_in_windows_of_the_context(base: mdm.Sampler) -> None:
    """The context is 256 positions, two of which the start takes."""
    model = HarnessModel(base, samples=2)
    text = "1+2=3," * 50
    ids = model.codec.ids(text, special=False)
    windows = [([1, 2], ids[:254]), ([1, 2], ids[254:])]
    expected = sum(estimate.log_likelihood for estimate in log_likelihoods(base.backend, windows, samples=2))
    assert model.loglikelihood_rolling(asks((text,), ("",))) == [expected, 0.0]


def test_costs_count_what_was_computed(base: mdm.Sampler) -> None:
    model = HarnessModel(replace(base, planner=mdm.Confidence()))
    assert model.costs()["generated"]["mean_cumulative_entropy"] is None
    model.generate_until(asks((PUZZLES[0], GREEDY)))
    model.loglikelihood(asks((PUZZLES[0], "12"), (PUZZLES[0], "1")))
    costs = model.costs()
    assert costs["generated"]["row_forwards"] == 20
    assert costs["scored"]["texts"] == 2
    assert costs["scored"]["mean_standard_error"] == 0.0
    assert 3 + 1 + 2 <= costs["scored"]["row_forwards"] <= 3 + 1 + 3
    json.dumps(costs | model.get_model_info())


def test_a_model_without_a_tokenizer_is_refused() -> None:
    with pytest.raises(mdm.CanvasError, match="no tokenizer"):
        HarnessModel(mdm.Sampler(toy_callable()))


# --- Model arguments -----------------------------------------------------------------------------------------------


def test_model_args_build_the_sampler() -> None:
    text = "planner=(info-gain:candidates=3,scope=canvas),cache=dual,processors=penalise:by=4,steps=7,samples=9,seed=2"
    made = HarnessModel.create_from_arg_string(text, {"batch_size": "4", "device": "cuda:0", "max_batch_size": None})
    sampler = made.sampler
    assert sampler.planner == mdm.InfoGain(candidates=3, scope="canvas")
    assert (sampler.cache, sampler.processors) == (mdm.DualCache(), (mdm.Penalise(by=4.0),))
    assert (sampler.steps, sampler.max_new_tokens, made.max_new_tokens) == (7, 20, None)
    assert (made.samples, made.seed, made.batch_size) == (9, 2, 4)
    assert HarnessModel.create_from_arg_string("").sampler.spec() == mdm.load().spec()
    several = HarnessModel.create_from_arg_string("processors=[ban:ids=[3],penalise:by=2,ids=[5]]")
    assert several.sampler.processors == (mdm.Ban((3,)), mdm.Penalise((5,), by=2.0))
    named = HarnessModel.create_from_arg_obj(
        {"pretrained": "embedded", "max_new_tokens": 5, "processors": ["ban", "ban"]}
    )
    assert (named.max_new_tokens, named.sampler.max_new_tokens, named.sampler.processors) == (
        5,
        5,
        (mdm.Ban(), mdm.Ban()),
    )


def test_model_args_know_all_options_of_a_model_and_all_settings_of_a_sampler() -> None:
    assert {"model", "family", *LoadOptions.__dataclass_fields__, *SETTINGS} < set(ARGUMENTS)
    assert read_model_arg("quantization_config", {"load_in_4bit": True}) == {"load_in_4bit": True}
    assert read_model_arg("mask_id", "5") == 5


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"planer": "random"}, "unknown model argument 'planer'; did you mean 'planner'"),
        ({"zzz": 1}, "it has model, family"),
        ({"steps": "many"}, "steps must be a whole number, got 'many'"),
        ({"batch_size": "auto"}, "batch_size must be a whole number, got 'auto'"),
        ({"compile": "yes"}, "compile must be true or false"),
        ({"planner": "nope"}, "unknown name 'nope'"),
    ],
)
def test_model_args_that_are_wrong_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(mdm.SpecError, match=words):
        read_model_args(given)


def test_the_module_is_the_harness_with_our_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness finds no model of others by itself, so `python -m mdm_sampling.evaluation` imports ours first."""
    from lm_eval.api.registry import get_model

    found: list[Any] = []
    monkeypatch.setattr("lm_eval.__main__.cli_evaluate", lambda: found.append(get_model("mdm-sampling")))
    runpy.run_module("mdm_sampling.evaluation", run_name="__main__")
    assert found == [HarnessModel]


# --- The harness, end to end -----------------------------------------------------------------------------------------


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """Sudokus to solve, of which one expects something else, and to choose the solution of."""
    folder = tmp_path / "tasks"
    grids = [as_text(next(iter(solutions([int(c) for c in name]))), ".", "\n") for name in puzzle_names()]
    solving = [{"puzzle": p, "solution": g} for p, g in zip(PUZZLES, grids, strict=True)]
    solving[2]["solution"] = "1"
    match = [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}]
    kwargs = {"until": ["\n\n"], "do_sample": False, "temperature": 0.0, "max_gen_toks": 20}
    write_task(folder, "solve", solving, output_type="generate_until", generation_kwargs=kwargs, metric_list=match)
    choosing = [
        {"puzzle": p, "choices": [g.translate(swap), g][:: 1 if i % 2 else -1], "gold": i % 2}
        for i, (p, g) in enumerate(zip(PUZZLES, grids, strict=True))
        for swap in [str.maketrans("12", "21")]
    ]
    choosing[0]["gold"] = 1
    write_task(
        folder,
        "choose",
        choosing,
        output_type="multiple_choice",
        doc_to_target="gold",
        doc_to_choice="{{choices}}",
        target_delimiter="",
        metric_list=[{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    )
    return folder


def test_a_task_that_generates_is_scored_as_by_hand(tasks: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--planner", "margin", "--steps", "10", "--cache", "dual", "--batch-size", "4"]
    done = evaluate("--tasks", "solve", "--include-path", tasks, "--out", out, *options)
    assert done.exit_code == 0, done.stderr
    samples, results, ours = (written(out, name) for name in ("samples_solve", "results", "ours"))
    by_hand = [float(sample["resps"][0][0] == sample["doc"]["solution"]) for sample in samples]
    assert by_hand == [sample["exact_match"] for sample in samples]
    assert by_hand[2] == 0.0
    assert sum(by_hand) >= 4
    score = results["results"]["solve"]["exact_match,none"]
    assert score == pytest.approx(fmean(by_hand))
    assert f"{score:.4f}" in done.stdout
    sampler = mdm.from_spec(ours["spec"])
    assert (sampler.planner, sampler.cache, sampler.steps) == (mdm.Margin(), mdm.DualCache(), 10)
    again = sampler.generate([sample["doc"]["puzzle"] for sample in samples], seed=ours["seed"])
    assert again.texts == [sample["resps"][0][0] for sample in samples]
    assert ours["generated"]["rows"] == 6
    assert ours["generated"]["row_forwards"] == sum(row.forwards for row in again.rows) == 60
    assert ours["generated"]["mean_cumulative_entropy"] == pytest.approx(
        fmean(row.cumulative_entropy for row in again.rows), abs=1e-4
    )
    assert ours["machine"]["lm-eval"]
    assert ours["seconds"] > 0
    assert results["config"]["mdm_sampling"]["spec"] == ours["spec"]
    assert results["config"]["model_args"] == {"model": "embedded"}


def test_a_task_that_scores_choices_is_scored_as_by_hand(tasks: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = evaluate("--tasks", "choose", "--include-path", tasks, "--out", out, "--samples", "8", "--seed", "3")
    assert done.exit_code == 0, done.stderr
    samples, results, ours = (written(out, name) for name in ("samples_choose", "results", "ours"))
    backend = mdm.load_backend()
    for sample in samples:
        prefix = backend.codec.encode(sample["doc"]["puzzle"])
        pairs = [(prefix, backend.codec.ids(choice, special=False)) for choice in sample["doc"]["choices"]]
        expected = [e.log_likelihood for e in log_likelihoods(backend, pairs, samples=8, seed=3)]
        values = [float(response[0][0]) for response in sample["resps"]]
        assert values == pytest.approx(expected, abs=1e-3)
        assert sample["acc"] == float(values.index(max(values)) == sample["doc"]["gold"])
    assert results["results"]["choose"]["acc,none"] == pytest.approx(fmean(sample["acc"] for sample in samples))
    assert samples[0]["acc"] == 0.0
    assert ours["samples"] == 8
    assert ours["scored"]["texts"] == 12
    assert ours["scored"]["mean_standard_error"] > 0


def test_two_tasks_some_items_and_examples(tasks: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    names = ["--tasks", "solve,choose", "--tasks", "solve", "--include-path", tasks]
    limits = ["--limit", "2", "--num-fewshot", "1", "--samples", "2", "--max-new-tokens", "4"]
    done = evaluate(*names, *limits, "--out", out)
    assert done.exit_code == 0, done.stderr
    ours = written(out, "ours")
    assert sorted(ours["tasks"]) == ["choose", "solve"]
    assert ours["notes"] == ["a task asks for answers of 20 positions and gets 4"]
    for name in ("solve", "choose"):
        samples = written(out, f"samples_{name}")
        assert len(samples) == 2
        assert "\n\n" in samples[0]["arguments"]["gen_args_0"]["arg_0"], "an example stands before the question"


def test_chats_reach_the_model_as_its_template_has_them(tmp_path: Path, llada_folder: Path) -> None:
    lines = [{"puzzle": "ab", "solution": "c"}, {"puzzle": "de", "solution": "f"}]
    write_task(
        tmp_path / "tasks", "chat", lines, output_type="generate_until", generation_kwargs={"max_gen_toks": 4},
        metric_list=[{"metric": "exact_match"}],
    )  # fmt: skip
    out = tmp_path / "out"
    common = ["--tasks", "chat", "--include-path", tmp_path / "tasks", "--out", out, "--model", llada_folder]
    done = evaluate(*common, "--apply-chat-template", "--num-fewshot", "1")
    assert done.exit_code == 0, done.stderr
    samples = written(out, "samples_chat")
    prompt = samples[0]["arguments"]["gen_args_0"]["arg_0"]
    assert prompt == "<|user|>de<|eot_id|><|assistant|>f<|eot_id|><|user|>ab<|eot_id|><|assistant|>"
    assert written(out, "results")["chat_template"]
    assert written(out, "ours")["apply_chat_template"] is True
    model = HarnessModel(mdm.Sampler(mdm.load_backend(str(llada_folder)), max_new_tokens=4))
    assert samples[0]["resps"][0][0] == answer(model, prompt, until=["\n\n"])


def test_the_harness_runs_our_model_by_its_name(tasks: Path) -> None:
    """`--use_cache` too: what is in it is not asked for again."""
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(tasks), include_defaults=False)
    found = [
        simple_evaluate(
            "mdm-sampling",
            model_args="model=embedded,planner=confidence,samples=2",
            tasks=["solve", "choose"],
            task_manager=manager,
            limit=2,
            use_cache="answers",
        )
        for _ in range(2)
    ]
    assert found[0]["results"] == found[1]["results"]
    assert found[0]["config"]["mdm_sampling"]["spec"]["planner"] == "confidence"


def test_the_commands_of_the_page_run(tmp_path: Path) -> None:
    """Those for the embedded model, after the block that writes their tasks."""
    page = (Path(__file__).parent.parent / "docs" / "evaluation.md").read_text()
    exec(page.split("```python\n")[1].split("```")[0], {})
    commands = [
        line for line in page.splitlines() if line.startswith("mdm-sampling evaluate") and "--model" not in line
    ]
    assert len(commands) == 3
    for command in commands:
        done = CliRunner().invoke(main, shlex.split(command)[1:])
        assert done.exit_code == 0, done.stderr
        assert "sudoku_" in done.stdout


# --- What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "Missing option '--tasks'"),
        (["--tasks", " , "], 2, "--tasks names no task."),
        (["--tasks", "solve", "--include-path", "nowhere"], 2, "'nowhere' does not exist"),
        (["--tasks", "solve", "--fewshot-as-multiturn"], 2, "would be ignored without --apply-chat-template"),
        (["--tasks", "solve", "--apply-chat-template"], 1, "no chat template"),
        (["--tasks", "solve", "--samples", "4"], 2, "--samples would be ignored as no task asks for likelihoods"),
        (["--tasks", "choose", "--planner", "random"], 2, "--planner would be ignored as no task generates text"),
        (["--tasks", "choose", "--processor", "ban"], 2, "--processor would be ignored"),
        (["--tasks", "solve", "--planner", "nope"], 2, "unknown name 'nope'"),
        (["--tasks", "solve", "--model", "/nowhere"], 1, "'/nowhere' is not a folder"),
        (["--tasks", "solve", "--max-new-tokens", "300"], 1, "300 positions after it exceed the model's context"),
        (["--tasks", "sovle"], 1, "there is no task 'sovle'; did you mean 'solve'?"),
        (["--tasks", "lost"], 1, "the tasks cannot be loaded"),
        (["--tasks", "beams"], 1, "num_beams, which mdm-sampling does not offer"),
        (["--tasks", "words"], 1, "the model's tokenizer does not know 'S'"),
        (["--tasks", "undefined"], 1, "'question' is undefined"),
        (["--tasks", "unsafe"], 2, "unsafe runs code that the model writes; add --confirm-run-unsafe-code"),
        (["--tasks", "solve", "--out", "tasks/solve.yaml"], 2, "is a file"),
        (["--tasks", "solve", "--out", "results.json"], 2, "--out is a folder"),
        (["--tasks", "solve", "--out", "/proc/nowhere"], 1, "cannot write /proc/nowhere"),
    ],
)
def test_a_refusal_is_one_sentence(
    arguments: list[str], code: int, words: str, tasks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval import tasks as harness_tasks

    manager = harness_tasks.TaskManager  # without the harness's own tasks, which take ten seconds to read
    monkeypatch.setattr(
        harness_tasks,
        "TaskManager",
        lambda include_path, include_defaults=True: manager(include_path=include_path, include_defaults=False),
    )
    lines = [{"puzzle": "1", "solution": "1"}]
    kinds: dict[str, dict[str, Any]] = {
        "beams": {"generation_kwargs": {"num_beams": 4}},
        "words": {"doc_to_text": "Solve {{puzzle}}"},
        "undefined": {"doc_to_text": "{{question.text}}"},
        "unsafe": {"unsafe_code": True},
        "lost": {"dataset_kwargs": {"data_files": {"test": "/nowhere.jsonl"}}},
    }
    for name, config in kinds.items():
        metrics = {"metric_list": [{"metric": "exact_match"}]}
        write_task(tasks, name, lines, **{"output_type": "generate_until", **metrics, **config})
    given = [] if "--include-path" in arguments else ["--include-path", str(tasks)]
    done = evaluate(*arguments, *given)
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == code, done.stderr
    assert done.stdout == ""
    message = done.stderr.rpartition("Error: ")[2]
    assert words in message
    assert message.count("\n") == 1


def test_without_the_harness_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lm_eval", "lm_eval.tasks", "lm_eval.__main__"):
        monkeypatch.setitem(sys.modules, name, None)
    done = evaluate("--tasks", "gsm8k")
    assert done.exit_code == 1
    assert 'pip install "mdm-sampling[lm-eval]"' in done.stderr
    with pytest.raises(SystemExit, match="lm-eval"):
        runpy.run_module("mdm_sampling.evaluation", run_name="__main__")
