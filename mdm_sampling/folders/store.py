"""A results folder: what all its lines have in common (`manifest.json`) and a line for each row (`results.jsonl`).

Lines that are added together count together, once they are on disk. A batch that was cut off, by a crash or a full
disk, is dropped when the folder is opened again, and its rows are decoded anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import SpecError
from ..fields import parse_json
from .files import LINES, LOCK, MANIFEST, SETTINGS, replace_file
from .lines import SHARED, Line, LineFormat, digest, read_lines


class Store(AbstractContextManager["Store"]):
    """The lines of a folder, which one process at a time may open.

    Args:
        folder: created if missing; None keeps the lines in memory.
        manifest: what all lines have in common, such as the task and the model. Raises `SpecError` if the folder holds
            lines of another manifest.
        line_format: what its lines hold.
        changed: whether another manifest than the folder's is written over it instead of being refused; None where
            the caller gives no such choice.
        first: called once the folder is known to be this manifest's, before the manifest or any line is written.
    """

    def __init__(
        self,
        folder: Path | None,
        manifest: dict[str, Any],
        line_format: LineFormat,
        *,
        changed: bool | None = None,
        first: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder = folder
        self.format = line_format
        self.lines: list[Line] = []
        self.shared: dict[str, Any] = {}
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise SpecError(f"{folder} cannot be a results folder: {error}") from error
        _refuse_lock(folder / LOCK)
        self.lock = FileLock(folder / LOCK)
        try:
            self.lock.acquire(timeout=0)
        except Timeout as error:
            raise SpecError(f"another process is writing to {folder}; wait for it, or give another folder") from error
        try:
            self._check({"format": line_format.as_json()} | manifest, changed, first)
            self.lines = self._read()
        except BaseException:
            self.lock.release()
            raise

    def __exit__(self, *error: object) -> None:
        if self.folder is not None:
            self.lock.release()

    def add(self, lines: Sequence[Line]) -> None:
        """Append lines as one batch, and wait until they are on disk."""
        if not lines:
            return
        number = self.lines[-1]["batch"][0] + 1 if self.lines else 0
        lines = [line | {"batch": [number, len(lines)]} for line in lines]
        if self.folder is not None:
            with_digests = [self._with_digests(line) for line in lines]  # which is on disk before what refers to it
            with open(self.folder / LINES, "a", encoding="utf-8") as file:
                file.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in with_digests))
                file.flush()
                os.fsync(file.fileno())
        self.lines += lines

    def _with_digests(self, line: Line) -> Line:
        """The line as it is written, after the values that it shares with others. It keeps the folder's own copies."""
        assert self.folder is not None
        digests = {name: digest(line[name]) for name in SHARED if name in line}
        new = {key: line[name] for name, key in digests.items() if key not in self.shared}
        if new:
            self.shared |= new
            replace_file(self.folder / SETTINGS, json.dumps(self.shared, indent=1, ensure_ascii=False) + "\n")
        line.update({name: self.shared[key] for name, key in digests.items()})
        return line | digests

    def _check(self, manifest: dict[str, Any], changed: bool | None, first: Callable[[], None]) -> None:
        assert self.folder is not None
        file, results = self.folder / MANIFEST, self.folder / LINES
        if not file.exists():
            if results.exists() and results.stat().st_size:
                raise SpecError(f"{self.folder} holds results without the {MANIFEST} that says of what; move it away")
            first()
            replace_file(file, json.dumps(manifest, indent=1) + "\n")
            return
        try:
            held = parse_json(file.read_bytes())
            kind = LineFormat.of_manifest(held).kind
        except (ValueError, IsADirectoryError) as error:
            raise SpecError(f"{file} is damaged ({error}); move {self.folder} away, or give another folder") from error
        if kind != self.format.kind:
            raise SpecError(f"{self.folder} is the folder of a {kind}; give another folder")
        differing = [name for name in {**manifest, **held} if manifest.get(name) != held.get(name)]
        if "format" in differing or (differing and changed is not None and not held.keys() >= manifest.keys()):
            raise SpecError(f"{file} was not written by this version; move it away, or give another folder")
        if differing and not changed:
            what = ", ".join(_difference(name, held.get(name), manifest.get(name)) for name in differing)
            choice = "" if changed is None else ", or go on in this one with changed=True (--changed)"
            raise SpecError(f"{self.folder} holds results for {what}; give another folder{choice}")
        first()
        if differing:
            replace_file(file, json.dumps(manifest, indent=1) + "\n")

    def _read(self) -> list[Line]:
        """All lines that count. What follows the last of them is cut off."""
        assert self.folder is not None
        self.shared = read_shared(self.folder)
        file = self.folder / LINES
        data = file.read_bytes() if file.exists() else b""
        try:
            lines, size = read_lines(data, self.format, self.shared)
        except ValueError as error:
            raise SpecError(f"{file} is damaged ({error}); move {self.folder} away to begin anew") from error
        if data[data.rfind(b"\n") + 1 :].strip(b"\0")[:1] not in (b"", b"{"):  # a crash may leave null bytes of a line
            raise SpecError(f"{file} is damaged (its end is not a line of results); move it away to begin anew")
        if size < len(data):
            os.truncate(file, size)
        return lines


def read_shared(folder: Path) -> dict[str, Any]:
    """The values that many lines of a folder have in common, by digest. Raises `SpecError` if they are damaged."""
    file = folder / SETTINGS
    try:
        values = parse_json(file.read_bytes()) if file.exists() else {}
        if not isinstance(values, dict):
            raise ValueError("it holds no object")
    except (OSError, ValueError) as error:
        raise SpecError(f"{file} is damaged ({error}); move {folder} away to begin anew") from error
    return values


def _refuse_lock(file: Path) -> None:
    """Raise `SpecError` for a file with the lock's name that is none. A lock is empty, and opening it may empty it."""
    if file.is_symlink() or (file.exists() and (not file.is_file() or file.stat().st_size)):
        raise SpecError(f"{file} is not a lock of a results folder; move it away, or give another folder")


def _difference(name: str, held: Any, asked: Any) -> str:
    """How two values of a manifest differ; of settings only those that do."""
    if isinstance(held, dict) and isinstance(asked, dict):
        keys = [key for key in {**asked, **held} if held.get(key) != asked.get(key)]
        return ", ".join(_difference(key, held.get(key), asked.get(key)) for key in keys)
    if name == "input":
        return "another input"  # of which there is only a digest
    return f"{name} {held!r}, not {asked!r}"
