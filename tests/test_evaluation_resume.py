"""An evaluation goes on where it was cut off, halves batches that do not fit, and is the same from Python."""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from evaluated import evaluate as evaluate_command
from evaluated import go_offline, write_task, written
from extras import needs
from faults import fill_but
from interrupts import interruptible, wait_for_lines

import mdm_sampling as mdm
from mdm_sampling.evaluation import Evaluation, HarnessTasks, evaluate, load_tasks
from mdm_sampling.folders.read import read_folder

pytest.importorskip("lm_eval", reason="needs the extra `lm-eval`")

_offline = pytest.fixture(autouse=True)(go_offline)

PUZZLES = [item.prompt for item in mdm.Sudoku(form="prompt", holes="6-9", unique=True).items(5, 0)]
ANSWERS = "*/answers-*/results.jsonl"
ITEMS = [{"puzzle": puzzle, "solution": "1", "choices": ["12", "21"]} for puzzle in PUZZLES]


@pytest.fixture
def tasks(tmp_path: Path) -> HarnessTasks:
    """Puzzles to solve, greedily and twice with drawn tokens, to choose from, and to find likely."""
    folder = tmp_path / "tasks"
    metrics = {"metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}]}
    drawn = {"max_gen_toks": 8, "do_sample": True, "temperature": 2.0}
    solves: dict[str, Any] = {"output_type": "generate_until", **metrics}
    write_task(folder, "solve", ITEMS, generation_kwargs={"max_gen_toks": 8}, **solves)
    write_task(folder, "draw", ITEMS, generation_kwargs=drawn, repeats=2, **solves)
    write_task(
        folder, "choose", ITEMS, output_type="multiple_choice", doc_to_choice="{{choices}}", doc_to_target=0,
        metric_list=[{"metric": "acc"}],
    )  # fmt: skip
    write_task(
        folder, "read", ITEMS, output_type="loglikelihood_rolling", doc_to_text="", doc_to_target="{{puzzle}}",
        metric_list=[{"metric": "word_perplexity"}],
    )  # fmt: skip
    return load_tasks(["solve", "draw", "choose", "read"], folder)


class Stop(Exception):
    """Stands for a crash."""


def run(base: mdm.Sampler, tasks: HarnessTasks, out: Path | None, stops: dict[str, int] | None = None) -> Evaluation:
    """An evaluation that crashes as soon as so many are done of what is counted."""
    counted: dict[str, list[tuple[int, int]]] = {}

    @contextmanager
    def progress(what: str) -> Iterator[Any]:
        def tell(done: int, total: int) -> None:
            counted.setdefault(what, []).append((done, total))
            if done >= (stops or {}).get(what, 10**6):
                raise Stop

        yield tell

    sampler = replace(base, planner=mdm.Confidence(), steps=8)
    return evaluate(sampler, tasks, folder=out, samples=2, batch_size=2, progress=progress)


@pytest.mark.usefixtures("tasks")
def test_a_task_may_be_named_alone(tmp_path: Path) -> None:
    assert list(load_tasks("solve", tmp_path / "tasks").tasks) == ["solve"]


def scores(found: Evaluation) -> Any:
    return [found.results["results"], found.samples, found.about["generated"], found.about["scored"]]


@pytest.mark.parametrize("stops", [{"answers": 4}, {"texts": 3}], ids=lambda stops: next(iter(stops)))
def test_an_evaluation_goes_on_where_it_was_cut_off(
    stops: dict[str, int], base: mdm.Sampler, tasks: HarnessTasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer and no likelihood that is kept is computed again, and all scores, answers and costs are the same."""
    monkeypatch.setattr("mdm_sampling.evaluation.harness.SCORED_AT_ONCE", 3)
    whole = run(base, tasks, None)
    with pytest.raises(Stop):
        run(base, tasks, tmp_path / "out", stops)
    held = {folder.name.split("-")[0]: read_folder(folder).lines for folder in (tmp_path / "out").glob("*/*-*")}
    sizes = fill_but(monkeypatch, lambda rows: None)
    again = run(base, tasks, tmp_path / "out")
    assert scores(again) == scores(whole)
    assert sum(sizes) == 15 - len(held["answers"])
    if "texts" in stops:
        assert (len(held["answers"]), len(held["likelihoods"])) == (15, 3)
    else:
        assert len(held["answers"]) == 4
    monkeypatch.setattr("mdm_sampling.evaluation.harness.log_likelihoods", None)
    monkeypatch.setattr(mdm.Sampler, "fill", None)
    assert scores(run(base, tasks, tmp_path / "out")) == scores(whole)


def test_another_sampler_seed_or_number_of_samples_is_computed_anew(
    base: mdm.Sampler, tasks: HarnessTasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(base, tasks, tmp_path)
    sizes = fill_but(monkeypatch, lambda rows: None)
    for options, rows in [({}, 15), ({"seed": 5}, 15), ({"seed": 5, "samples": 3}, 0)]:
        sizes.clear()
        evaluate(replace(base, planner=mdm.Margin()), tasks, folder=tmp_path, limit=5, **options)
        assert sum(sizes) == rows


def test_a_batch_that_does_not_fit_is_halved(
    base: mdm.Sampler, tasks: HarnessTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(base, tasks, None)

    def full(*given: Any, **options: Any) -> Any:
        if options["batch_size"] > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return compute(*given, **options)

    def fault(rows: Any) -> None:
        if len(rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    from mdm_sampling.evaluation import log_likelihoods as compute

    monkeypatch.setattr("mdm_sampling.evaluation.harness.log_likelihoods", full)
    sizes = fill_but(monkeypatch, fault)
    found = evaluate(replace(base, planner=mdm.Confidence(), steps=8), tasks, samples=2, batch_size="auto")
    assert max(sizes) == 2
    assert found.samples["solve"][0]["resps"] == whole.samples["solve"][0]["resps"]
    assert found.results["results"]["draw"] == whole.results["results"]["draw"]


def test_the_command_gives_what_the_function_gives(base: mdm.Sampler, tasks: HarnessTasks, tmp_path: Path) -> None:
    """And tells what it decodes, and what it finds when it is called again."""
    here = run(base, tasks, None)
    options = ["--planner", "confidence", "--steps", "8", "--batch-size", "2", "--out", tmp_path / "out"]
    for told in ("5 answers to decode", "5 of 5 answers were done before"):
        done = evaluate_command("--tasks", "solve", "--include-path", tmp_path / "tasks", *options)
        assert done.exit_code == 0, done.stderr
        assert told in done.stderr
    files = sorted((tmp_path / "out").glob("*/samples_solve_*"))
    assert len(files) == 2
    for file in files:
        found = [json.loads(line)["resps"] for line in file.read_text().splitlines()]
        assert found == [sample["resps"] for sample in here.samples["solve"]]


def test_a_row_that_cannot_be_decoded_is_told_with_its_item_and_the_others_are_kept(
    base: mdm.Sampler, tasks: HarnessTasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = base.backend.codec.encode(PUZZLES[3])  # type: ignore[union-attr]

    def fault(rows: Any) -> None:
        if any(list(row[0]) == bad for row in rows):
            raise mdm.PredictionError("the model returned logits that are not finite")

    with monkeypatch.context() as patched:
        fill_but(patched, fault)
        with pytest.raises(mdm.MDMError, match="item 'solve 3' could not be decoded with confidence: the model"):
            run(base, tasks, tmp_path)
    (folder,) = tmp_path.glob("*/answers-*")
    assert 0 < len(read_folder(folder).lines) < 15
    assert scores(run(base, tasks, tmp_path))[:2] == scores(run(base, tasks, None))[:2]


@needs("a minute")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL], ids=lambda stop: stop.name)
def test_a_command_that_is_stopped_goes_on(
    stop: signal.Signals, tasks: HarnessTasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real signal in the middle; the same command then decodes what is missing, and its files are as of one run."""
    given = ["--tasks", "solve", "--include-path", str(tmp_path / "tasks"), "--planner", "info-gain"]
    given += ["--batch-size", "1", "--out"]
    out = tmp_path / "cut"
    process = interruptible([sys.executable, "-m", "mdm_sampling", "evaluate", *given, str(out)])
    wait_for_lines(out, ANSWERS)
    process.send_signal(stop)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (130 if stop == signal.SIGINT else -stop)
    told = f"What was decoded is in {out}; the same command goes on from there." in errors
    assert told == (stop == signal.SIGINT)
    assert "Traceback" not in errors
    (kept,) = (file.read_bytes() for file in out.glob(ANSWERS))
    rows = kept.count(b"\n")
    sizes = fill_but(monkeypatch, lambda rows: None)
    assert f"{rows} of 5 answers were done before" in evaluate_command(*given, out).stderr
    assert sum(sizes) == 5 - rows
    (after,) = (file.read_bytes() for file in out.glob(ANSWERS))
    assert after.startswith(kept)
    assert after.count(b"\n") == 5
    evaluate_command(*given, tmp_path / "whole")
    assert written(out, "samples_solve") == written(tmp_path / "whole", "samples_solve")
