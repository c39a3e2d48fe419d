"""The files that a command writes and those that it reads, as they are named when it starts.

Both are resolved before any plug-in is loaded, since one may change the working folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ..folders.files import Output

CONFIG = "mdm_sampling.config"
"""The key under which the context keeps the TOML file of options, which is not a value of an option itself."""

TRACE = re.compile(rb'\{"trace":\d+,"canvas":\{')
"""How every trace begins."""

_NOT_READ = {".jsonl", ".html", ".csv", ".md", ".png", ".svg", ".parquet"}
"""What may lie in a checkpoint's folder and is not part of the checkpoint."""


def trace_output(options: dict[str, Any]) -> Output | None:
    """The file of `--trace`, if there is one. A trace of any run may be replaced by another."""
    name = options["trace_file"]
    if name is None:
        return None
    return Output(Path(name).absolute(), _is_trace, options["overwrite"], files_read(), grows=True)


def _is_trace(file: Path) -> bool:
    """Whether a file begins as traces do."""
    with open(file, "rb") as opened:
        return TRACE.match(opened.read(64)) is not None


def files_read() -> list[Path]:
    """The files that the running command reads: those that its options name, inside specs too, and the model's."""
    context = click.get_current_context()
    found = [context.meta[CONFIG]] if CONFIG in context.meta else []
    for parameter in context.command.params:
        value = context.params.get(str(parameter.name))
        for each in value if isinstance(value, tuple | list) else [value]:
            if isinstance(parameter.type, click.Path):
                found += [each] if parameter.type.exists and each is not None else []
            elif parameter.name == "model" and each is not None:
                found += _model_files(str(each))
            elif isinstance(each, str):
                found += _files_of_spec(each)
    return [Path(file).absolute() for file in found if os.path.isfile(file)]


def _files_of_spec(spec: str) -> Iterator[str]:
    """Whatever in a spec such as `jsonl:questions.jsonl,length=4` could name a file."""
    for piece in re.split(r"[,()\[\]]", spec):
        for begin in re.finditer(r"^|[:=]", piece):
            yield piece[begin.end() :].strip()


def _model_files(model: str) -> list[Path]:
    """The files of a checkpoint's folder; of the model inside this package too."""
    folder = Path(__file__).parents[1] / "backends" / "embedded_model" if model == "embedded" else Path(model)
    if not os.path.isdir(folder):
        return []
    return [file for file in folder.iterdir() if file.suffix not in _NOT_READ]
