"""What stands in `plugins/` is written as others write it: with public names only."""

import ast
from pathlib import Path

import pytest

import mdm_sampling as mdm

PLUGINS = Path(__file__).parent.parent / "plugins"
PUBLIC_MODULES = {"mdm_sampling", "mdm_sampling.testing"}


@pytest.mark.parametrize("file", sorted(PLUGINS.rglob("*.py")), ids=lambda file: file.name)
def test_a_plug_in_uses_public_names_only(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mdm_sampling"):
            assert node.module in PUBLIC_MODULES
        elif isinstance(node, ast.Import):
            modules = {each.name for each in node.names if each.name.startswith("mdm_sampling")}
            assert modules <= PUBLIC_MODULES
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "mdm":
            assert node.attr in dir(mdm)
