"""What `mdm-sampling plugins new` writes: a distribution with one part or command, its test and its README.

The templates are files beside this one. Each is a working plug-in once its words, such as $name, are filled in.
"""

from __future__ import annotations

import builtins
import os
import tempfile
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path
from string import Template

from ..errors import SpecError
from ..registry.installed import names

_TEMPLATES = Path(__file__).parent / "templates"
_PUZZLE = '"1... ..3. .1.. ...4"'
USES = {
    "planner": f"generate --planner $name {_PUZZLE}",
    "draft-shape": f"generate --planner speculate:shape=$name {_PUZZLE}",
    "cache": f"generate --cache $name {_PUZZLE}",
    "token-sampler": "plugins show $name",
    "schedule": f"generate --schedule $name {_PUZZLE}",
    "processor": f"generate --processor $name {_PUZZLE}",
    "task": "compare --task $name --items 4 --planner confidence -k 1",
    "backend": "plugins show $name",
    "command": f"$name {_PUZZLE}",
}
"""The kinds that there are templates for, and a command that uses what they make."""


def commands_of(name: str, kind: str) -> list[str]:
    """The commands that try and check what was written."""
    check = {"command": [], "backend": [f"plugins check {name} --model FOLDER"]}.get(kind, [f"plugins check {name}"])
    return [f"mdm-sampling {each}" for each in (USES[kind].replace("$name", name), *check)]


def write_plugin(name: str, into: Path, kind: str = "planner") -> Path:
    """Write the distribution `mdm-<name>` into a folder and return its own. Raises `SpecError` if that exists."""
    distribution = f"mdm-{name}"
    folder = into / distribution
    if distribution in names():
        raise SpecError(f"a distribution called {distribution} is installed already; choose another name")
    if os.path.lexists(folder):
        raise SpecError(f"{folder} already exists; nothing was written")
    module = distribution.replace("-", "_")
    cls = "".join(word.capitalize() for word in name.split("-"))
    if iskeyword(cls) or hasattr(builtins, cls):
        raise SpecError(f"{name!r} would make a class {cls}, which is Python's own name; choose another one")
    if find_spec(module) is not None:
        raise SpecError(f"a module called {module} can be imported already; choose another name")
    words = {"name": name, "distribution": distribution, "module": module, "cls": cls, "kind": kind.replace("-", " ")}
    words["commands"] = "\n".join(commands_of(name, kind))
    files = {
        "pyproject.toml": "pyproject.toml",
        f"{module}.py": f"{kind}.py",
        f"tests/test_{module.removeprefix('mdm_')}.py": f"{kind}_test.py",
        "README.md": "README.md",
    }
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into) as unfinished:  # so that a fault leaves nothing half-written
        made = Path(unfinished) / distribution
        for file, template in files.items():
            text = (_TEMPLATES / f"{template}.txt").read_text(encoding="utf-8")
            (made / file).parent.mkdir(parents=True, exist_ok=True)
            (made / file).write_text(Template(text).substitute(words), encoding="utf-8")
        os.rename(made, folder)
    return folder
