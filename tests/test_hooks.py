"""docs/hooks.md against the code: every hook and interface with its exact signature, every field of the records."""

import inspect
import re
import sys
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import mdm_sampling as mdm
from mdm_sampling.registry import hookspecs
from mdm_sampling.registry.installed import GROUP
from mdm_sampling.registry.registry import KINDS, Plugin, Registry
from mdm_sampling.testing.conformance import outcomes

PAGE = (Path(__file__).parent.parent / "docs" / "hooks.md").read_text()
HOOKS = {name: hook for name, hook in vars(hookspecs).items() if hasattr(hook, f"{GROUP}_spec")}
INTERFACES = [*KINDS.values(), mdm.ScorePlanner, mdm.ModelBackend, mdm.Slots]
METHODS = [
    (f"{kind.__name__}.{name}", method)
    for kind in INTERFACES
    for name, method in vars(kind).items()
    if getattr(method, "__isabstractmethod__", False)
] + [
    (f"CheckpointFamily.{name}", method)
    for name, method in vars(mdm.CheckpointFamily).items()
    if callable(method) and not name.startswith("_") and name not in vars(mdm.BackendFamily)
]


def signature(function: Any) -> str:
    return str(inspect.signature(function)).replace("'", "")


@pytest.mark.parametrize("name", HOOKS)
def test_each_hook_is_there_with_its_signature(name: str) -> None:
    assert f"| `{name}{signature(HOOKS[name])}` |".replace(" | None` |", " \\| None` |") in PAGE


def test_there_is_one_hook_for_each_kind_and_none_is_made_up() -> None:
    assert set(HOOKS) == {*(f"register_{kind}" for kind in KINDS), "register_commands", "observe_run"}
    assert set(re.findall(r"^\| `((?:register|observe)_\w+)\(", PAGE, flags=re.MULTILINE)) == set(HOOKS)


def test_the_examples_are_plugins_of_every_kind_that_keep_their_contracts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blocks of the page as one module: each hook is there once, and what is registered conforms."""
    monkeypatch.chdir(tmp_path)
    module = sys.modules["example"] = ModuleType("example")
    for block in re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL):
        exec(block, vars(module))
    assert {name for name in vars(module) if name in HOOKS} == set(HOOKS)
    registry = Registry()
    registry.plug_in(Plugin("example", "example", "1", "example"), module)
    (plugin,) = registry.plugins
    assert {claim.kind for claim in plugin.parts} == {*KINDS, "commands"}
    (observer,) = registry.call(module, "observe_run", sampler=vars(module)["sampler"])
    assert all(callable(getattr(observer, name)) for name in ("begin", "add"))
    for claim in plugin.parts:
        if claim.kind != "commands":
            part = vars(module)["model"] if claim.kind == "backends" else claim.part()
            assert [each for each in outcomes(claim.kind, part, 5) if each.breach] == []


@pytest.mark.parametrize(("name", "method"), METHODS, ids=[name for name, _ in METHODS])
def test_each_method_that_a_part_implements_is_there_with_its_signature(name: str, method: Any) -> None:
    assert f"`{name}{signature(method)}`" in " ".join(PAGE.split())


def test_no_signature_on_the_page_is_stale() -> None:
    written = set(re.findall(r"`([A-Z]\w+\.\w+\(self[^`]*)`", " ".join(PAGE.split())))
    assert written == {f"{name}{signature(method)}" for name, method in METHODS}


@pytest.mark.parametrize("kind", INTERFACES, ids=lambda kind: kind.__name__)
def test_each_property_that_a_part_may_override_is_there(kind: type) -> None:
    for name, value in vars(kind).items():
        if isinstance(value, property) and kind is not mdm.ModelBackend:
            assert f"`{kind.__name__}.{name}`" in PAGE


@pytest.mark.parametrize("record", [mdm.Step, mdm.Plan, mdm.Needs, mdm.Prediction], ids=lambda record: record.__name__)
def test_the_tables_list_the_members_of_the_records_in_order(record: Any) -> None:
    table = re.split(rf"\| (?:field|member) of `{record.__name__}` \|", PAGE)[1].split("\n\n")[0]
    members = [field.name for field in fields(record)]
    for name, value in vars(record).items():
        if inspect.isfunction(value):
            given = list(inspect.signature(value).parameters.values())[1:]
            members.append(f"{name}({', '.join(str(each.replace(annotation=each.empty)) for each in given)})")
        elif isinstance(value, property):
            members.append(name)
    listed = re.findall(r"^\| `([^`]+)` \|", table, flags=re.MULTILINE)
    assert listed == [member for member in members if not member.startswith("_")]
