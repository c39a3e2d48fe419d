"""docs/architecture.md against the package: its rooms, all of them, on their floors, and what they import."""

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "mdm_sampling"
PAGE = (ROOT / "docs" / "architecture.md").read_text()
MAP = PAGE.split("## The map")[1].split("## Beside")[0]
FLOORS = [re.findall(r"^\| `([\w./]+)` \|", floor, re.MULTILINE) for floor in MAP.split("### ")[1:]]
Module = tuple[str, ...]
LOOK_UP = {("kinds.py", "registry/"), ("registry/", "cli/"), ("result.py", "views/")}
"""The rooms that import rooms above them; the page says why."""


def test_every_folder_and_top_level_module_is_on_the_map_once() -> None:
    """Files inside a folder are the folder's own affair."""
    modules = {file.name for file in PACKAGE.glob("*.py") if not file.name.startswith("__")}
    folders = {
        f"{folder.relative_to(PACKAGE)}/"
        for folder in PACKAGE.rglob("*")
        if folder.is_dir() and folder.name != "__pycache__" and any(file.is_file() for file in folder.iterdir())
    }
    assert sorted(room for rooms in FLOORS for room in rooms) == sorted(modules | folders)


def test_every_file_that_contributors_are_sent_to_exists() -> None:
    page = (ROOT / "docs" / "CONTRIBUTING.md").read_text()
    named = re.findall(r"\b(?:mdm_sampling|tests|docs)/[\w./-]*\w", page)
    assert len(named) > 10
    assert [name for name in named if not re.search("KIND|NAME", name) and not (ROOT / name).exists()] == []


@dataclass(frozen=True)
class Arrow:
    """A module imports another.

    Attributes:
        runs: "at import", "in a function", or for "type checkers" alone.
    """

    source: Module
    target: Module
    runs: str

    @property
    def rooms(self) -> tuple[str, str]:
        return room_of(self.source), room_of(self.target)


def room_of(module: Module) -> str:
    """The folder or top-level module of the package that a module is in."""
    return f"{module[1]}/" if (PACKAGE / module[1]).is_dir() else f"{module[1]}.py"


def imports_in(body: Iterable[ast.stmt], runs: str) -> Iterator[tuple[ast.ImportFrom, str]]:
    """The imports among statements and inside them, each with when it runs."""
    for statement in body:
        if isinstance(statement, ast.ImportFrom):
            yield statement, runs
        for name in ("body", "orelse", "handlers", "finalbody"):
            inner = runs
            if isinstance(statement, ast.FunctionDef) and runs == "at import":
                inner = "in a function"
            elif isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test) and name == "body":
                inner = "type checkers"
            yield from imports_in(getattr(statement, name, []), inner)


def arrows() -> set[Arrow]:
    """All imports between modules of the package, but for those of the package itself, such as its version."""
    files = {}
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(ROOT).with_suffix("").parts
        files[parts[:-1] if parts[-1] == "__init__" else parts] = file
    found = set()
    for module, file in files.items():
        package = module if file.name == "__init__.py" else module[:-1]
        for statement, runs in imports_in(ast.parse(file.read_text()).body, "at import"):
            if statement.level:
                named = (*package[: len(package) - statement.level + 1], *(statement.module or "").split("."))
                base = tuple(part for part in named if part)
                targets = {(*base, name.name) if (*base, name.name) in files else base for name in statement.names}
                found |= {Arrow(module, target, runs) for target in targets}
    return {arrow for arrow in found if len(arrow.target) > 1 and len(arrow.source) > 1}


def test_imports_form_no_circle() -> None:
    imported: dict[Module, set[Module]] = {}
    for arrow in arrows():
        if arrow.runs == "at import":
            imported.setdefault(arrow.source, set()).add(arrow.target)
    assert sum(map(len, imported.values())) > 400
    TopologicalSorter(imported).prepare()  # raises CycleError, which names the modules


def test_rooms_import_only_their_own_floor_and_those_below() -> None:
    """Imports for type checkers alone do not count."""
    floor_of = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms} | {"__main__.py": 0}
    between = {arrow.rooms for arrow in arrows() if arrow.runs != "type checkers"}
    assert len(between) > 100
    assert {(a, b) for a, b in between if floor_of[b] < floor_of[a]} == LOOK_UP


def defined_in(tree: ast.Module) -> Iterator[str]:
    """The functions, classes and values that a module defines."""
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            yield statement.name
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def used_in(tree: ast.Module, modules: set[str]) -> set[str]:
    """The names that a file may have from others: imported, an attribute of a module, or in a text such as `a.b`."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value).split(".")[-1] in modules:
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= set(re.split("[.:]", node.value))
    return found


def test_a_name_that_its_module_alone_uses_has_an_underscore() -> None:
    """Others are imported somewhere in this repository, or stand in the code of a page."""
    parts = [".ci", "mdm_sampling", "tests", "docs", "plugins", "benchmarks"]
    files = [file for part in parts for file in (ROOT / part).rglob("*.py*") if file.suffix in (".py", ".pyi")]
    trees = {file: ast.parse(file.read_text()) for file in files}
    modules = {file.parent.name if file.stem == "__init__" else file.stem for file in files} | {"mdm"}
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "plugins").rglob("*.md")]
    code = [text for page in pages for text in re.findall(r"(?s)```.*?```|`[^`\n]+`", page.read_text())]
    documented = set(re.findall(r"\w+", " ".join(code)))
    users = Counter(name for tree in trees.values() for name in used_in(tree, modules))
    alone = set()
    for file in PACKAGE.rglob("*.py"):
        mine = used_in(trees[file], modules)
        promised = {name for name in defined_in(trees[file]) if not name.startswith("_")} - documented
        alone |= {name for name in promised if users[name] == (name in mine)}
    assert alone == set(), "underscore them"


def test_no_module_takes_what_another_keeps_to_itself() -> None:
    taken = []
    for file in [file for part in ("mdm_sampling", "plugins", "benchmarks") for file in (ROOT / part).rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("mdm_sampling")):
                taken += [f"{file}: {name.name}" for name in node.names if name.name.strip("_") == name.name[1:]]
    assert taken == []
