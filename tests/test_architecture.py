"""docs/architecture.md against the package: every folder and top-level module is on the map, and nothing else."""

import ast
import re
from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text()


def test_every_folder_and_top_level_module_is_on_the_map_once() -> None:
    """Files inside a folder are the folder's own affair."""
    package = ROOT / "mdm_sampling"
    modules = {file.name for file in package.glob("*.py") if not file.name.startswith("__")}
    folders = {
        f"{folder.relative_to(package)}/"
        for folder in package.rglob("*")
        if folder.is_dir() and folder.name != "__pycache__" and any(file.is_file() for file in folder.iterdir())
    }
    mapped = re.findall(r"^\| `([\w./]+)` \|", PAGE.split("## The map")[1].split("## Beside")[0], re.MULTILINE)
    assert sorted(mapped) == sorted(modules | folders)


def test_every_file_that_contributors_are_sent_to_exists() -> None:
    page = (ROOT / "docs" / "CONTRIBUTING.md").read_text()
    named = re.findall(r"\b(?:mdm_sampling|tests|docs)/[\w./-]*\w", page)
    assert len(named) > 10
    assert [name for name in named if "KIND" not in name and not (ROOT / name).exists()] == []


def statements_at_import(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run when a module is imported; not those of functions, nor those for type checkers alone."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef) or (
            isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test)
        ):
            continue
        yield statement
        yield from statements_at_import(getattr(statement, "body", []))


def test_imports_form_no_circle() -> None:
    files = {}
    for file in (ROOT / "mdm_sampling").rglob("*.py"):
        parts = file.relative_to(ROOT).with_suffix("").parts
        files[parts[:-1] if parts[-1] == "__init__" else parts] = file
    imported: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for module, file in files.items():
        package = module if file.name == "__init__.py" else module[:-1]
        found = imported[module] = set()
        for statement in statements_at_import(ast.parse(file.read_text()).body):
            if isinstance(statement, ast.ImportFrom) and statement.level:
                named = (*package[: len(package) - statement.level + 1], *(statement.module or "").split("."))
                base = tuple(part for part in named if part)
                found |= {(*base, name.name) if (*base, name.name) in files else base for name in statement.names}
    assert sum(map(len, imported.values())) > 400
    TopologicalSorter(imported).prepare()  # raises CycleError, which names the modules
