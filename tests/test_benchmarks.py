"""The benchmark scripts run, and the bounds that the documents state hold."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from extras import needs

import mdm_sampling as mdm
from mdm_sampling.tasks.split import is_held_out

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def run(script: str, *options: str) -> list[dict[str, Any]]:
    """A script's lines. It runs here; what it measures in a process of its own, it does."""
    done = CliRunner().invoke(importlib.import_module(script).main, options)
    assert done.exit_code == 0, done.stderr
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


@needs("a minute")
@pytest.mark.parametrize("cache", ["none", "dual"])  # prefix lies between them
def test_info_gain_at_a_large_vocabulary_stays_under_400_mb(cache: str) -> None:
    """By the one measurement of step_time.py that is asked about."""
    from isolation import apart
    from runs import Run

    report = apart(
        str(BENCHMARKS / "step_time.py"), "info-gain", Run(vocabulary=126_464, new=8, cache=cache, threads=1)
    )
    assert report["row_forwards"] > 20, "no lookahead took place"
    assert 0 < report["peak_above_model_mib"] < 400 * 1e6 / 2**20


@needs("a minute")
@pytest.mark.parametrize(
    ("script", "options"), [("against_plain", ["--repeats", "1"]), ("step_time", []), ("breakdown", [])]
)
def test_a_benchmark_reports_a_line_for_each_setting(script: str, options: list[str]) -> None:
    (report,) = run(script, "--quick", "--cache", "dual", "--threads", "1", *options)
    assert report["cache"] == "dual"
    assert report["machine"]["torch"]


def test_block_causal_decoding_is_timed_beside_the_published_loop() -> None:
    done = subprocess.run([sys.executable, BENCHMARKS / "block_causal.py", "--quick"], capture_output=True, text=True)
    assert "16 of 16 tokens equal" in done.stdout
    assert "22.0 positions a block" in done.stdout  # 12 for the first block and its prompt's blocks, 20 for the next


def test_the_corpus_is_text_that_the_small_model_may_train_on() -> None:
    done = subprocess.run([sys.executable, BENCHMARKS / "corpus.py", "--quick"], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    puzzles = [line.replace(" ", "").replace(".", "0") for line in lines if " " in line]
    assert len(lines) == 50
    assert len(puzzles) == 10
    assert not any(is_held_out(puzzle) for puzzle in puzzles)


def test_the_share_of_candidates_that_could_be_skipped_is_reported() -> None:
    reports = run("skippable", "--quick")
    assert len(reports) == 12
    assert all(report["evaluated"] > 0 and 0 <= report["could_be_skipped"] < 1 for report in reports)


@pytest.mark.parametrize("cache", ["none", "prefix", "dual"])
def test_the_plain_implementation_decodes_what_ours_does(cache: str) -> None:
    """With one candidate both decode by confidence, so what is compared is the same algorithm."""
    from models import random_llada, random_prompt
    from plain import PlainInfoGain

    backend = random_llada("tiny", 2000)
    prompt = random_prompt(16, 2000)
    ours = mdm.Sampler(
        backend, planner=mdm.Confidence(), cache=mdm.build("caches", cache), block_size=8, steps=16
    ).fill([(prompt, [backend.mask_id] * 16)])
    plain = PlainInfoGain(backend.model, backend.mask_id, cache, candidates=1, block_size=8, steps=16)
    assert plain.generate(prompt, 16) == ours.sequences[0]


@pytest.mark.parametrize("family", ["llada", "dream"])
@pytest.mark.parametrize("cache", ["none", "prefix", "dual"])
def test_a_batch_of_eight_prompts_gives_the_tokens_of_each_alone(family: str, cache: str) -> None:
    """Prompts of different lengths at width 256: what the throughput figures compare is the same work.

    In float64, since the predictions of random weights are so alike that rounding decides between some of them.
    """
    from runs import Run

    run = Run(family=family, cache=cache, vocabulary=1000, prompt=24, new=8, block=4, batch=8, ragged=True, threads=1)
    backend = run.backend()
    backend.model.double()
    rows = run.rows(backend.mask_id)
    assert len({len(prompt) for prompt, _ in rows}) == 8
    sampler = run.sampler(backend)
    together = sampler.fill(rows, list(range(8)), batch_size=8)
    assert together.sequences == [sampler.fill([row], seed, batch_size=1).sequences[0] for seed, row in enumerate(rows)]


@needs("a minute")
def test_the_peak_is_that_of_the_run_alone() -> None:
    """Neither of the process that starts it, which is larger, nor of what was allocated and freed before."""
    script = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from isolation import PeakMemory
torch.ones(200, 2**18).sum()  # 200 MiB, freed
memory = PeakMemory("cpu", torch.nn.Linear(4, 4))
torch.ones(40, 2**18).sum()
print(memory.mib())
"""
    larger = torch.ones(700, 2**18)
    done = subprocess.run([sys.executable, "-c", script, BENCHMARKS], capture_output=True, text=True, check=True)
    assert 38 < float(done.stdout) < 60
    del larger
