"""Parts without a distribution: `mdm.register`, `FILE.py:Class` and `--plugin FILE.py`; and observers of plug-ins."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import mdm_sampling as mdm
from mdm_sampling.cli import main
from mdm_sampling.jobs.worker import Variant, Worker
from mdm_sampling.registry.registry import registry

PUZZLE = "1... ..3. .1.. ...4"
LEFTMOST = """
from __future__ import annotations
from dataclasses import dataclass
import click
import mdm_sampling as mdm

print("a file talks")

@dataclass(frozen=True)
class Leftmost(mdm.ScorePlanner):
    '''Unmask from the left, or from the right.'''

    sign: float = 1.0

    def score(self, step: mdm.Step):
        return -self.sign * step.positions.expand(step.confidence.shape).float()

@mdm.hookimpl
def register_planners(register: mdm.Register) -> None:
    register("leftmost", Leftmost)

@mdm.hookimpl
def register_commands(cli: click.Group) -> None:
    @cli.command()
    @click.argument("times", type=int)
    def greet(times: int) -> None:
        "Greet a number of times."
        if times < 1:
            raise mdm.SpecError("greet: at least once")
        click.echo("hello " * times)
"""
OBSERVER = """
import mdm_sampling as mdm

class Counter:
    def begin(self, canvas, seeds):
        print("begins", seeds)

    def add(self, record):
        print("step")
        {after}

@mdm.hookimpl
def observe_run(sampler):
    return Counter()
"""


@pytest.fixture(autouse=True)
def a_registry_of_its_own() -> Iterator[None]:
    registry.cache_clear()
    yield
    registry.cache_clear()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "left.py").write_text(LEFTMOST)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@dataclass(frozen=True)
class OwnScore(mdm.ScorePlanner):
    """Unmask the positions that are least sure."""

    def score(self, step: mdm.Step):  # type: ignore[no-untyped-def]
        return -step.confidence


# --- mdm.register -------------------------------------------------------------------------------------------------


def test_a_registered_part_has_a_name_in_every_spec_and_may_be_registered_anew() -> None:
    assert mdm.register(OwnScore) is OwnScore
    sampler = mdm.load(steps=20)
    text = mdm.describe(mdm.Bypass(0.9, OwnScore()))
    assert text == "bypass:otherwise=(own-score)"
    spec = mdm.Sampler(sampler.backend, planner=mdm.build("planners", text)).spec()
    assert mdm.from_spec(spec, sampler.backend).planner == mdm.Bypass(0.9, OwnScore())

    @dataclass(frozen=True)
    class Other(OwnScore):
        pass

    mdm.register(Other, name="own-score")
    assert mdm.build("planners", "own-score") == Other()


@pytest.mark.parametrize(
    ("part", "name", "kind", "words"),
    [
        (OwnScore(), "x", None, "is not a part: it implements none of the interfaces"),
        (int, "x", None, "is not a part"),
        (OwnScore, "x", "cache", "unknown kind 'cache'; there are backends, caches"),
        (OwnScore, "x", "caches", "must be a subclass of CacheStrategy"),
        (OwnScore, "X", None, "'X' is not a name for a part"),
        (OwnScore, "entropy", None, "'entropy' in planners is already taken by mdm-sampling"),
    ],
)
def test_what_cannot_be_registered_is_refused(part: type, name: str, kind: str | None, words: str) -> None:
    with pytest.raises(mdm.RegistrationError, match=words):
        mdm.register(part, name=name, kind=kind)


def test_no_other_process_is_sent_a_part_that_only_this_one_has() -> None:
    mdm.register(OwnScore)
    sampler = mdm.Sampler(mdm.load_backend(), planner=mdm.Bypass(0.9, OwnScore()))
    with pytest.raises(mdm.SpecError, match=r"'own-score' was registered in this process alone; name it as FILE\.py"):
        Worker([Variant(sampler, True)], splits=False).recipe()


# --- FILE.py:Class ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "described"),
    [
        ("left.py:Leftmost", "left.py:Leftmost"),
        ("./left.py:Leftmost:-1", "left.py:Leftmost:sign=-1.0"),
        (
            "bypass:0.5,otherwise=(left.py:Leftmost:sign=2)",
            "bypass:threshold=0.5,otherwise=(left.py:Leftmost:sign=2.0)",
        ),
    ],
)
def test_a_class_in_a_file_is_named_in_a_spec_and_described_again(folder: Path, spec: str, described: str) -> None:
    part = mdm.build("planners", spec)
    assert mdm.describe(part) == described
    assert mdm.build("planners", described) == part


def test_the_command_line_takes_a_class_in_a_file_and_prints_nothing_of_it(folder: Path) -> None:
    done = run("generate", "--planner", "left.py:Leftmost:sign=-1", "--json", PUZZLE)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["spec"]["planner"] == "left.py:Leftmost:sign=-1.0"
    assert "a file talks" in done.stderr
    checked = run("plugins", "check", "left.py:Leftmost:sign=-1", "--examples", "2")
    assert checked.exit_code == 0, checked.output


@pytest.mark.parametrize(
    ("source", "spec", "words"),
    [
        ("", "none.py:X", "the file none.py cannot be read: No such file or directory"),
        ("", "own.py:X", "own.py has no class 'X'; it has none"),
        ("", "own.py", "unknown name 'own.py' in planners; name a class in the file, as own.py:Class"),
        ("", "own.py:", "is not a spec"),
        ("class Mine: pass", "own.py:Mien", "own.py has no class 'Mien'; did you mean 'Mine'?"),
        ("class Mine: pass", "own.py:Mine", "own.py: 'Mine' in planners must be a subclass of PositionPlanner"),
        (LEFTMOST.replace("(frozen=True)", ""), "own.py:Leftmost", "in planners must be a frozen dataclass"),
        (
            "x = 1\ny = 1 / 0",
            "own.py:X",
            "the file own.py cannot be loaded: ZeroDivisionError: division by zero in line 2",
        ),
        ("import sys\nsys.exit(0)", "own.py:X", "the file own.py cannot be loaded: SystemExit: 0 in line 2"),
        ("def", "own.py:X", "the file own.py cannot be loaded: SyntaxError: invalid syntax"),
        ("# coding: nonsense", "own.py:X", "the file own.py cannot be read: SyntaxError"),
        ("", "a(b.py:X", "'a(b.py' cannot stand in a spec"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(folder: Path, source: str, spec: str, words: str) -> None:
    (folder / "own.py").write_text(source)
    before = set(sys.modules)
    with pytest.raises(mdm.SpecError) as caught:
        mdm.build("planners", spec)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "cannot be loaded" not in words or set(sys.modules) == before
    done = run("generate", "--planner", spec, PUZZLE)
    assert done.exit_code == 2
    assert words in done.stderr


def test_another_process_decodes_with_the_file_it_is_sent_wherever_it_runs(folder: Path, tmp_path: Path) -> None:
    """Both with a class in a file and with a file of hooks; the process has neither of the files."""
    (folder / "hooks.py").write_text(LEFTMOST.replace('"leftmost"', '"from-hooks"'))
    registry().plug_in_file("hooks.py")
    backend = mdm.load_backend()
    planners = [mdm.build("planners", spec) for spec in ("left.py:Leftmost:sign=-1", "from-hooks")]
    worker = Worker([Variant(mdm.Sampler(backend, planner=each), True) for each in planners], splits=False)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = (
        "import json, sys; from mdm_sampling.jobs.worker import Worker\n"
        "worker = Worker.from_recipe(json.load(sys.stdin)); print(json.dumps([worker.specs, worker.settings]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(worker.recipe()),
        capture_output=True,
        text=True,
        cwd=elsewhere,
        env=os.environ,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [worker.specs, worker.settings]
    assert worker.specs[0]["planner"] == "left.py:Leftmost:sign=-1.0"


def test_an_edited_file_is_another_setting(folder: Path) -> None:
    settings = []
    for source in (LEFTMOST, LEFTMOST + "\n# edited\n", LEFTMOST):
        (folder / "left.py").write_text(source)
        registry.cache_clear()
        sampler = mdm.Sampler(mdm.load_backend(), planner=mdm.build("planners", "left.py:Leftmost"))
        settings += Worker([Variant(sampler, True)], splits=False).settings
    assert settings[0] == settings[2] != settings[1]


# --- --plugin FILE.py ---------------------------------------------------------------------------------------------


def test_the_hooks_of_a_file_register_its_parts(folder: Path) -> None:
    done = run("generate", "--plugin", "left.py", "--planner", "leftmost:sign=-1", "--json", PUZZLE)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["spec"]["planner"] == "leftmost:sign=-1.0"
    assert "leftmost  (left.py)" in run("list", "planners", "--plugin", "left.py").stdout
    assert "planners: leftmost" in run("plugins", "list", "--plugin", "left.py").stdout
    (folder / "job.toml").write_text(
        'plugin = ["left.py"]\nplanner = "leftmost"\ninput = "in.jsonl"\noutput = "out.jsonl"'
    )
    (folder / "in.jsonl").write_text(json.dumps({"prompt": PUZZLE}))
    assert run("run", "job.toml").exit_code == 0


def test_a_command_of_a_file_runs_and_its_errors_are_a_sentence(folder: Path) -> None:
    assert run("--plugin", "left.py", "greet", "2").stdout == "hello hello \n"
    assert re.search("greet  +Greet a number of times", run("--plugin", "left.py", "--help").stdout)
    refused = run("--plugin", "left.py", "greet", "0")
    assert (refused.exit_code, refused.stderr.splitlines()[-1]) == (1, "Error: greet: at least once")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, "the file own.py cannot be read: No such file or directory"),
        ("", "the plug-in own.py: it implements no hook"),
        (LEFTMOST.replace('"leftmost"', '"entropy"'), "own.py: 'entropy' in planners is already taken"),
        ("raise KeyError('x')", "the file own.py cannot be loaded: KeyError: 'x' in line 1"),
    ],
)
def test_a_file_that_cannot_be_plugged_in_is_an_error(folder: Path, source: str | None, words: str) -> None:
    if source is not None:
        (folder / "own.py").write_text(source)
    for arguments in (["generate", "--plugin", "own.py", PUZZLE], ["--plugin", "own.py", "greet", "1"]):
        done = run(*arguments)
        assert done.exit_code == 1
        assert words in done.stderr.splitlines()[-1]
        assert done.stdout == ""


# --- Observers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["generate", "watch", "run"])
def test_a_plugins_observer_is_told_of_each_step_of_a_command(folder: Path, command: str) -> None:
    (folder / "observer.py").write_text(OBSERVER.format(after=""))
    (folder / "in.jsonl").write_text(json.dumps({"prompt": PUZZLE}))
    given = ["--input", "in.jsonl", "--output", "out.jsonl"] if command == "run" else [PUZZLE]
    done = run(command, "--plugin", "observer.py", "--planner", "confidence", "--steps", "3", *given)
    assert done.exit_code == 0, done.stderr
    assert done.stderr.count("begins [") == 1
    assert done.stderr.splitlines().count("step") == 3
    assert "begins" not in done.stdout


@pytest.mark.parametrize("after", ["1 / 0", "raise SystemExit(0)", "import os; os.chdir('missing')"])
def test_an_observer_that_fails_is_a_warning_and_disturbs_nothing(folder: Path, after: str) -> None:
    (folder / "observer.py").write_text(OBSERVER.format(after=after))
    plain = run("generate", "--steps", "3", PUZZLE)
    done = run("generate", "--plugin", "observer.py", "--steps", "3", PUZZLE)
    assert (done.exit_code, done.stdout) == (0, plain.stdout)
    assert done.stderr.count("Warning: plug-in observer.py, observing a run, raised ") == 1
    assert done.stderr.splitlines().count("step") == 1


def test_what_is_no_observer_is_a_warning(folder: Path) -> None:
    (folder / "observer.py").write_text("import mdm_sampling as mdm\n@mdm.hookimpl\ndef observe_run():\n    return 3\n")
    done = run("generate", "--plugin", "observer.py", PUZZLE)
    assert done.exit_code == 0, done.stderr
    assert "Warning: plug-in observer.py, observing a run, raised AttributeError" in done.stderr
