"""The registry: built-ins through hooks, plug-ins through entry points, commands, and plug-ins that are broken."""

import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest

import mdm_sampling as mdm
from mdm_sampling.registry.registry import Plugin, Registry, load


class FakeDistribution:
    version = "1.2"

    def __init__(self, name: str) -> None:
        self.name = name


class FakeEntryPoint:
    """An entry point whose module is an object in memory, or an exception that importing it raises."""

    def __init__(self, name: str, distribution: str, plugin: object) -> None:
        self.name = name
        self.value = f"{name}_module"
        self.dist = FakeDistribution(distribution)
        self.plugin = plugin

    def load(self) -> object:
        if isinstance(self.plugin, BaseException):
            raise self.plugin
        return self.plugin


@dataclass(frozen=True)
class TopMass(mdm.ScorePlanner):
    """Unmask where the k likeliest tokens hold the most probability."""

    k: int = 5

    def score(self, step: mdm.Step):  # type: ignore[no-untyped-def]
        return step.confidence


@dataclass
class NotFrozen(mdm.ScorePlanner):
    """Not frozen."""

    def score(self, step: mdm.Step):  # type: ignore[no-untyped-def]
        return step.confidence


def plugin(*parts: tuple[str, object]) -> object:
    class Plugin:
        @mdm.hookimpl
        def register_planners(self, register):  # type: ignore[no-untyped-def]
            for name, part in parts:
                register(name, part)

    return Plugin()


def loaded(*entries: tuple[str, str, object]) -> Registry:
    points: list[EntryPoint] = [FakeEntryPoint(*entry) for entry in entries]  # type: ignore[misc]
    return load(points)


def test_a_plugin_is_registered_with_its_distribution() -> None:
    registry = loaded(("top-mass", "mdm-top-mass", plugin(("top-mass", TopMass))))
    claim = registry.get("planners", "top-mass")
    assert (claim.part, claim.distribution, registry.problems) == (TopMass, "mdm-top-mass", [])
    assert claim.rule == "Unmask where the k likeliest tokens hold the most probability."
    assert registry.plugins[1] == Plugin("top-mass", "mdm-top-mass", "1.2", "top-mass_module", (claim,))
    assert registry.plugins[0].name == "mdm-sampling"
    assert len(registry.plugins[0].parts) == sum(len(claims) for claims in registry.parts.values()) - 1


def commands(*names: str, **and_parts: object) -> object:
    class Plugin:
        @mdm.hookimpl
        def register_commands(self, cli: click.Group) -> None:
            for name in names:
                cli.add_command(click.Command(name, help="Count. And more."))

        @mdm.hookimpl
        def register_planners(self, register):  # type: ignore[no-untyped-def]
            for name, part in and_parts.items():
                register(name, part)

    return Plugin()


class Misspelt:
    @mdm.hookimpl
    def register_planer(self, register):  # type: ignore[no-untyped-def]
        """No such hook."""


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (ImportError("No module named 'numba'"), "ImportError: No module named 'numba'"),
        (SystemExit(3), "SystemExit: 3"),
        (plugin(("info-gain", TopMass)), "'info-gain' in planners is already taken by mdm-sampling"),
        (plugin(("Top Mass", TopMass)), "is not a name for a part"),
        (plugin(("top", NotFrozen)), "must be a frozen dataclass"),
        (plugin(("top", mdm.NoCache)), "must be a subclass of PositionPlanner"),
        (plugin(("top", TopMass())), "must be a subclass of PositionPlanner"),
        (Misspelt(), "register_planer"),
        (commands("count", "generate"), "'generate' in commands is already taken by mdm-sampling"),
        (commands("Count It"), "is not a name for a command"),
        (commands("count", top=NotFrozen), "must be a frozen dataclass"),
        (object(), "implements no hook"),
    ],
    ids=[
        "import",
        "exit",
        "built-in name",
        "bad name",
        "not frozen",
        "wrong kind",
        "an instance",
        "misspelt hook",
        "built-in command",
        "bad command",
        "command and bad part",
        "no hook",
    ],
)
def test_a_broken_plugin_is_reported_and_the_rest_works(broken: object, message: str) -> None:
    registry = loaded(("bad", "mdm-bad", broken), ("good", "mdm-good", plugin(("top-mass", TopMass))))
    assert [(p.name, p.distribution) for p in registry.problems] == [("bad", "mdm-bad")]
    assert message in registry.problems[0].problem
    assert registry.get("planners", "top-mass").distribution == "mdm-good"
    assert registry.get("planners", "info-gain").part is mdm.InfoGain
    assert registry.kind("commands") == []
    assert len(registry.manager.get_plugins()) == 2


def test_a_plugin_brings_a_command_beside_its_parts() -> None:
    registry = loaded(("count", "mdm-count", commands("count", top=TopMass)))
    command = registry.get("commands", "count")
    assert (command.part.name, command.rule, command.distribution) == ("count", "Count. And more.", "mdm-count")
    assert [claim.name for claim in registry.plugins[1].parts] == ["top", "count"]


def test_a_command_claimed_twice_is_refused_and_names_both() -> None:
    registry = loaded(("a", "mdm-a", commands("count")), ("b", "mdm-b", commands("count", "other")))
    with pytest.raises(mdm.SpecError, match="'count' in commands is claimed by mdm-a and mdm-b; uninstall one"):
        registry.get("commands", "count")
    assert registry.get("commands", "other").distribution == "mdm-b"


def test_one_module_under_two_entry_points_is_loaded_once() -> None:
    one = plugin(("top-mass", TopMass))
    registry = loaded(("a", "mdm-a", one), ("b", "mdm-b", one))
    assert registry.problems[0].problem == "its module is registered already, as a of mdm-a"
    assert registry.get("planners", "top-mass").distribution == "mdm-a"


def test_a_plugin_registers_all_its_parts_or_none() -> None:
    registry = loaded(("bad", "mdm-bad", plugin(("top-mass", TopMass), ("random", TopMass))))
    assert registry.problems == [registry.plugins[1]]
    assert isinstance(registry.problems[0], Plugin)
    assert registry.problems[0].parts == ()
    with pytest.raises(mdm.SpecError, match="unknown name 'top-mass'"):
        registry.get("planners", "top-mass")


def test_a_name_claimed_twice_names_both_distributions() -> None:
    registry = loaded(("a", "mdm-a", plugin(("top", TopMass))), ("b", "mdm-b", plugin(("top", TopMass))))
    with pytest.raises(mdm.SpecError, match="'top' in planners is claimed by mdm-a and mdm-b; uninstall one"):
        registry.get("planners", "top")
    assert registry.get("planners", "margin").part is mdm.Margin


def test_an_installed_distribution_is_found(tmp_path: Path) -> None:
    """A real entry point in a real folder, in a fresh process; it runs by its spec from the command line."""
    (tmp_path / "topthree.py").write_text(
        "from dataclasses import dataclass\n"
        "import mdm_sampling as mdm\n\n\n"
        "@dataclass(frozen=True)\n"
        "class TopThree(mdm.ScorePlanner):\n"
        '    """Unmask where the k likeliest tokens hold the most probability."""\n\n'
        "    k: int = 5\n\n"
        "    def score(self, step):\n"
        "        return step.confidence\n\n\n"
        "@mdm.hookimpl\n"
        "def register_planners(register):\n"
        '    register("top-three", TopThree)\n'
    )
    info = tmp_path / "mdm_topthree-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mdm-topthree\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mdm_sampling]\ntopthree = topthree\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from mdm_sampling.cli import main\n"
        "main(['generate', '--planner', 'top-three:k=3', '1... ..3. .1.. ...4'], standalone_mode=False)\n"
        "main(['list', 'planners'], standalone_mode=False)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "top-three  (mdm-topthree)" in done.stdout
    assert "k=5" in done.stdout


class Wandering:
    """A plug-in that changes the working folder and prints while it registers its part."""

    @mdm.hookimpl
    def register_planners(self, register):  # type: ignore[no-untyped-def]
        os.chdir("/")
        print("hello")
        register("wandering", TopMass)


def test_a_plugin_does_not_move_what_a_command_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    found = load([FakeEntryPoint("wandering", "mdm-wandering", Wandering())])  # type: ignore[list-item]
    assert found.get("planners", "wandering").part is TopMass
    assert Path.cwd() == tmp_path
    assert capsys.readouterr().out == ""


def test_a_distribution_without_readable_metadata_is_left_out_with_one_warning(tmp_path: Path) -> None:
    """An empty `.dist-info`, as an interrupted installation leaves it, makes Python's own look-up raise."""
    (tmp_path / ".dist-info").mkdir()
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    asked = "import importlib.metadata as m; m.entry_points()"
    command = ["-m", "mdm_sampling", "generate", "1... ..3. .1.. ...4"]
    raised, done = (
        subprocess.run([sys.executable, *each], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path})
        for each in (["-c", asked], command)
    )
    assert raised.returncode == 1, "Python reads it after all: break it in another way"
    assert (done.returncode, done.stdout.split()) == (0, ["1342", "2431", "4123", "3214"]), done.stderr
    assert done.stderr.count("its metadata cannot be read, so it is left out") == done.stderr.count("\n") == 1
