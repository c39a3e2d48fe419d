"""The Ray engine on a local cluster: what the local engine gives, byte by byte, also when a worker is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from compared import TASK, without_times
from evaluated import evaluate, write_task, written
from extras import missing, needs

import mdm_sampling as mdm
from mdm_sampling.cli import main
from mdm_sampling.compare import compare, grid
from mdm_sampling.folders.read import read_folder
from mdm_sampling.jobs import RayEngine

pytestmark = needs("ray")

OPTIONS = ["--planner", "confidence", "--steps", "20", "--batch-size", "3"]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """An input, one of its rows bad, and what the local engine makes of it."""
    folder = tmp_path_factory.mktemp("ray")
    prompts = [item.prompt for item in mdm.Sudoku(size=4, form="prompt").items(60, 2)]
    prompts[7] = "é"
    file = folder / "in.jsonl"
    file.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    done = subprocess.run(command(file, folder / "local.jsonl"), capture_output=True, text=True, env=environment())
    assert done.returncode == 3, done.stderr
    return file, (folder / "local.jsonl").read_bytes()


def environment() -> dict[str, str]:
    return os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}


def command(file: Path, output: Path, *engine: str) -> list[str]:
    given = ["run", "--input", str(file), "--output", str(output), *OPTIONS, *engine]
    return [sys.executable, "-m", "mdm_sampling", *given]


def workers_of(parent: int) -> list[int]:
    """The processes of Ray's actors that descend from a process."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            names[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (OSError, IndexError):
            continue
        parents[int(folder.name)] = int(status[1])

    def descends(process: int) -> bool:
        while process in parents and process != parent:
            process = parents[process]
        return process == parent

    return sorted(p for p, name in names.items() if name.startswith("ray::MapWorker") and descends(p))


def test_workers_give_the_local_engines_output(job: tuple[Path, bytes], base: mdm.Sampler, tmp_path: Path) -> None:
    """Those of a job, of a comparison, which decode all its settings with one model each, and of an evaluation."""
    file, expected = job
    output = tmp_path / "out.jsonl"
    evaluations = [evaluation_of(tmp_path)] if missing("lm-eval") is None else []
    config = tmp_path / "grid.toml"
    config.write_text(
        'task = "sudoku:holes=3-5"\nitems = 6\nplanner = ["confidence", "info-gain:2"]\ntokens_per_step = [1, 2]\n'
        'batch_size = 4\nengine = "ray"\nworkers = 2\nplots = false\n'
    )
    commands = [
        command(file, output, "--engine", "ray", "--workers", "1")[3:],
        ["compare", "--config", str(config), "--out", str(tmp_path / "ray")],
        *(["evaluate", *evaluation, "--engine", "ray", "--out", str(tmp_path / "eval")] for evaluation in evaluations),
    ]
    script = Path(__file__).parent / "helpers" / "on_ray.py"
    done = subprocess.run(
        [sys.executable, script, json.dumps(commands)], capture_output=True, text=True, env=environment(), timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    codes = [json.loads(line) for line in done.stdout.splitlines()]
    assert [code for code, _ in codes] == [3, 0, *(0 for _ in evaluations)], codes
    assert output.read_bytes() == expected
    assert len((tmp_path / "out.jsonl.job" / "results.jsonl").read_text().splitlines()) == 59
    held = read_folder(tmp_path / "ray").lines
    settings = grid(["confidence", "info-gain:2"], tokens_per_step=[1, 2])
    local = compare(base, TASK, settings, items=6, batch_size=4)
    assert len(held) == 24
    assert without_times(held) == without_times(local.lines)
    for evaluation in evaluations:
        done_here = evaluate(*evaluation, "--out", tmp_path / "eval-local")
        assert done_here.exit_code == 0, done_here.output
        answers = [written(tmp_path / out, "samples_solve") for out in ("eval", "eval-local")]
        assert answers[0] == answers[1]
        assert "In " in codes[2][1]


def evaluation_of(folder: Path) -> list[str]:
    """The options of an evaluation of three puzzles."""
    items = [{"puzzle": item.prompt, "solution": "1"} for item in mdm.Sudoku(size=4, form="prompt").items(3, 2)]
    metrics = [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}]
    kwargs = {"max_gen_toks": 8, "until": ["x"]}
    write_task(
        folder / "tasks", "solve", items, output_type="generate_until", generation_kwargs=kwargs, metric_list=metrics
    )
    return ["--tasks", "solve", "--include-path", str(folder / "tasks"), "--planner", "margin", "--batch-size", "2"]


def test_what_cannot_be_sent_to_a_worker_is_refused(base: mdm.Sampler) -> None:
    class Mine(mdm.ScorePlanner):
        def score(self, step: mdm.Step) -> torch.Tensor:
            return step.confidence

    backend = mdm.load_backend()
    backend.source = None
    for sampler, planner, words in [
        (base, Mine(), "a part is not registered: .*Mine"),
        (replace(base, backend=backend), "margin", "this model was passed in memory"),
    ]:
        with pytest.raises(mdm.SpecError, match=words):
            compare(sampler, TASK, grid([planner]), items=1, engine=RayEngine(2))


def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(job: tuple[Path, bytes], tmp_path: Path) -> None:
    """Of two; they finish batches in another order than one does, and the output is the same."""
    file, expected = job
    output = tmp_path / "out.jsonl"
    journal = tmp_path / "out.jsonl.job" / "results.jsonl"
    process = subprocess.Popen(
        command(file, output, "--engine", "ray", "--workers", "2"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    began = time.monotonic()
    while not (journal.exists() and journal.stat().st_size) and time.monotonic() - began < 200:
        time.sleep(0.01)
    held = journal.read_bytes().count(b"\n")
    workers = workers_of(process.pid)
    assert workers, "no worker was found to kill"
    os.kill(workers[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 3, errors
    assert not any(word in errors for word in ("core_worker", "Traceback", "ERROR")), "what Ray says of it is not news"
    assert 0 < held < 59, "the worker was killed when all was done"
    assert output.read_bytes() == expected
    assert len(journal.read_text().splitlines()) == 59


def test_options_of_ray_are_refused_without_it_and_bad_ones_with_it(job: tuple[Path, bytes], tmp_path: Path) -> None:
    file, _ = job
    given = ["run", "--input", str(file), "--output", str(tmp_path / "o.jsonl")]
    for arguments, words in [
        (["--workers", "2"], "--workers would be ignored without --engine ray"),
        (["--ray-address", "x"], "--ray-address would be ignored without --engine ray"),
        (["--engine", "ray", "--workers", "0"], "0 is not in the range"),
    ]:
        result = CliRunner().invoke(main, [*given, *arguments])
        assert result.exit_code == 2
        assert words in result.output


def test_a_cluster_that_is_not_there_is_told(job: tuple[Path, bytes], tmp_path: Path) -> None:
    file, _ = job
    ray = command(file, tmp_path / "o.jsonl", "--engine", "ray", "--ray-address", "127.0.0.1:1")
    done = subprocess.run(ray, capture_output=True, text=True, env=environment(), timeout=300)
    assert done.returncode == 1
    assert "Error: no Ray cluster at 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr
