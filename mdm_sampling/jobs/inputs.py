"""Reading a job's rows: JSON lines, CSV or Parquet. A row that cannot be read is kept, with its error."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..backends.chat import WRONG, messages_of
from ..encoding import utf8_of
from ..errors import CanvasError, SpecError
from ..folders.files import pyarrow_parquet
from ..prompts import Prompt

COLUMNS = ("prompt", "messages", "text", "question")
"""Where a prompt is looked for unless a column is named, in this order."""
_STANDARD_INPUT = Path("-")


@dataclass(frozen=True)
class InputRow:
    """One row of the input.

    Attributes:
        number: its position in the input, from 0.
        id: what the input calls it, else its number, as text.
        prompt: a text or chat messages; None if the row is bad.
        error: why it is bad, a sentence.
        kept: columns of the input that the output gets as well, by name, JSON-able.
    """

    number: int
    id: str
    prompt: Prompt | None
    error: str | None = None
    kept: Mapping[str, Any] = field(default_factory=dict)


def read_rows(
    file: str | Path, column: str | None = None, id_column: str | None = None, keep_columns: Sequence[str] = ()
) -> list[InputRow]:
    """The rows of a file that ends in .jsonl, .csv or .parquet.

    Args:
        file: "-" for JSON lines on standard input.
        column: holds the prompts, texts or chat messages; None for the first of `COLUMNS` that the file has.
        id_column: names the rows; None for "id" where there is one, else rows are called by their number.
        keep_columns: go into the output as they are; None where a row lacks one.

    Raises:
        SpecError: for a file that cannot be read at all. A bad row is not a reason: it comes back with its error.
    """
    file = Path(file)
    readers = {".jsonl": _json_lines, ".csv": _csv_rows, ".parquet": _parquet_rows}
    is_piped = file == _STANDARD_INPUT
    if not is_piped and file.suffix not in readers:
        raise SpecError(f"{file}: an input ends in {', '.join(readers)} (generate --file reads a text file)")
    try:
        data = sys.stdin.buffer.read() if is_piped else file.read_bytes()
    except OSError as error:
        raise SpecError(f"{file} cannot be read: {error.strerror or error}") from error
    file, suffix = (Path("standard input"), ".jsonl") if is_piped else (file, file.suffix)
    records = list(readers[suffix](file, data))
    if not records:
        raise SpecError(f"{file} holds no rows")
    known = dict.fromkeys(name for record in records if not isinstance(record, str) for name in record)
    for named in (column, id_column, *keep_columns):
        if named is not None and known and named not in known:
            raise SpecError(f"{file} has no column {named!r}, it has {', '.join(map(str, known))}")
    column = column or _found_column(file, known, records[0])
    return [_input_row(number, record, column, id_column, keep_columns) for number, record in enumerate(records)]


def _as_utf8(file: Path, data: bytes) -> bytes:
    """The text as UTF-8. A line that is not such text makes a bad row, so it is not decoded yet."""
    try:
        return utf8_of(data)
    except ValueError as error:
        raise SpecError(f"{file} cannot be read: {error}") from error


def _json_lines(file: Path, data: bytes) -> Iterator[Mapping[str, Any] | str]:
    """The objects of the lines that are not blank; for a bad line what is wrong with it."""
    for number, line in enumerate(_as_utf8(file, data).split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line.decode())  # and not `parse_json`: a row keeps its name if only its prompt is bad
        except (ValueError, RecursionError) as error:
            yield f"line {number} is not valid JSON ({error})"
            continue
        yield value if isinstance(value, dict) else f"line {number} holds no JSON object"


def _csv_rows(file: Path, data: bytes) -> Iterator[Mapping[str, Any] | str]:
    csv.field_size_limit(2**31 - 1)
    text = _as_utf8(file, data).decode(errors="surrogateescape")
    try:
        yield from csv.DictReader(io.StringIO(text, newline=""))
    except csv.Error as error:
        raise SpecError(f"{file} is not a CSV file ({error})") from error


def _parquet_rows(file: Path, data: bytes) -> Iterator[Mapping[str, Any] | str]:
    parquet = pyarrow_parquet()
    try:
        yield from map(_without_nulls, parquet.read_table(io.BytesIO(data)).to_pylist())
    except Exception as error:  # pyarrow has its own
        raise SpecError(f"{file} is not a Parquet file ({str(error).splitlines()[0]})") from error


def _without_nulls(value: Any) -> Any:
    """The record as it was before Parquet, where each message has the fields of all, most of them null."""
    if isinstance(value, list):
        return [_without_nulls(each) for each in value]
    if isinstance(value, dict):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    return value


def _found_column(file: Path, known: Mapping[str, None], first: Mapping[str, Any] | str) -> str:
    """The first usual column among those that any row has."""
    for name in COLUMNS:
        if name in known:
            return name
    if not known:
        raise SpecError(f"{file} holds no readable row: {first}")
    has = ", ".join(map(str, known))
    raise SpecError(f"{file} has no column {' or '.join(COLUMNS)}, it has {has}; name one with column=... (--column)")


def _input_row(
    number: int, record: Mapping[str, Any] | str, column: str, id_column: str | None, keep: Sequence[str]
) -> InputRow:
    """The row of a record. What JSON has no kind for, such as a date, becomes a text in a column that is kept."""
    if isinstance(record, str):
        return InputRow(number, str(number), None, record, dict.fromkeys(keep))
    name, prompt = record.get(id_column or "id"), record.get(column)
    row_id = str(number) if name is None else str(name).encode("utf-8", "backslashreplace").decode()
    found = {name: record.get(name) for name in keep}
    unwritable = next(filter(None, (_unwritable(value, name) for name, value in found.items())), None)
    is_nameless = id_column is not None and name is None
    fault = f"there is no {id_column!r} to name the row by" if is_nameless else _fault(prompt, column) or unwritable
    kept = dict.fromkeys(keep) if unwritable else json.loads(json.dumps(found, default=str))
    return InputRow(number, row_id, prompt if fault is None else None, fault, kept)


def _unwritable(value: Any, column: str) -> str | None:
    """Why a value cannot stand in an output; None if it can."""
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        return f"{column!r} holds what is not Unicode text"
    except (RecursionError, ValueError):
        return f"{column!r} nests too deep"
    return None


def _fault(prompt: Any, column: str) -> str | None:
    """What is wrong with a prompt; None if nothing is."""
    if prompt is None:
        return f"there is no {column!r}"
    fault = _unwritable(prompt, column)
    if fault is not None:
        return fault
    if isinstance(prompt, str):
        return None if prompt.strip() else f"{column!r} is empty, neither a text nor a list of messages"
    try:
        messages_of(prompt)
    except CanvasError as error:
        if str(error) == WRONG:
            return f"{column!r} is neither a text nor a list of messages: {prompt!r:.60}"
        return f"{column!r}: {error}"
    return None
