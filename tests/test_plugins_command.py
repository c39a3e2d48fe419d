"""`mdm-sampling plugins`: list, show, check, new; with real plug-ins in real folders and fresh processes."""

import inspect
import json
import os
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from extras import needs

from mdm_sampling.cli import main
from mdm_sampling.cli.new_plugin import USES, write_plugin
from mdm_sampling.registry.registry import load

PUZZLE = "1... ..3. .1.. ...4"

BROKEN = {
    "cannot-import": "import a_module_that_does_not_exist\n",
    "misspelt": """
import mdm_sampling as mdm

@mdm.hookimpl
def register_planer(register):
    pass
""",
    "takes-a-name": """
import mdm_sampling as mdm

@mdm.hookimpl
def register_planners(register):
    register("confidence", mdm.Margin)
""",
    "exits": "raise SystemExit(3)\n",
    "interrupts-itself": "raise GeneratorExit\n",
    "registers-nothing": """
import mdm_sampling as mdm

@mdm.hookimpl
def register_planners():
    return {"mine": 1}
""",
    "registers-twice": """
from dataclasses import dataclass
import mdm_sampling as mdm
print("a plug-in talks")

@dataclass(frozen=True)
class Mine(mdm.ScorePlanner):
    def score(self, step):
        return step.confidence

@mdm.hookimpl
def register_planners(register):
    register("mine", Mine)
    register("mine", Mine)
""",
    "unknown-type": """
from dataclasses import dataclass
import mdm_sampling as mdm

@dataclass(frozen=True)
class Odd(mdm.ScorePlanner):
    a: "Nope" = 1
    def score(self, step):
        return step.confidence

@mdm.hookimpl
def register_planners(register):
    register("odd", Odd)
""",
}

STUBBORN = """
from dataclasses import dataclass
import torch
import mdm_sampling as mdm

@dataclass(frozen=True)
class Stubborn(mdm.PositionPlanner):
    '''Unmask the first position of the block, masked or not.'''

    def plan(self, step):
        unmask = torch.zeros_like(step.masked)
        unmask[:, 0] = True
        return mdm.Plan(unmask)

@dataclass(frozen=True)
class Needy(mdm.ScorePlanner):
    '''Unmask by the weights in a file.'''

    file: str

    def score(self, step):
        return step.confidence

@mdm.hookimpl
def register_planners(register):
    register("stubborn", Stubborn)
    register("needy", Needy)
"""


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def install(site: Path, name: str, source: str, distribution: str | None = None) -> None:
    """What pip would write for a module with an entry point."""
    module = name.replace("-", "_")
    (site / f"{module}.py").write_text(source)
    info = site / f"{(distribution or f'mdm-{name}').replace('-', '_')}-2.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution or f'mdm-{name}'}\nVersion: 2.1\n")
    (info / "entry_points.txt").write_text(f"[mdm_sampling]\n{name} = {module}\n")


def fresh(site: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    """A fresh process that finds the plug-ins of a folder."""
    environment = os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1", "COLUMNS": "400"}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment, timeout=240)


def cli(site: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return fresh(site, "-m", "mdm_sampling", *arguments)


@needs("a minute")
def test_broken_plugins_are_named_and_leave_every_other_command_working(tmp_path: Path) -> None:
    for name, source in BROKEN.items():
        install(tmp_path, name, source)
    for name in ("twin-a", "twin-b"):
        install(tmp_path, name, STUBBORN)
    listed = cli(tmp_path, "plugins", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    problems = {line["name"]: line["problem"] for line in map(json.loads, listed.stdout.splitlines())}
    assert problems["mdm-sampling"] is None
    assert "No module named 'a_module_that_does_not_exist'" in problems["cannot-import"]
    assert "register_planer" in problems["misspelt"]
    assert "'confidence' in planners is already taken by mdm-sampling" in problems["takes-a-name"]
    assert "SystemExit: 3" in problems["exits"]
    assert "GeneratorExit" in problems["interrupts-itself"]
    assert "it registers nothing; a hook must call register(name, part)" in problems["registers-nothing"]
    assert "'mine' in planners is registered twice" in problems["registers-twice"]
    assert "the type of a parameter cannot be read (name 'Nope' is not defined)" in problems["unknown-type"]
    assert "a plug-in talks" in listed.stderr
    assert "'stubborn' in planners is claimed by mdm-twin-a and mdm-twin-b; uninstall one of them" in listed.stderr
    for name in BROKEN:
        assert f"Warning: plug-in {name!r} of mdm-{name}: " in listed.stderr
    answer = cli(tmp_path, "generate", "--planner", "confidence", PUZZLE)
    assert (answer.returncode, answer.stdout) == (0, "1342\n2431\n4123\n3214\n"), answer.stderr
    asked = cli(tmp_path, "plugins", "check", "cannot-import")
    assert asked.returncode == 1
    assert "could not be loaded: ModuleNotFoundError" in asked.stderr


@needs("a minute")
def test_check_of_a_plugin_names_the_fault_and_what_it_could_not_check(tmp_path: Path) -> None:
    install(tmp_path, "stubborn", STUBBORN)
    checked = cli(tmp_path, "plugins", "check", "mdm-stubborn", "--examples", "20")
    assert checked.returncode == 1
    assert "BROKEN  fills masked positions" in checked.stdout
    assert "unmasked a position that is not masked" in checked.stdout
    assert "smallest case: model " in checked.stdout
    assert "not checked: it needs file; check needy:file=..." in checked.stdout
    assert checked.stdout.count("for the same reason") >= 3
    assert "2 parts do not conform, or could not be checked" in checked.stderr
    given = cli(tmp_path, "plugins", "check", "needy:file=x", "--examples", "5")
    assert given.returncode == 0, given.stdout + given.stderr
    assert given.stdout.count("  ok  ") == 7


@needs("a minute")
def test_a_new_plugin_installs_runs_conforms_and_passes_its_own_test(tmp_path: Path) -> None:
    made = run("plugins", "new", "early-bird", "--into", tmp_path)
    assert made.exit_code == 0, made.output
    folder = tmp_path / "mdm-early-bird"
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) == [
        "README.md",
        "mdm_early_bird.py",
        "pyproject.toml",
        "tests/test_early_bird.py",
    ]
    assert os.listdir(tmp_path) == ["mdm-early-bird"]
    site = tmp_path / "site"
    done = fresh(
        tmp_path,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--target",
        str(site),
        str(folder),
    )
    assert done.returncode == 0, done.stderr
    assert "early-bird  (mdm-early-bird 0.1.0)" in cli(site, "plugins", "list").stdout
    answer = cli(site, "generate", "--planner", "early-bird:slope=0.02", "--json", PUZZLE)
    assert json.loads(answer.stdout)["spec"]["planner"] == "early-bird:slope=0.02"
    tests = fresh(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder))
    assert tests.returncode == 0, tests.stdout
    assert "5 passed" in tests.stdout


@pytest.mark.parametrize("kind", [kind for kind in USES if kind != "planner"])
def test_a_new_plugin_of_each_kind_registers_conforms_and_passes_its_own_test(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Imported as it stands. What pip makes of it is the same for all kinds, see the test of a planner."""
    sys.modules.pop("mdm_night_owl", None)
    made = run("plugins", "new", "night-owl", "--kind", kind, "--into", tmp_path)
    assert made.exit_code == 0, made.output
    folder = tmp_path / "mdm-night-owl"
    assert tomllib.loads((folder / "pyproject.toml").read_text())["project"]["entry-points"]["mdm_sampling"] == {
        "night-owl": "mdm_night_owl"
    }
    assert "$" not in "".join(file.read_text() for file in folder.rglob("*") if file.is_file())
    monkeypatch.syspath_prepend(str(folder))
    found = load([EntryPoint("night-owl", "mdm_night_owl", "mdm_sampling")])
    assert found.problems == []
    (claim,) = found.plugins[1].parts
    assert (claim.name, claim.kind.removesuffix("s")) == ("night-owl", kind.replace("-", "_"))
    for case in cases_of(folder / "tests" / "test_night_owl.py"):
        case()


def cases_of(file: Path) -> Iterator[Callable[[], None]]:
    """The tests of a file, each with its first parameter; pytest in this process would be two sessions in one."""
    module = runpy.run_path(str(file))
    for name, test in module.items():
        if name.startswith("test_"):
            given = inspect.signature(test).parameters
            marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
            value = marks[0].args[1][0] if marks else None
            folder = file.parent / name
            folder.mkdir()
            yield partial(test, **{each: folder if each == "tmp_path" else value for each in given})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["new", "Early Bird"], "is not a name for a planner"),
        (["new", "run", "--kind", "command"], "'run' in commands is already taken by mdm-sampling"),
        (["new", "owl", "--kind", "plan"], "'plan' is not one of 'planner', 'draft-shape'"),
        (["new", "mdm-foo"], "leave out 'mdm-'"),
        (["new", "sampling"], "a distribution called mdm-sampling is installed already"),
        (["show", "info-gain:candidates=0"], "candidates must be at least 1"),
        (["check", "llada", "--model", "embedded"], "embedded is read by embedded, not by llada"),
        (["check", "info-gain", "--kind", "cache"], "unknown name 'info-gain' in caches"),
        (["new", "entropy"], "'entropy' in planners is already taken by mdm-sampling"),
        (["new", "true"], "would make a class True, which is Python's own name"),
        (["new", "prefix"], "'prefix' in caches is already taken by mdm-sampling"),
        (["show", "info-gian"], "nothing installed is called 'info-gian'; did you mean 'info-gain'?"),
        (["check", "mdm-samplers"], "nothing installed is called 'mdm-samplers'; `pip install --no-deps FOLDER`"),
        (["show", "xyzzy"], "`mdm-sampling plugins list` shows what is"),
        (["check", "info-gain:candidate=3"], "unknown parameter 'candidate'; did you mean 'candidates'?"),
        (["check", "info-gain", "--kind", "caches"], "unknown name 'info-gain' in caches"),
        (["check", "info-gain", "--kind", "cach"], "unknown kind 'cach'"),
        (["check", "llada"], "name a checkpoint to check it on with --model"),
        (["check", "entropy", "--model", "embedded"], "--model is for families of models, and 'entropy' is none"),
        (["check", "entropy", "--examples", "0"], "0 is not in the range"),
        (["check", "jsonl"], "needs file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_said_in_a_sentence(arguments: list[str], words: str, tmp_path: Path) -> None:
    result = run("plugins", *arguments, *(["--into", str(tmp_path)] if arguments[0] == "new" else []))
    assert result.exit_code in (1, 2)
    assert isinstance(result.exception, SystemExit | None), result.exception
    assert words in result.output
    assert not any(tmp_path.iterdir())


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    folder = write_plugin("mine", tmp_path)
    (folder / "README.md").write_text("mine")
    result = run("plugins", "new", "mine", "--into", tmp_path)
    assert result.exit_code == 1
    assert "already exists; nothing was written" in result.output
    assert (folder / "README.md").read_text() == "mine"


def test_show_has_the_documentation_parameters_and_origin() -> None:
    shown = run("plugins", "show", "bypass").stdout
    assert "bypass  (planners, mdm-sampling 0.1.0)" in shown
    assert "mdm_sampling.planners.bypass.Bypass" in shown
    assert "threshold: probability in (0, 1]." in shown
    assert "Spec: bypass:threshold=0.9,otherwise=(confidence),capped=false" in shown
    everything = run("plugins", "show", "mdm-sampling").stdout
    assert everything.count("Spec: ") >= 25


def test_a_family_is_checked_on_a_checkpoint(llada_folder: Path) -> None:
    result = run("plugins", "check", "llada", "--model", llada_folder, "--examples", "2")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("  ok  ") == 7


def test_a_missing_hypothesis_is_told(tmp_path: Path) -> None:
    (tmp_path / "hypothesis.py").write_text("raise ImportError('no hypothesis here')\n")
    result = cli(tmp_path, "plugins", "check", "entropy")
    assert result.returncode == 1
    assert result.stderr.startswith("Checking entropy; half a minute"), "said before anything slow is imported"
    assert "pip install 'mdm-sampling[testing]'" in result.stderr
    assert "Traceback" not in result.stderr
