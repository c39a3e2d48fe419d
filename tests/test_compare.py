"""Comparisons: what is decoded, kept, resumed and refused, and the statistics against independent figures."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

import mdm_sampling as mdm
from mdm_sampling.cli import main
from mdm_sampling.compare import Setting, compare, grid
from mdm_sampling.compare.plots import pareto
from mdm_sampling.compare.statistics import bootstrap, difference, measure, wilson
from mdm_sampling.compare.store import Store

TASK = mdm.Sudoku(holes="3-5")


@pytest.fixture(scope="module")
def base() -> mdm.Sampler:
    return mdm.load()


def without_times(lines: Any) -> list[dict[str, Any]]:
    kept = [{name: value for name, value in line.items() if name not in ("seconds", "batch_size")} for line in lines]
    return sorted(kept, key=lambda line: (line["planner"], line["tokens_per_step"], line["item"], line["seed"]))


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


# --- What is decoded ----------------------------------------------------------------------------------------------


def test_a_line_says_what_the_sampler_does_alone(base: mdm.Sampler) -> None:
    """Decoded here one by one through `Sampler.fill`, with the line's own spec and seed."""
    found = compare(base, TASK, grid(["confidence", "info-gain"], tokens_per_step=[2]), items=4, seeds=[0, 5])
    assert len(found.lines) == 2 * 4 * 2
    for line in found.lines:
        item = next(item for item in TASK.items(4, 0) if item.name == line["item"])
        sampler = mdm.from_spec(line["spec"], base.backend)
        assert mdm.describe(sampler.planner) == line["planner"]
        result = sampler.fill(base.masked_rows([item.body or ""]), line["row_seed"])
        assert result.texts[0] == line["text"]
        assert TASK.grade(item, line["text"]).score == line["score"]
        assert result.rows[0].forwards == line["forwards"]
        assert result.rows[0].cumulative_entropy == pytest.approx(line["cumulative_entropy"], abs=1e-5)
        assert line["tokens"] == item.name.count("0")
        assert line["steps"] == math.ceil(line["tokens"] / 2)
        assert line["machine"]["torch"] == torch.__version__


def test_the_order_holds_the_step_of_each_place(base: mdm.Sampler) -> None:
    (line,) = compare(base, TASK, grid(["left-to-right"], tokens_per_step=[2]), items=1).lines
    cells = [line["order"][5 * r + c] for r in range(4) for c in range(4)]
    holes = [step for cell, step in zip(line["item"], cells, strict=True) if cell == "0"]
    assert holes == [i // 2 for i in range(len(holes))]
    assert [line["order"][place] for place in (4, 9, 14)] == [-1] * 3
    assert all(step == -1 for cell, step in zip(line["item"], cells, strict=True) if cell != "0")


def test_items_have_seeds_of_their_own_and_settings_share_them(base: mdm.Sampler) -> None:
    lines = compare(base, TASK, grid(["random", "confidence"], tokens_per_step=[1]), items=6, seeds=[0, 1]).lines
    seeds = {(line["item"], line["seed"]): set() for line in lines}
    for line in lines:
        seeds[line["item"], line["seed"]].add(line["row_seed"])
    assert all(len(shared) == 1 for shared in seeds.values())
    assert len(set.union(*seeds.values())) == 12


@settings(max_examples=5)
@given(batch_size=st.integers(1, 9))
def test_the_batch_size_changes_nothing(base: mdm.Sampler, batch_size: int) -> None:
    wanted = grid(["random", "info-gain"], tokens_per_step=[2])
    one, other = (compare(base, TASK, wanted, items=5, seeds=[0, 1], batch_size=n).lines for n in (1, batch_size))
    for a, b in zip(without_times(one), without_times(other), strict=True):
        assert a.pop("cumulative_entropy") == pytest.approx(b.pop("cumulative_entropy"), abs=1e-5)
        for line in (a, b):  # a row that has no choice left rides along with those that have
            del line["forwards"], line["token_forwards"]
        assert a == b


def test_blocks_caches_and_prompts(base: mdm.Sampler) -> None:
    wanted = grid(["confidence"], caches=["none", "dual"], tokens_per_step=[4], block_lengths=[5, None])
    found = compare(base, mdm.Sudoku(form="prompt"), wanted, items=3)
    assert [s.key for s in found.settings] == [s.key for s in wanted]
    assert {(line["cache"], line["block_length"]) for line in found.lines} == {
        (cache, block) for cache in ("none", "dual") for block in (5, None)
    }
    assert all(line["tokens"] == 20 for line in found.lines)
    assert all(line["steps"] == (8 if line["block_length"] else 5) for line in found.lines)


def test_a_planner_that_is_not_registered_can_be_compared(base: mdm.Sampler) -> None:
    class Mine(mdm.ScorePlanner):
        def score(self, step: mdm.Step) -> torch.Tensor:
            return step.confidence

        def __repr__(self) -> str:
            return "Mine()"

    found = compare(base, TASK, grid([Mine(), "confidence"], tokens_per_step=[2]), items=3)
    mine, theirs = ([line["text"] for line in found.lines if line["planner"] == n] for n in ("Mine()", "confidence"))
    assert mine == theirs
    assert len(mine) == 3


def test_a_grid_is_every_combination_once() -> None:
    settings = grid(["confidence", "margin", "confidence"], caches=["none", "prefix"], tokens_per_step=[1, 2, 1])
    assert len(settings) == len(set(settings)) == 8
    assert settings[0] == Setting(mdm.Confidence(), mdm.NoCache(), 1, None)
    for wrong in ({"planners": []}, {"planners": ["random"], "tokens_per_step": [0]}, {"planners": ["greedy"]}):
        with pytest.raises(mdm.SpecError):
            grid(**wrong)  # type: ignore[arg-type]


# --- What is kept -------------------------------------------------------------------------------------------------


class Stop(Exception):
    """Stands for a crash."""


def crash_after(rows: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done >= rows:
            raise Stop

    return progress


@pytest.mark.parametrize("tear", [0, 1, 40], ids=lambda n: f"{n} bytes torn off")
def test_a_comparison_goes_on_where_it_was_cut_off(base: mdm.Sampler, tear: int, tmp_path: Path) -> None:
    wanted = grid(["confidence", "info-gain"], tokens_per_step=[2])
    whole = compare(base, TASK, wanted, items=5, batch_size=2)
    with pytest.raises(Stop):
        compare(base, TASK, wanted, items=5, batch_size=2, folder=tmp_path, progress=crash_after(6))
    file = tmp_path / "results.jsonl"
    kept = file.read_bytes().splitlines()
    assert len(kept) == 7 if tear == 0 else 6
    file.write_bytes(file.read_bytes()[: -tear or None])
    seen: list[tuple[int, int]] = []
    again = compare(base, TASK, wanted, items=5, batch_size=2, folder=tmp_path, progress=lambda *n: seen.append(n))
    assert seen[0] == (len(kept) - bool(tear), 10)
    assert file.read_bytes().splitlines()[: len(kept) - bool(tear)] == kept[: len(kept) - bool(tear)], "done twice"
    assert len(file.read_text().splitlines()) == 10
    for a, b in zip(without_times(again.lines), without_times(whole.lines), strict=True):
        assert a.pop("cumulative_entropy") == pytest.approx(b.pop("cumulative_entropy"), abs=1e-5)
        for line in (a, b):
            del line["forwards"], line["token_forwards"]
        assert a == b


def test_a_folder_takes_more_settings_seeds_and_items(base: mdm.Sampler, tmp_path: Path) -> None:
    decoded: list[int] = []

    def count(done: int, total: int) -> None:
        decoded.append(done)

    def rows(**options: Any) -> int:
        decoded.clear()
        planners = options.pop("planners", ["confidence"])
        found = compare(base, TASK, grid(planners, tokens_per_step=[2]), folder=tmp_path, progress=count, **options)
        assert len(found.lines) == decoded[-1]
        return decoded[-1] - decoded[0]

    assert rows(items=3) == 3
    assert rows(items=3) == 0
    assert rows(items=5) == 2
    assert rows(items=5, seeds=[0, 1]) == 5
    assert rows(items=2, planners=["margin", "confidence"]) == 2
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 12


@pytest.mark.parametrize(
    ("task", "options", "word"),
    [
        (mdm.Sudoku(holes="4"), {}, "holes=3-5"),
        (TASK, {"item_seed": 1}, "item_seed 0, not 1"),
        (mdm.Countdown(), {}, "task"),
    ],
)
def test_another_question_is_refused_and_nothing_is_lost(
    base: mdm.Sampler, task: mdm.Task, options: dict[str, Any], word: str, tmp_path: Path
) -> None:
    wanted = grid(["confidence"], tokens_per_step=[2])
    compare(base, TASK, wanted, items=2, folder=tmp_path)
    before = (tmp_path / "results.jsonl").read_bytes()
    with pytest.raises(mdm.SpecError, match=word):
        compare(base, task, wanted, items=2, folder=tmp_path, **options)
    assert (tmp_path / "results.jsonl").read_bytes() == before
    compare(base, TASK, wanted, items=2, folder=tmp_path)


def test_a_folder_is_open_to_one_process_at_a_time(tmp_path: Path) -> None:
    with Store(tmp_path, {}), pytest.raises(mdm.SpecError, match="another process is writing"):
        Store(tmp_path, {})
    with Store(tmp_path, {}):
        pass


@pytest.mark.parametrize("text", ["{\n{}\n", "5\n", "[]\n", '{"item": "a"}\n{}\n'])
@pytest.mark.parametrize("file", ["compare.json", "results.jsonl"])
def test_a_damaged_folder_is_refused(file: str, text: str, tmp_path: Path) -> None:
    with Store(tmp_path, {"a": 1}):
        pass
    (tmp_path / file).write_text(text)
    for _ in range(2):  # the lock is not left behind
        with pytest.raises(mdm.SpecError, match=f"{file} is damaged"):
            Store(tmp_path, {"a": 1})


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(mdm.SpecError, match="cannot be a results folder"):
        Store(tmp_path / "file" / "folder", {})


def question_file(folder: Path, answer: str, prompt: str = "1") -> str:
    file = folder / "questions.jsonl"
    file.write_text(json.dumps({"prompt": prompt, "answer": answer}) + "\n")
    return str(file)


def test_an_item_that_was_edited_is_decoded_anew(base: mdm.Sampler, tmp_path: Path) -> None:
    wanted = grid(["confidence"], tokens_per_step=[4])
    seen = []
    for answer in ("2", "2", "3"):
        task = mdm.JSONLines(question_file(tmp_path, answer), length=4)
        compare(base, task, wanted, folder=tmp_path / "out", progress=lambda *n: seen.append(n))
    assert seen == [(0, 1), (1, 1), (1, 1), (0, 1), (1, 1)]


def test_other_weights_are_another_question(base: mdm.Sampler, llada_folder: Path, tmp_path: Path) -> None:
    """The same name, other weights: as after a checkpoint was trained further in place."""
    wanted = grid(["confidence"], tokens_per_step=[4])
    compare(base, TASK, wanted, items=1, folder=tmp_path)
    other = mdm.load_backend()
    with torch.no_grad():
        other.model.model.norm.weight.mul_(1.01)  # type: ignore[attr-defined]
    with pytest.raises(mdm.SpecError, match="weights"):
        compare(replace(base, backend=other), TASK, wanted, items=1, folder=tmp_path)
    compare(replace(base, backend=mdm.load_backend()), TASK, wanted, items=1, folder=tmp_path)


def test_what_could_not_be_told_apart_later_is_refused(base: mdm.Sampler, tmp_path: Path) -> None:
    class Nameless(mdm.ScorePlanner):
        def score(self, step: mdm.Step) -> torch.Tensor:
            return step.confidence

    with pytest.raises(mdm.SpecError, match="needs a __repr__"):
        compare(base, TASK, grid([Nameless()]), items=1, folder=tmp_path)
    with Store(tmp_path / "a", {"a": 1}) as store:
        store.add([dict.fromkeys(("item", "digest", "seed", "planner", "cache", "tokens_per_step", "block_length"))])
    (tmp_path / "a" / "compare.json").unlink()
    with pytest.raises(mdm.SpecError, match=r"without the compare\.json"):
        Store(tmp_path / "a", {"a": 1})


def test_any_text_survives_the_folder(tmp_path: Path) -> None:
    """Line ends of Unicode stand inside a line; published readers split there."""
    line = dict.fromkeys(("item", "digest", "seed", "planner", "cache", "tokens_per_step", "block_length"), "x")
    lines = [line | {"text": text} for text in ("a\u2028b", "a\u0085b\x0b", "a\r\nb", '"\\ \u00e9')]
    with Store(tmp_path, {}) as store:
        store.add(lines)
    with Store(tmp_path, {}) as store:
        assert store.lines == lines


@dataclass(frozen=True)
class Odd(mdm.Task):
    """Two items, as told."""

    names: tuple[str, str] = ("a", "b")
    score: float = 1.0

    def items(self, count: int | None, seed: int) -> list[mdm.Item]:
        return [mdm.Item(name, "", "1[MASK]") for name in self.names]

    def grade(self, item: mdm.Item, text: str) -> mdm.Grade:
        return mdm.Grade(text, self.score)


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        (Odd(("a", "a")), {}, "2 items the name 'a'"),
        (Odd(score=1.5), {}, "a score of 1.5, expected 0 to 1"),
        (Odd(score=math.nan), {}, "a score of nan"),
        (Odd(), {"seeds": []}, "a setting and a seed"),
        (Odd(), {"batch_size": 0}, "at least 1"),
        (Odd(), {"items": -1}, "at least 1"),
    ],
)
def test_bad_arguments_are_refused(base: mdm.Sampler, task: mdm.Task, options: dict[str, Any], message: str) -> None:
    with pytest.raises(mdm.SpecError, match=message):
        compare(base, task, grid(["confidence"]), **options)


def test_a_seed_that_is_given_twice_counts_once(base: mdm.Sampler) -> None:
    assert len(compare(base, Odd(), grid(["confidence"], tokens_per_step=[1]), seeds=[0, 0]).lines) == 2


# --- Statistics ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),  # Wilson's interval as published tables give it
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)],
)
def test_wilson(right: int, total: int, low: float, high: float) -> None:
    interval = wilson(torch.tensor([1.0] * right + [0.0] * (total - right)))
    assert interval.mean == pytest.approx(right / total)
    assert interval.low == pytest.approx(low, abs=1e-4)
    assert interval.high == pytest.approx(high, abs=1e-4)


def test_seeds_of_an_item_are_no_independent_data() -> None:
    """Five seeds that always agree leave the interval of one; five that are independent narrow it like more items."""
    generator = torch.Generator().manual_seed(0)
    agreeing = (torch.rand(400, generator=generator) < 0.7).double()
    independent = (torch.rand(400, 5, generator=generator) < 0.7).double().mean(1)

    def width(scores: torch.Tensor, seeds: int) -> float:
        interval = wilson(scores, seeds)
        return interval.high - interval.low

    assert width(agreeing, 5) == pytest.approx(width(agreeing, 1), rel=0.01)
    assert width(independent, 5) == pytest.approx(width(agreeing, 1) / math.sqrt(5), rel=0.1)


def test_the_bootstrap_agrees_with_the_normal_interval_and_is_paired() -> None:
    generator = torch.Generator().manual_seed(1)
    a = torch.randn(300, generator=generator).double() + 1
    b = a - 0.2 + 0.1 * torch.randn(300, generator=generator).double()
    single, paired = bootstrap(lambda mean: mean, a), bootstrap(difference, a, b)
    for interval, values in ((single, a), (paired, a - b)):
        half = 1.96 * float(values.std()) / math.sqrt(300)
        assert interval.mean == pytest.approx(float(values.mean()), abs=1e-6)
        assert interval.low == pytest.approx(float(values.mean()) - half, abs=0.15 * half)
        assert interval.high == pytest.approx(float(values.mean()) + half, abs=0.15 * half)
    assert paired.high - paired.low < (single.high - single.low) / 3
    assert bootstrap(difference, a, b) == paired, "the resamples are fixed"


def test_intervals_cover_as_often_as_they_say() -> None:
    """Of 1,000 experiments with 60 items and 3 correlated seeds, about 95% hold the truth."""
    generator = torch.Generator().manual_seed(0)
    held = 0
    for _ in range(1000):
        skill = torch.rand(60, 1, generator=generator).double()
        scores = (torch.rand(60, 3, generator=generator) < skill).double().mean(1)
        interval = wilson(scores, 3)
        held += interval.low <= 0.5 <= interval.high
    assert 930 <= held <= 970


def lines_of(planner: str, scores: list[float], entropy: float) -> list[dict[str, Any]]:
    key = Setting(mdm.build("planners", planner), mdm.NoCache(), 2, None).key
    costs = {"forwards": 4, "token_forwards": 40, "seconds": 0.5, "tokens": 8}
    return [
        {"item": str(i), "seed": 0, "score": score, "cumulative_entropy": entropy, **key, **costs}
        for i, score in enumerate(scores)
    ]


def test_gains_are_against_the_best_greedy_planner_of_the_same_setting() -> None:
    wanted = grid(["random", "confidence", "margin", "info-gain"], tokens_per_step=[2])
    lines = [
        *lines_of("random", [1, 1, 1, 1], 9.0),
        *lines_of("confidence", [1, 1, 0, 0], 3.0),
        *lines_of("margin", [1, 0, 0, 0], 2.0),
        *lines_of("info-gain", [1, 1, 1, 0], 1.0),
    ]
    from mdm_sampling.compare.statistics import summarise

    random, confidence, margin, ours = summarise(wanted, lines)
    assert random.gain is not None
    assert random.gain.mean == 0.5
    assert confidence.gain is None, "it is the best itself"
    assert margin.gain is not None
    assert margin.gain.mean == -0.25
    assert ours.gain is not None
    assert ours.gain.mean == 0.25
    assert (margin.entropy_change, ours.entropy_change and ours.entropy_change.mean) == (None, -0.5)
    assert ours.tokens_per_second == 16
    (alone,) = summarise(wanted[3:], lines)
    assert alone.gain is None


def test_an_items_seeds_are_averaged_whatever_the_order_of_the_lines() -> None:
    (setting,) = grid(["random"], tokens_per_step=[2])
    lines = lines_of("random", [1, 0], 1.0) + [line | {"seed": 1} for line in lines_of("random", [0, 0], 3.0)]
    for order in (lines, lines[::-1]):
        measured = measure(setting, order)
        assert measured["score"].tolist() == [0.5, 0]
        assert measured["cumulative_entropy"].tolist() == [2, 2]
        assert measured.seeds == 2


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=12))
def test_the_pareto_front_is_what_nobody_beats(points: list[tuple[float, float]]) -> None:
    front = pareto(points)
    beaten = {p for p in points for q in points if q != p and q[0] <= p[0] and q[1] >= p[1]}
    assert set(front) == set(points) - beaten
    assert front == sorted(front)


# --- The command --------------------------------------------------------------------------------------------------

QUICK = ("--items", "3", "--task", "sudoku:holes=4", "-k", "2", "--no-plots")


def test_the_command_prints_the_table_and_writes_the_report(tmp_path: Path) -> None:
    done = run(*QUICK, "--out", tmp_path)
    assert done.exit_code == 0, done.stderr
    rows = [line.split()[:2] for line in done.stdout.splitlines() if line.strip().startswith("2  ")]
    assert [row[1] for row in rows] == ["random", "confidence", "margin", "entropy", "info-gain"]
    report = (tmp_path / "report.md").read_text()
    assert "| 2 | info-gain |" in report
    assert "3 items (item seed 0), run seeds 0" in report
    assert "torch 2" in report
    assert "![" not in report
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert len(lines) == 15
    for line in lines:
        assert mdm.from_spec(line["spec"]).steps > 0


def test_plots_are_drawn(tmp_path: Path) -> None:
    done = run(*QUICK[:-1], "-k", "3", "--cache", "none", "--cache", "prefix", "--out", tmp_path, "--plots")
    assert done.exit_code == 0, done.stderr
    for name in ("accuracy-entropy", "accuracy-cost", "order"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (tmp_path / f"{name}.svg").read_text()
        assert f"({name}.png)" in (tmp_path / "report.md").read_text()


def test_plots_without_matplotlib_are_a_hint_or_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = run(*QUICK[:-1], "--planner", "random", "--out", tmp_path / "a")
    assert done.exit_code == 0
    assert 'pip install "mdm-sampling[plot]"' in done.stderr
    asked = run(*QUICK[:-1], "--plots", "--out", tmp_path / "b")
    assert asked.exit_code == 2
    assert not (tmp_path / "b").exists()


def test_a_toml_file_gives_the_options_and_the_command_line_comes_first(tmp_path: Path) -> None:
    config = tmp_path / "grid.toml"
    config.write_text(
        'task = "sudoku:holes=4"\nitems = 2\nplanner = ["info-gain", "confidence"]\ntokens-per-step = 2\n'
        "candidate_number = [2, 3]\nseed = [0, 1]\nplots = false\n"
    )
    done = run("--config", config, "--out", tmp_path / "a", "--items", "3")
    assert done.exit_code == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "a" / "results.jsonl").read_text().splitlines()]
    assert len(lines) == 3 * 3 * 2
    assert {line["planner"] for line in lines} == {"info-gain:candidates=2", "info-gain:candidates=3", "confidence"}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("planer = 1", "no option 'planer'"),
        ("a = ", "no TOML file"),
        ("items = [1, 2]", "items takes one value"),
        ("[items]\na = 1", "items takes one value"),
        ("items = 1.9", "'1.9' is not a valid integer"),
        ("items = true", "items takes one value"),
        ("items = 2020-01-01", "items takes one value"),
        ("seed = [[1]]", "seed takes one value"),
        ("seed = []", "seed takes at least one value"),
        ("plots = 1", "plots is true or false"),
        ('items = "many"', "'many' is not a valid integer"),
        ("config = 'x'", "no option 'config'"),
    ],
)
def test_a_bad_toml_file_is_refused(text: str, word: str, tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text(text)
    done = run("--config", tmp_path / "grid.toml", "--out", tmp_path / "a")
    assert done.exit_code == 2
    assert word in done.stderr
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--task", "sudoko"], 2, ["--task", "did you mean 'sudoku'"]),
        (["--task", "sudoku:5"], 2, ["--task", "size"]),
        (["--planner", "confidance"], 2, ["--planner", "did you mean 'confidence'"]),
        (["--planner", "margin", "--candidate-number", "4"], 2, ["--candidate-number would be ignored"]),
        (["--planner", "margin", "--position-temperature", "1"], 2, ["--position-temperature would be ignored"]),
        (["--cache", "big"], 2, ["--cache", "unknown name 'big'"]),
        (["-k", "0"], 2, ["0 is not in the range"]),
        (["--planner", "margin", "--lookahead-batch", "2"], 2, ["--lookahead-batch would be ignored"]),
        (
            ["--planner", "info-gain:2", "--candidate-number", "4", "--position-temperature", "0.5"],
            2,
            ["--candidate-number would be ignored"],
        ),
        (["--max-new-tokens", "9"], 2, ["--max-new-tokens would be ignored", "filled in"]),
        (["--task", "jsonl:a.jsonl,length=0"], 2, ["length must be at least 1"]),
        (["--out", ""], 2, ["--out needs a folder of its own"]),
        (["--top-k", "3"], 2, ["--top-k would be ignored"]),
        (["--task", "countdown", "--max-new-tokens", "9"], 2, ["--max-new-tokens would be ignored", "16 places"]),
        (["--task", "sudoku:9,form=instruct"], 1, ["360 new tokens exceed the model's context of 256"]),
        (["--task", "sudoku:file=none.csv"], 1, ["none.csv cannot be read"]),
        (["--task", "jsonl:none.jsonl"], 1, ["none.jsonl cannot be read"]),
        (["--model", "/no/such/model"], 1, ["/no/such/model"]),
        (["--config", "none.toml"], 2, ["none.toml", "does not exist"]),
        (["extra"], 2, ["unexpected extra argument"]),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(
    options: list[str], code: int, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("--items", "2", "--no-plots", *options)
    assert done.exit_code == code, done.output
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    assert not list(tmp_path.rglob("results.jsonl"))


def test_ctrl_c_keeps_what_was_decoded(tmp_path: Path) -> None:
    """A real SIGINT in the middle; the same command then goes on, and the table is whole."""
    script = str(Path(sys.executable).with_name("mdm-sampling"))
    command = [
        script,
        "compare",
        "--task",
        "sudoku",
        "--items",
        "40",
        "--batch-size",
        "2",
        "-k",
        "1",
        "--no-plots",
        "--out",
        str(tmp_path),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    file = tmp_path / "results.jsonl"
    deadline = time.monotonic() + 120
    while not (file.exists() and file.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "the same command goes on from there" in err
    assert "Traceback" not in err
    assert out == ""
    kept = file.read_text().splitlines()
    assert 0 < len(kept) < 200
    done = run(*command[2:])
    assert done.exit_code == 0, done.stderr
    assert f"{len(kept)} of 200 rows were done before" in done.stderr
    assert file.read_text().splitlines()[: len(kept)] == kept
    assert len(file.read_text().splitlines()) == 200


def test_the_default_folder_is_named_after_task_and_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*QUICK, "--planner", "random").exit_code == 0
    assert (tmp_path / "compare" / "sudoku-holes-4-embedded" / "report.md").exists()


@pytest.mark.parametrize("family", ["llada_folder", "dream_folder"])
@pytest.mark.parametrize("cache", ["none", "prefix", "dual"])
def test_both_families_are_compared_on_a_file_of_questions(
    family: str, cache: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder: Path = request.getfixturevalue(family)
    base = replace(mdm.load(str(folder)), gen_length=6)
    word = base.backend.codec.decode([5]).strip() or "a"  # type: ignore[union-attr]
    lines = [{"prompt": word * n, "answer": "x"} for n in (1, 3, 2)]
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    task = mdm.JSONLines(str(file), match="regex", length=5)
    found = compare(base, task, grid(["margin", "info-gain:2"], caches=[cache], tokens_per_step=[2]), chat=False)
    assert len(found.lines) == 6
    assert all(line["tokens"] == 5 and line["steps"] == 3 for line in found.lines)
    assert sum(line.startswith("| 2 |") for line in found.markdown().splitlines()) == 2
