"""A job's output: a row for each row of the input, in its order, as JSON lines or Parquet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import SpecError
from ..results.files import pyarrow_parquet, replacing, write_json_lines
from ..results.store import Line
from .inputs import Asked

FIELDS = ("steps", "forwards", "token_forwards", "cumulative_entropy")
SUFFIXES = (".jsonl", ".parquet")


def check_output(file: Path) -> None:
    """Raise `SpecError` for a name that cannot be written to, before anything is decoded."""
    if file.suffix not in SUFFIXES:
        raise SpecError(f"{file}: an output ends in {' or '.join(SUFFIXES)}")
    if file.is_dir():
        raise SpecError(f"{file} is a folder, not an output")
    if not file.parent.is_dir():
        raise SpecError(f"there is no folder {file.parent} to write {file.name} into")
    if file.suffix == ".parquet":
        pyarrow_parquet()


def write_output(file: Path, lines: Sequence[Line], bad: Sequence[Asked], chat: Mapping[int, bool | None]) -> None:
    """Write the output whole or not at all. Seconds are left out: they are no part of what was asked.

    Args:
        chat: whether the chat template was applied to a row, by its number; None for a text with masks.
    """
    rows = [_row(line) | {"chat": chat[line["number"]], "infill": chat[line["number"]] is None} for line in lines]
    rows += [_row({"item": each.id, "number": each.number, "error": each.error}) for each in bad]
    rows.sort(key=lambda row: row["row"])
    with replacing(file) as new:
        (_write_parquet if file.suffix == ".parquet" else write_json_lines)(new, rows)


def _row(line: Line) -> dict[str, Any]:
    """A line of the journal as a row of the output; None where a row failed."""
    row = {"row": line["number"], "id": line["item"], "text": line.get("text"), "error": line.get("error")}
    row |= {"seed": line.get("seed"), "chat": None, "infill": None, "tokens": line.get("tokens")}
    row |= {name: line.get(name) for name in FIELDS}
    return row | {"spec": line.get("spec")}


def _write_parquet(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    parquet = pyarrow_parquet()
    import pyarrow

    whole, text, number, either = pyarrow.int64(), pyarrow.string(), pyarrow.float64(), pyarrow.bool_()
    types = {"row": whole, "id": text, "text": text, "error": text, "seed": whole, "chat": either, "infill": either}
    types |= {"tokens": pyarrow.list_(whole)}
    types |= {"steps": whole, "forwards": whole, "token_forwards": whole, "cumulative_entropy": number, "spec": text}
    flat = [{**row, "spec": None if row["spec"] is None else json.dumps(row["spec"])} for row in rows]
    parquet.write_table(pyarrow.Table.from_pylist(flat, schema=pyarrow.schema(list(types.items()))), file)
