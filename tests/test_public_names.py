"""What documents teach and other code uses is what is promised: imports of docs, plug-ins and benchmarks."""

import ast
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROMISE = (ROOT / "docs" / "hooks.md").read_text().split("## What is promised")[1].split("\n\n")[1]
PUBLIC = set(re.findall(r"`(mdm_sampling[.\w]*)`", PROMISE))
INSIDE = {
    "benchmarks/breakdown.py": {"mdm_sampling.backends.base"},  # takes the time of a backend's own calls
    "benchmarks/plain.py": {"mdm_sampling.backends.slots.cache_argument"},  # calls transformers as we do
    "benchmarks/screenshots.py": {  # drives the live view without a terminal
        "mdm_sampling.views.terminal.lockstep.watch",
        "mdm_sampling.views.terminal.view.Lane",
    },
}
"""Files that look inside on purpose, and at what."""


def python_of(file: Path) -> str:
    """The code of a module, or of a page's blocks."""
    text = file.read_text()
    if file.suffix == ".py":
        return text
    return "\n".join(re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL))


def imported(code: str) -> Iterator[str]:
    """What code imports from the package, as full names."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name.startswith("mdm_sampling"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mdm_sampling"):
            yield from (f"{node.module}.{each.name}" for each in node.names)


def exported(module: str) -> set[str]:
    """What a public module exports by name: `import x as x`, and what it defines itself."""
    origin = Path(find_spec(module).origin)  # type: ignore[union-attr, arg-type]
    stub = origin.with_suffix(".pyi")
    tree = ast.parse((stub if stub.exists() else origin).read_text())
    names = {each.name for node in tree.body if isinstance(node, ast.ImportFrom) for each in node.names if each.asname}
    return names | {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}


FILES = [
    ROOT / "README.md",
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "plugins").rglob("*.py"),
    *(ROOT / "plugins").rglob("README.md"),
    *(ROOT / "benchmarks").rglob("*.py"),
]
IMPORTING = sorted((file, name) for file in FILES for name in set(imported(python_of(file))))


@pytest.mark.parametrize(("file", "name"), IMPORTING, ids=[f"{file.name}-{name}" for file, name in IMPORTING])
def test_only_public_names_are_imported(file: Path, name: str) -> None:
    module, _, last = name.rpartition(".")
    if name in PUBLIC or name in INSIDE.get(str(file.relative_to(ROOT)), ()):
        return
    assert module in PUBLIC, f"{file} imports {name}, and {module} is not public"
    assert last in exported(module), f"{file} imports {name}, which {module} does not export"


def test_each_promised_module_exists_and_each_exception_is_needed() -> None:
    assert len(PUBLIC) >= 9
    assert all(find_spec(module) for module in PUBLIC)
    found = {(str(file.relative_to(ROOT)), name) for file, name in IMPORTING}
    assert {(file, name) for file, names in INSIDE.items() for name in names} <= found
