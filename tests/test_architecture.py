"""docs/architecture.md against the package: every folder and top-level module is on the map, and nothing else."""

import re
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
