"""Documentation that runs: every Python block, every offline command, and the promises about files and links."""

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any, Literal, get_origin

import pytest
from click.testing import CliRunner
from extras import needs

import mdm_sampling as mdm
from mdm_sampling.cli import main
from mdm_sampling.registry.registry import registry

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TUTORIAL = ROOT / "docs" / "tutorial-plugin.md"
JOBS = ROOT / "docs" / "jobs.md"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python") and p != TUTORIAL], ids=lambda p: p.name)
def test_every_python_block_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The blocks of a page run in order and share their names, as a reader would paste them; what prints, prints."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "docs"}
    for number, block in enumerate(blocks(page, "python")):
        exec(compile(block, f"{page.name}, block {number}", "exec"), names)
        assert bool(capsys.readouterr().out) == ("print(" in block)


PARTS = """
from dataclasses import dataclass
import mdm_sampling as mdm

@dataclass(frozen=True)
class Leftmost(mdm.ScorePlanner):
    "Unmask from the left, or from the right."

    sign: float = 1.0

    def score(self, step):
        return -self.sign * step.positions.expand(step.confidence.shape).float()

@mdm.hookimpl
def register_planners(register):
    register("leftmost", Leftmost)

@mdm.hookimpl
def register_commands(cli):
    @cli.command()
    def greet():
        "Say hello."
        print("hello")
"""
"""The file that docs/hooks.md names on the command line."""

COMMANDS = [
    line
    for page in PAGES
    if page not in (TUTORIAL, JOBS)  # whose commands need what came before them
    for block in blocks(page, "sh")
    for line in block.splitlines()
    if line.startswith("mdm-sampling ") and "--model" not in line
]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_offline_command_runs(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if "my_parts.py" in line:
        registry.cache_clear()  # it knows the file of another folder
        (tmp_path / "my_parts.py").write_text(PARTS)
    few = ["--items", "3"] if line.startswith("mdm-sampling compare") else []  # else a minute
    result = CliRunner().invoke(main, [*shlex.split(line)[1:], *few])
    assert result.exit_code == 0, result.output
    assert result.stdout


@needs("a minute")
def test_the_tutorial_works_from_its_first_block_to_its_last(tmp_path: Path) -> None:
    """In order: commands run, and a block of Python goes to the file that its first line names.

    In a virtual environment of its own, which sees the packages of this one. pip builds without a network.
    """
    bin_folder = environment_beside_ours(tmp_path / "venv")
    variables = os.environ | {
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip's spelling of "without isolation"
        "PIP_NO_INDEX": "1",
    }
    work = tmp_path / "work"
    work.mkdir()
    for language, block in re.findall(r"^```(sh|python)\n(.*?)^```", TUTORIAL.read_text(), re.MULTILINE | re.DOTALL):
        if language == "python":
            file = work / block.splitlines()[0].removeprefix("# ")
            assert file.parent.is_dir()
            file.write_text(block)
            continue
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block], cwd=work, env=variables, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{block}{done.stdout}{done.stderr}"
        assert done.stdout or "pip install" in block
    assert "anchored" in done.stdout


def test_the_commands_of_the_page_on_jobs_run_in_their_order(tmp_path: Path) -> None:
    variables = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for block in blocks(JOBS, "sh"):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block], cwd=tmp_path, env=variables, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{block}{done.stdout}{done.stderr}"
        assert done.stdout
    assert (tmp_path / "rows.csv").read_text().count("\n") >= 1


def environment_beside_ours(folder: Path) -> Path:
    """A virtual environment that sees our packages and has commands of its own; its folder of commands."""
    venv.create(folder, with_pip=False, symlinks=True)
    bin_folder = folder / "bin"
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "ours.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in site_packages()))
    for command, module in {"mdm-sampling": "mdm_sampling", "pip": "pip"}.items():
        (bin_folder / command).write_text(f'#!/bin/sh\nexec "{bin_folder}/python" -m {module} "$@"\n')
        (bin_folder / command).chmod(0o755)
    return bin_folder


def site_packages() -> list[str]:
    return [path for path in sys.path if path.endswith("site-packages")]


def test_the_first_command_of_the_readme_solves_its_puzzle() -> None:
    """Each row, column and box of the answer holds 1 to 4, and the given digits are kept."""
    (command,) = blocks(ROOT / "README.md", "sh")[0].splitlines()
    arguments = shlex.split(command.split("&& mdm-sampling ")[1])
    answer = CliRunner().invoke(main, arguments).stdout.split()
    puzzle = arguments[-1].split()
    assert all(
        a == p for row, given in zip(answer, puzzle, strict=True) for a, p in zip(row, given, strict=True) if p != "."
    )
    columns = ["".join(column) for column in zip(*answer, strict=True)]
    boxes = [answer[r][c : c + 2] + answer[r + 1][c : c + 2] for r in (0, 2) for c in (0, 2)]
    assert all(sorted(unit) == list("1234") for unit in [*answer, *columns, *boxes])


def test_the_calls_and_steps_that_are_counted_in_prose_are_those_that_the_puzzle_takes() -> None:
    (few, many) = re.findall(r"after (\d+) calls of the model;\s.*?needs (\d+)", (ROOT / "README.md").read_text())[0]
    command = shlex.split(blocks(ROOT / "README.md", "sh")[0].split("&& mdm-sampling ")[1])
    for planner, calls in ((command[2], few), ("confidence", many)):
        assert row_of("generate", "--planner", planner, command[-1])["sequential_forwards"] == int(calls)
    (few, many) = re.findall(r"this puzzle takes (\d+) instead of (\d+)", (ROOT / "docs" / "start.md").read_text())[0]
    for options, steps in (([], few), (["--threshold", "none"], many)):
        assert row_of("generate", *options, command[-1])["steps"] == int(steps)


def row_of(*arguments: str) -> dict[str, Any]:
    """What a command prints of its one row."""
    found: dict[str, Any] = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
    return found


def test_the_readmes_table_repeats_rows_of_the_results() -> None:
    """Accuracy with its interval, sequential forwards and rows, each as in the table of the same planner and task."""
    results = (ROOT / "docs" / "results.md").read_text()
    lines = re.findall(r"^\| (.*), `(.*)` \| (.*) \| (.*) \| (.*) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(lines) >= 6
    for task, planner, *figures in lines:
        table = results.split(f"### {task}")[1].split("\n### ")[0]
        rows = [line.replace("*", "").split("|") for line in table.splitlines() if f"| {planner} |" in line]
        assert any({cell.strip() for cell in row} >= set(figures) for row in rows), (task, planner)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_between_pages_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if not target.startswith("http"):
            name, _, part = target.partition("#")
            file = page.parent / name if name else page
            assert file.exists(), f"{page.name} links to {target}"
            assert not part or part in headings(file), f"{page.name} links to {target}"


def headings(page: Path) -> list[str]:
    """The names under which the headings of a page can be linked."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found]


def test_the_index_links_every_page_once_and_the_readme_links_the_index() -> None:
    linked = re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs" / "index.md").read_text())
    assert sorted(linked) == sorted(page.name for page in PAGES[1:] if page.name != "index.md")
    assert "(docs/index.md)" in PAGES[0].read_text()


def test_the_reference_of_commands_is_up_to_date() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "make_help.py"))["page"]()
    assert (ROOT / "docs" / "help.md").read_text() == page, "run: python docs/make_help.py"


def test_the_concepts_page_names_every_cache() -> None:
    text = (ROOT / "docs" / "concepts.md").read_text()
    for claim in registry().kind("caches"):
        if claim.distribution == "mdm-sampling":
            assert f"`{claim.name}`" in text


def test_every_public_name_is_documented_and_importable() -> None:
    for name in mdm.__all__:
        if get_origin(getattr(mdm, name)) is Literal:
            continue  # which has no docstring
        assert (getattr(mdm, name).__doc__ or "").strip(), f"mdm_sampling.{name} has no docstring"


def test_ci_runs_the_readmes_test_command() -> None:
    assert "README.md" in (ROOT / ".ci" / "run").read_text()
    assert "<!-- tests -->" in (ROOT / "README.md").read_text()
