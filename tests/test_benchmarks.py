"""The benchmark scripts run, and the bounds that the documents state hold."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_the_sudoku_table_has_a_line_for_each_setting() -> None:
    lines = [line for line in run("sudoku.py", "--puzzles", "2").splitlines() if line.startswith("| ")]
    assert len(lines) == 1 + 33
    assert sum("info-gain" in line for line in lines) == 12
