"""A job's output: a row for each row of the input, in its order, as JSON lines or Parquet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import SpecError
from ..folders.files import Output, pyarrow_parquet, write_json_lines
from ..folders.lines import Line
from ..folders.written import Written
from .inputs import InputRow

COSTS = ("steps", "sequential_forwards", "forwards", "token_forwards")
FIELDS = (*COSTS, "cumulative_entropy")
SUFFIXES = (".jsonl", ".parquet")


def check_output(output: Output) -> None:
    """Raise `SpecError` for what cannot be written to or must not be lost, before anything is decoded."""
    file = Path(output.file)
    if file.suffix not in SUFFIXES:
        raise SpecError(f"{file}: an output ends in {' or '.join(SUFFIXES)}")
    output.check()
    if file.suffix == ".parquet":
        pyarrow_parquet()


def output_of_job(file: Path, folder: Path, overwrite: bool = False, reads: Sequence[Path] = ()) -> Output:
    """The output of the job in a folder. What that job wrote before may be replaced, if nobody changed it since."""
    return Output(file, Written(folder).__contains__, overwrite, reads)


def write_output(
    output: Output, folder: Path, lines: Sequence[Line], bad: Sequence[InputRow], chat: Mapping[int, bool | None]
) -> None:
    """Write the output whole or not at all. Seconds are left out: they are no part of what was asked.

    Args:
        folder: the job's, where what was written is noted.
        chat: whether the chat template was applied to a row, by its number; None for a text with masks.
    """
    file = Path(output.file)
    rows = [_row(line) | {"chat": chat[line["number"]], "infill": chat[line["number"]] is None} for line in lines]
    rows += [_row({"item": each.id, "number": each.number, "error": each.error}) for each in bad]
    rows.sort(key=lambda row: row["row"])
    with output.replacing() as new:
        (_write_parquet if file.suffix == ".parquet" else write_json_lines)(new, rows)
        Written(folder).add(new, file.name)


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
    types |= dict.fromkeys(COSTS, whole) | {"cumulative_entropy": number, "spec": text}
    flat = [{**row, "spec": None if row["spec"] is None else json.dumps(row["spec"])} for row in rows]
    parquet.write_table(pyarrow.Table.from_pylist(flat, schema=pyarrow.schema(list(types.items()))), file)
