"""Reading results folders, of comparisons and jobs alike: their lines as one table, filtered, merged, exported."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

from ..errors import SpecError
from ..fields import parse_json
from .files import LINES, MANIFEST, Output, write_json_lines, write_parquet
from .lines import COUNTS, Line, LineFormat, read_lines
from .store import Store, read_shared

COLUMNS = (
    *("folder", "item", "seed", "planner", "cache", "tokens_per_step", "block_size", "score", "error"),
    *(*COUNTS, "cumulative_entropy", "seconds", "batch_seconds", "answer", "text"),
)
SETTINGS = ("folder", "planner", "cache", "tokens_per_step", "block_size")
"""The columns that tell settings apart; a summary has a row for each."""


@dataclass(frozen=True)
class Folder:
    """A results folder as it is on disk.

    Attributes:
        path: where it is.
        format: what its lines hold.
        manifest: what all lines have in common.
        lines: those of whole batches; a process may be adding to them.
        rows: the lines as rows of one table, with the columns `COLUMNS`.
    """

    path: Path
    format: LineFormat
    manifest: dict[str, Any]
    lines: list[Line]
    rows: list[dict[str, Any]]


def read_folder(path: Path | str) -> Folder:
    """Read a folder. Raises `SpecError` if it holds no results, or damaged ones."""
    path = Path(path)
    if not (path / MANIFEST).is_file():
        raise SpecError(f"{path} holds no results: there is no {MANIFEST} in it")
    lines_file = path / LINES
    try:
        manifest = parse_json((path / MANIFEST).read_bytes())
        line_format = LineFormat.of_manifest(manifest)
        data = lines_file.read_bytes() if lines_file.exists() else b""
        lines, _ = read_lines(data, line_format, read_shared(path))
        rows = [_row(path, line) for line in lines]
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SpecError(f"{path} is damaged ({error})") from error
    del manifest["format"]
    return Folder(path, line_format, manifest, lines, rows)


def _row(path: Path, line: Line) -> dict[str, Any]:
    """A line of either kind; what a job's settings are stands in its spec.

    `seconds` are those of a batch over its rows, and `batch_seconds` what it took until the row was there.
    """
    spec = line.get("spec") or {}
    found = {name: line.get(name, spec.get(name)) for name in COLUMNS} | {"folder": str(path)}
    scheduled = tokens_per_step(spec.get("schedule", ""))
    if found["tokens_per_step"] is None:
        found["tokens_per_step"] = scheduled
    size = line.get("batch_size")
    if size and found["batch_seconds"] is not None:
        found["seconds"] = found["batch_seconds"] / size
    elif size and found["seconds"] is not None:
        found["batch_seconds"] = found["seconds"] * size
    return found


@lru_cache
def tokens_per_step(schedule: str) -> int | None:
    """What a schedule's spec fills at each step; None if that is not always the same, or the part is not installed.

    Raises `SpecError` for a constant schedule that cannot be.
    """
    if not schedule:
        return None
    from ..registry.specs import Spec, build
    from ..schedules import Constant

    spec = Spec.parse(schedule)
    if spec.name != "constant":
        return None
    made = build("schedules", spec)
    return made.positions if isinstance(made, Constant) else None


def filtered(rows: Iterable[Mapping[str, Any]], where: Sequence[tuple[str, str]]) -> list[Mapping[str, Any]]:
    """The rows of which each named column, written as text, is one of the values that are given for it."""
    wanted: dict[str, set[str]] = {}
    for name, value in where:
        if name not in COLUMNS:
            raise SpecError(f"there is no column {name!r}; there are {', '.join(COLUMNS)}")
        wanted.setdefault(name, set()).add(value)
    return [row for row in rows if all(_text(row[name]) in values for name, values in wanted.items())]


def _text(value: Any) -> str:
    return "none" if value is None else str(value)


def summary(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each setting: rows, errors, and means over those without an error; a mean of nothing is None."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in SETTINGS), []).append(row)
    means = ("score", "cumulative_entropy", *COUNTS, "seconds", "batch_seconds")
    found = []
    for key, group in groups.items():
        good = [row for row in group if row["error"] is None]
        line: dict[str, Any] = dict(zip(SETTINGS, key, strict=True))
        line |= {"rows": len(group), "errors": len(group) - len(good)}
        for name in means:
            values = [row[name] for row in good if row[name] is not None]
            line[name] = fmean(values) if values else None
        found.append(line)
    return found


def export(rows: Sequence[Mapping[str, Any]], file: Path | str, *, overwrite: bool = False) -> None:
    """Write rows to a .csv, .jsonl or .parquet file, whole or not at all.

    Raises `SpecError` for another name, and for a file that exists and holds anything else, unless `overwrite` is set.
    """
    file = Path(file)
    writers = {".csv": _write_csv, ".jsonl": write_json_lines, ".parquet": write_parquet}
    if file.suffix not in writers:
        raise SpecError(f"{file}: an export ends in {', '.join(writers)}")
    with Output(file, overwrite=overwrite).replacing() as new:
        writers[file.suffix](new, rows)


def _write_csv(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with open(file, "w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def merge(folders: Sequence[Folder], into: Path | str) -> int:
    """Put the lines of folders with one manifest into one folder, each once; the number of lines it then holds.

    For sweeps that ran on several machines: `compare` goes on from the merged folder.

    Raises:
        SpecError: if the manifests differ, or if the folder holds lines of another one.
    """
    first, key_of = folders[0], folders[0].format.key_of
    for other in folders[1:]:
        names = [n for n in {**first.manifest, **other.manifest} if first.manifest.get(n) != other.manifest.get(n)]
        if other.format != first.format or names:
            what = ", ".join(names) if other.format == first.format else "the kind of their lines"
            raise SpecError(f"{first.path} and {other.path} cannot be merged, they differ in: {what}")
    with Store(Path(into), first.manifest, first.format) as store:
        held = {key_of(line) for line in store.lines}
        for folder in folders:
            new = {key_of(line): line for line in folder.lines if key_of(line) not in held}
            store.add(list(new.values()))
            held |= new.keys()
        return len(store.lines)
