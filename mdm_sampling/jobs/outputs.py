"""A job's output: a row for each row of the input, in its order, as JSON lines or Parquet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import SpecError, require
from ..folders.files import Output, pyarrow_parquet, write_json_lines, write_parquet
from ..folders.lines import COUNTS, Line
from ..folders.written import Written

COLUMNS = (
    *("row", "id", "text", "error", "seed", "chat", "infill", "system", "stop"),
    *("tokens", *COUNTS, "cumulative_entropy", "spec"),
)
_SUFFIXES = (".jsonl", ".parquet")


def check_output(output: Output, keep_columns: Iterable[str] = ()) -> None:
    """Raise `SpecError` for what cannot be written or must not be lost, before anything is decoded."""
    file = Path(output.file)
    for name in keep_columns:
        require(name not in COLUMNS, f"the column {name!r} cannot be kept: the output has one of that name")
    if file.suffix not in _SUFFIXES:
        raise SpecError(f"{file}: an output ends in {' or '.join(_SUFFIXES)}")
    output.check()
    if file.suffix == ".parquet":
        pyarrow_parquet()


def output_of_job(file: Path, folder: Path, overwrite: bool = False, reads: Sequence[Path] = ()) -> Output:
    """The output of the job in a folder. What that job wrote before may be replaced, if nobody changed it since."""
    return Output(file, Written(folder).__contains__, overwrite, reads)


def output_row(line: Line, kept: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the output from what is known of it, and the columns that it keeps; None for what is not known.

    Seconds are left out: they are not part of what was asked.
    """
    return {"row": line["number"], "id": line["item"], **kept, **{name: line.get(name) for name in COLUMNS[2:]}}


def write_output(output: Output, folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows in the input's order, whole or not at all, and note it in the job's folder."""
    file, ordered = Path(output.file), sorted(rows, key=lambda row: row["row"])
    with output.replacing() as new:
        (write_parquet if file.suffix == ".parquet" else write_json_lines)(new, ordered)
        Written(folder).add(new, file.name)
