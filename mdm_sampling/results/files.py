"""Files of rows, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import SpecError


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A file to write to that then takes the place of `file`, which whatever happens is the old one or the new.

    Raises `SpecError` for what is no ordinary file, such as a device. A link stays, and its target is replaced.
    """
    file = file.resolve()
    if not file.name or (file.exists() and not file.is_file()):
        raise SpecError(f"{file} is no ordinary file, and nothing was written")
    temporary = file.with_name(f".{file.name}.tmp")
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def replace_file(file: Path, text: str) -> None:
    """Write a text so that the file is either the old one or the new one, whatever happens."""
    with replacing(file) as new:
        new.write_text(text, encoding="utf-8")


def write_json_lines(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A line of JSON for each row."""
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def pyarrow_parquet() -> Any:
    """pyarrow's Parquet module. Raises `SpecError` where it is missing."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise SpecError('Parquet needs pyarrow; pip install "mdm-sampling[parquet]"') from error
    return pyarrow.parquet
