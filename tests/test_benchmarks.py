"""The benchmark scripts run, and the bounds that the documents state hold."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import mdm_sampling as mdm

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def run(script: str, *options: str) -> str:
    done = subprocess.run([sys.executable, BENCHMARKS / script, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("cache", ["none", "prefix", "dual"])
def test_info_gain_at_a_large_vocabulary_stays_under_400_mb(cache: str) -> None:
    report = json.loads(run("memory.py", "--quick", "--cache", cache))
    assert report["vocabulary"] == 126_464
    assert report["row_forwards"] > 20, "no lookahead took place"
    assert 0 < report["peak_above_model_mib"] < 400 * 1e6 / 2**20


@pytest.mark.parametrize("script", ["against_plain.py", "step_time.py", "breakdown.py"])
def test_a_benchmark_reports_a_line_for_each_setting(script: str) -> None:
    (report,) = [json.loads(line) for line in run(script, "--quick", "--cache", "dual").splitlines()]
    assert report["cache"] == "dual"
    assert report["machine"]["torch"]


@pytest.mark.parametrize("cache", ["none", "prefix", "dual"])
def test_the_plain_implementation_decodes_what_ours_does(cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one candidate both decode by confidence, so what is compared is the same algorithm."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from models import random_llada, random_prompt
    from plain import PlainInfoGain

    backend = random_llada("tiny", 2000)
    prompt = random_prompt(16, 2000)
    ours = mdm.Sampler(
        backend, planner=mdm.Confidence(), cache=mdm.build("caches", cache), block_length=8, steps=16
    ).fill([(prompt, [backend.mask_id] * 16)])
    plain = PlainInfoGain(backend.model, backend.mask_id, cache, candidates=1, block_length=8, steps=16)
    assert plain.generate(prompt, 16) == ours.sequences[0]
