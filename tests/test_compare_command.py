"""`mdm-sampling compare`: what it prints, writes and refuses."""

import json
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from compared import TASK, run_compare
from extras import needs
from faults import fill_but
from interrupts import interruptible, wait_for_lines
from rich.console import Console

import mdm_sampling as mdm
from mdm_sampling.compare import Comparison, compare, grid
from mdm_sampling.compare.table import LEAST_TELLING, cells, rich_curves, rich_table
from mdm_sampling.folders.read import read_folder

QUICK = ("--items", "3", "--task", "sudoku:holes=4", "-k", "2", "--no-plots")


def test_the_command_prints_the_table_and_writes_the_report(tmp_path: Path) -> None:
    done = run_compare(*QUICK, "--out", tmp_path)
    assert done.exit_code == 0, done.stderr
    rows = [line.split()[:2] for line in done.stdout.splitlines() if line.strip().startswith("2  ")]
    assert [row[1] for row in rows] == ["random", "confidence", "margin", "entropy", "info-gain"]
    adaptive = [line.split()[1] for line in done.stdout.splitlines() if line.strip().startswith("own  ")]
    bounded = ["bounded-chain", "bounded-chain:slack=0.4", "bounded-chain:slack=0.8"]
    assert adaptive == ["eb:gamma=0.02", "eb", "eb:gamma=0.5", *bounded]
    assert [line for line in done.stdout.splitlines() if re.match(r" *eb +3 +\d+ \[", line)]
    assert len(json.loads((tmp_path / "summaries.json").read_text())["settings"]) == 11
    report = (tmp_path / "report.md").read_text()
    assert "| 2 | info-gain |" in report
    assert "3 items (item seed 0), run seeds 0" in report
    assert "torch 2" in report
    assert "![" not in report
    lines = read_folder(tmp_path).lines
    assert len(lines) == 11 * 3
    for line in lines:
        assert mdm.from_spec(line["spec"]).steps > 0


PLANNERS = ["confidence", "info-gain", "eb:gamma=0.02", "speculate:(eb:gamma=0.02),drafts=4"]


@pytest.fixture(scope="module")
def found(base: mdm.Sampler) -> Comparison:
    settings = grid(PLANNERS, tokens_per_step=[1, 2], caches=["none", "dual"], block_sizes=[10])
    return compare(base, TASK, settings, items=3)


def printed(table: Any) -> list[str]:
    console = Console(width=400)
    with console.capture() as captured:
        console.print(table)
    return [line.rstrip() for line in captured.get().splitlines()]


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (None, ["seq-forwards", "TPF", "row-forwards", "token-forwards", "ms/item", "tokens/s", "vs lowest greedy"]),
        (200, ["seq-forwards", "TPF", "row-forwards", "token-forwards", "entropy", "vs best greedy"]),
        (120, ["seq-forwards", "TPF", "row-forwards"]),
        (80, ["seq-forwards"]),
        (60, ["seq-forwards"]),
    ],
)
def test_the_table_fits_the_terminal(found: Comparison, width: int | None, shown: list[str]) -> None:
    """What says least is left out first, then the middles of long names, and nothing where there is no terminal."""
    table, missing = rich_table(found.summaries, width)
    lines = printed(table)
    assert width is None or max(map(len, lines)) <= width
    assert missing == [heading for heading in LEAST_TELLING if heading not in lines[1]]
    assert missing == list(LEAST_TELLING[: len(missing)])
    for heading in ("K", "planner", "accuracy", *shown):
        assert heading in lines[1]
    rows = [line for line in lines[3:] if line.strip()]
    assert len(rows) == len(found.settings)
    assert all(any(name in row for row in rows) for name in ("confidence", "info-gain", "0.02", "=4"))
    assert max(map(len, printed(rich_curves(found.curves, width)))) <= (width or 400)


def test_stars_are_on_the_front(found: Comparison) -> None:
    """Read off the table that is printed: a star for what no other setting beats."""
    headings, lines = cells(found.summaries)
    for heading in ("seq-forwards", "row-forwards"):
        column = headings.index(heading)
        costs = [s.sequential_forwards.mean if heading == "seq-forwards" else s.forwards for s in found.summaries]
        right = [s.accuracy.mean for s in found.summaries]
        beaten = [
            any(
                c <= costs[i] and r >= right[i] and (c, r) != (costs[i], right[i])
                for c, r in zip(costs, right, strict=True)
            )
            for i in range(len(costs))
        ]
        assert [line[column].endswith("*") for line in lines] == [not each for each in beaten]


def test_the_numbers_of_the_report_are_json(found: Comparison) -> None:
    told = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert len(told["settings"]) == len(found.settings) == 12
    for setting, summary in zip(told["settings"], found.summaries, strict=True):
        mine = summary.setting.lines(found.lines)
        mean = sum(line["sequential_forwards"] for line in mine) / len(mine)
        assert setting["sequential_forwards"]["mean"] == pytest.approx(mean)
        filled = sum(line["filled"] for line in mine) / len(mine)
        assert setting["tokens_per_forward"]["mean"] == pytest.approx(filled / mean)
        assert setting["tokens_per_forward"]["low"] <= filled / mean * 1.00001
        assert setting["planner"] == summary.setting.key["planner"]
    assert {curve["family"] for curve in told["curves"]} == {"confidence", "info-gain", "eb", "speculate:planner=(eb)"}
    assert sum(curve["points"] for curve in told["curves"]) == 12
    assert {name for setting in told["settings"] for name in setting["fronts"]} == {"seq-forwards", "row-forwards"}


def test_a_comparison_is_described_in_a_line_and_a_notebook_shows_its_report(base: mdm.Sampler) -> None:
    found = compare(base, TASK, grid(["confidence"], tokens_per_step=[2]), items=2)
    assert repr(found) == f"Comparison({found.manifest['task']}, 1 settings, 2 lines)"
    assert found._repr_markdown_() == found.markdown()


def test_plots_are_drawn(tmp_path: Path) -> None:
    done = run_compare(*QUICK[:-1], "-k", "3", "--cache", "none", "--cache", "prefix", "--out", tmp_path, "--plots")
    assert done.exit_code == 0, done.stderr
    for name in ("accuracy-sequential", "accuracy-rows", "accuracy-entropy", "order"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (tmp_path / f"{name}.svg").read_text()
        assert f"({name}.png)" in (tmp_path / "report.md").read_text()


def test_plots_without_matplotlib_are_a_hint_or_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = run_compare(*QUICK[:-1], "--planner", "random", "--out", tmp_path / "a")
    assert done.exit_code == 0
    assert 'pip install "mdm-sampling[plot]"' in done.stderr
    asked = run_compare(*QUICK[:-1], "--plots", "--out", tmp_path / "b")
    assert asked.exit_code == 2
    assert not (tmp_path / "b").exists()


def test_a_toml_file_gives_the_options_and_the_command_line_comes_first(tmp_path: Path) -> None:
    config = tmp_path / "grid.toml"
    config.write_text(
        'task = "sudoku:holes=4"\nitems = 2\nplanner = ["info-gain:2", "info-gain:3", "confidence"]\n'
        'tokens-per-step = 2\nseed = [0, 1]\nplots = false\nengine = "local"\nbatch_size = "auto"\n'
    )
    done = run_compare("--config", config, "--out", tmp_path / "a", "--items", "3")
    assert done.exit_code == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "a" / "results.jsonl").read_text().splitlines()]
    assert len(lines) == 3 * 3 * 2
    assert {line["batch_size"] for line in lines} == {6}
    assert {line["planner"] for line in lines} == {"info-gain:candidates=2", "info-gain:candidates=3", "confidence"}
    other = run_compare("--config", config, "--out", tmp_path / "b", "--items", "1", "--planner", "eb")
    assert other.exit_code == 0, "the file's tokens a step are for other planners"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("planer = 1", "no option 'planer'"),
        ("a = ", "not a TOML file"),
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
    done = run_compare("--config", tmp_path / "grid.toml", "--out", tmp_path / "a")
    assert done.exit_code == 2
    assert word in done.stderr
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--task", "sudoko"], 2, ["--task", "did you mean 'sudoku'"]),
        (["--task", "sudoku:5"], 2, ["--task", "size"]),
        (["--planner", "confidance"], 2, ["--planner", "did you mean 'confidence'"]),
        (["--candidate-number", "4"], 2, ["--planner info-gain:candidates="]),
        (["--position-temperature", "1"], 2, ["--planner info-gain:position_temperature="]),
        (["--cache", "big"], 2, ["--cache", "unknown name 'big'"]),
        (["-k", "0"], 2, ["0 is not in the range"]),
        (["-k", "2", "--planner", "eb", "--planner", "factor"], 2, ["--tokens-per-step would be ignored", "choose"]),
        (["--planner", "margin", "--lookahead-batch", "2"], 2, ["--lookahead-batch would be ignored"]),
        (["--max-new-tokens", "9"], 2, ["--max-new-tokens would be ignored", "filled in"]),
        (["--task", "jsonl:a.jsonl,length=0"], 2, ["length must be at least 1"]),
        (["--out", ""], 2, ["--out needs a folder of its own"]),
        (["--top-k", "3"], 2, ["--top-k would be ignored"]),
        (["--task", "countdown", "--max-new-tokens", "9"], 2, ["--max-new-tokens would be ignored", "16 positions"]),
        (["--task", "sudoku:9,form=instruct"], 1, ["360 new tokens exceed the model's context of 256"]),
        (["--task", "sudoku:file=none.csv"], 1, ["none.csv cannot be read"]),
        (["--task", "jsonl:none.jsonl"], 1, ["none.jsonl cannot be read"]),
        (["--model", "/no/such/model"], 1, ["/no/such/model"]),
        (["--workers", "2"], 2, ["--workers would be ignored without --engine ray"]),
        (["--engine", "slurm"], 2, ["'slurm' is not one of 'local', 'ray'"]),
        (["--batch-size", "0"], 2, ["0 is not in the range"]),
        (["--config", "none.toml"], 2, ["none.toml", "does not exist"]),
        (["extra"], 2, ["unexpected extra argument"]),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(
    options: list[str], code: int, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_compare("--items", "2", "--no-plots", *options)
    assert done.exit_code == code, done.output
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    assert not list(tmp_path.rglob("results.jsonl"))


@needs("a minute")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL], ids=lambda stop: stop.name)
def test_a_comparison_that_is_stopped_goes_on(
    stop: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real signal in the middle; the same command then decodes what is missing, and all lines are as of one run."""
    command = ["compare", "--task", "sudoku", "--items", "24", "--batch-size", "2", "-k", "1", "--no-plots"]
    command += ["--planner", "confidence", "--planner", "margin", "--out"]
    process = interruptible([sys.executable, "-m", "mdm_sampling", *command, str(tmp_path / "cut")])
    wait_for_lines(tmp_path / "cut")
    process.send_signal(stop)
    out, err = process.communicate(timeout=60)
    assert out == ""
    assert "Traceback" not in err
    assert process.returncode == (130 if stop == signal.SIGINT else -stop)
    assert ("the same command goes on from there" in err) == (stop == signal.SIGINT)
    kept = (tmp_path / "cut" / "results.jsonl").read_bytes()
    rows = kept.count(b"\n")
    assert 0 < rows < 48
    sizes = fill_but(monkeypatch, lambda rows: None)
    done = run_compare(*command[1:], tmp_path / "cut")
    assert done.exit_code == 0, done.stderr
    assert f"{rows} of 48 rows were done before" in done.stderr
    assert sum(sizes) == 1 + 48 - rows  # one warms the model up
    assert (tmp_path / "cut" / "results.jsonl").read_bytes().startswith(kept)
    assert run_compare(*command[1:], tmp_path / "whole").exit_code == 0
    cut, whole = ([line | {"seconds": 0} for line in read_folder(tmp_path / name).lines] for name in ("cut", "whole"))
    assert cut == whole


def test_the_default_folder_is_named_after_task_and_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_compare(*QUICK, "--planner", "random").exit_code == 0
    assert (tmp_path / "compare" / "sudoku-holes-4-embedded" / "report.md").exists()


@pytest.mark.parametrize(
    ("options", "notes"),
    [
        (["--cache", "none", "--cache", "prefix", "--cache", "dual"], ["prefix and dual"]),
        (["--cache", "prefix", "--cache", "dual", "--block-size", "16"], ["prefix and dual"]),
        (["--cache", "prefix", "--cache", "dual", "--block-size", "8"], []),
        (["--cache", "refresh:every=4,otherwise=(prefix)", "--cache", "refresh:every=4,otherwise=(dual)"], ["refresh"]),
        (["--cache", "refresh:every=4,otherwise=(dual)", "--cache", "dual"], []),
        (["--cache", "none", "--cache", "dual"], []),
    ],
)
def test_caches_that_do_the_same_in_one_block_are_noted(
    options: list[str], notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On stderr, before anything is decoded."""
    monkeypatch.setattr("mdm_sampling.cli.compare.make_sampler", None)
    done = run_compare("--task", "countdown", "--planner", "margin", "-k", "2", "--no-plots", *options)
    assert done.stderr.count("Note: the caches") == len(notes), done.stderr
    assert all(note in done.stderr for note in notes)
