"""What the tests of comparisons share."""

from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

import mdm_sampling as mdm
from mdm_sampling.cli import main

TASK = mdm.Sudoku(holes="3-5")


def run_compare(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


def without_times(lines: Any) -> list[dict[str, Any]]:
    """Lines in one order, without what differs from run to run and from process to process."""
    differing = ("seconds", "batch", "batch_size", "machine")
    kept = [{name: value for name, value in line.items() if name not in differing} for line in lines]
    return sorted(kept, key=lambda line: (line["planner"], line["tokens_per_step"], line["item"], line["seed"]))
