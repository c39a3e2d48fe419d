"""What `mdm-sampling plugins new` writes: a distribution with one planner, its test and its README."""

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

PYPROJECT = """\
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "$distribution"
version = "0.1.0"
description = "The planner $name for mdm-sampling"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["mdm-sampling"]

[project.optional-dependencies]
test = ["mdm-sampling[testing]"]

[project.entry-points.mdm_sampling]
$name = "$module"

[tool.hatch.build.targets.wheel]
only-include = ["$module.py"]
"""

MODULE = '''\
"""$name: say here which rule this is, and which paper and equation it comes from."""

from dataclasses import dataclass

import mdm_sampling as mdm


@dataclass(frozen=True)
class $cls(mdm.ScorePlanner):
    """Unmask confident positions, those further left a little sooner.

    Args:
        slope: confidence that a position loses for each position to its left.
    """

    slope: float = 0.01

    def __post_init__(self) -> None:
        if not 0 <= self.slope < float("inf"):
            raise mdm.SpecError(f"$name: slope must be finite and 0 or more, got {self.slope}")

    def score(self, step: mdm.Step):
        """A number for each position of each row, [b l]; the `quota` best masked positions are filled."""
        return step.confidence - self.slope * step.positions


@mdm.hookimpl
def register_planners(register: mdm.Register) -> None:
    register("$name", $cls)
'''

TEST = """\
import pytest
from $module import $cls

import mdm_sampling as mdm
from mdm_sampling.testing import check_planner


@pytest.mark.parametrize("slope", [0.0, 0.01, 1.0])
def test_it_conforms(slope: float) -> None:
    check_planner($cls(slope))


def test_a_steep_slope_fills_from_left_to_right() -> None:
    sampler = mdm.load("embedded", steps=20, max_new_tokens=20)
    tokens = [sampler.backend.mask_id] * 5
    from_left = mdm.Sampler(sampler.backend, planner=$cls(slope=2.0), steps=5)
    filled = [record.unmask[0].nonzero().item() for record in from_left.iterate(from_left.canvas([([], tokens)]))]
    assert filled == [0, 1, 2, 3, 4]


def test_a_bad_slope_is_refused() -> None:
    with pytest.raises(mdm.SpecError, match="slope must be finite"):
        $cls(slope=-1.0)
"""

README = """\
# $distribution

The planner `$name` for mdm-sampling. Say here what it does, when it helps, and which paper it comes from.

```sh
pip install -e .
mdm-sampling generate --planner $name:slope=0.02 "1... ..3. .1.. ...4"
mdm-sampling plugins check $name
pip install -e ".[test]" && python -m pytest
```
"""


def write_plugin(name: str, into: Path) -> Path:
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
    words = {
        "name": name,
        "distribution": distribution,
        "module": module,
        "cls": cls,
    }
    files = {
        "pyproject.toml": PYPROJECT,
        f"{module}.py": MODULE,
        f"tests/test_{module.removeprefix('mdm_')}.py": TEST,
        "README.md": README,
    }
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into) as place:  # so that a fault leaves nothing half-written
        made = Path(place) / distribution
        for file, text in files.items():
            (made / file).parent.mkdir(parents=True, exist_ok=True)
            (made / file).write_text(Template(text).substitute(words), encoding="utf-8")
        os.rename(made, folder)
    return folder
