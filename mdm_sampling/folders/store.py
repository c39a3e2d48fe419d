"""A results folder: what was asked (`compare.json` or `job.json`) and a line for each row (`results.jsonl`).

A line counts once it is on disk. A line that was cut off, by a crash or a full disk, is dropped when the folder is
opened again, and its row is decoded anew.
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
from .files import LINES, LOCK, replace_file
from .lines import KINDS, read_lines
from .lines import Line as Line


class Store(AbstractContextManager["Store"]):
    """The lines of a folder, which one process at a time may open.

    Args:
        folder: created if missing; None keeps the lines in memory.
        question: what all lines have in common, such as the task and the model. Raises `SpecError` if the folder
            holds the answers to another question.
        name: the file that keeps the question.
        changed: whether another question than the folder's is written over it instead of being refused.
        complete: how many of the lines count, from the first on; the rest is cut off, as a line is that was not
            written whole.
        first: called once the folder is known to be this question's, before the question or any line is written.
    """

    def __init__(
        self,
        folder: Path | None,
        question: dict[str, Any],
        *,
        name: str,
        changed: bool = False,
        complete: Callable[[Sequence[Line]], int] = len,
        first: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder = folder
        self.name = name
        self.lines: list[Line] = []
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise SpecError(f"{folder} cannot be a results folder: {error}") from error
        refuse_lock(folder / LOCK)
        self.lock = FileLock(folder / LOCK)
        try:
            self.lock.acquire(timeout=0)
        except Timeout as error:
            raise SpecError(f"another process is writing to {folder}; wait for it, or give another folder") from error
        try:
            self._check(question, changed, first)
            self.lines = self._read(complete)
        except BaseException:
            self.lock.release()
            raise

    def __exit__(self, *error: object) -> None:
        if self.folder is not None:
            self.lock.release()

    def add(self, lines: Sequence[Line]) -> None:
        """Append lines, and wait until they are on disk."""
        if self.folder is not None:
            with open(self.folder / LINES, "a", encoding="utf-8") as file:
                file.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
                file.flush()
                os.fsync(file.fileno())
        self.lines += lines

    def _check(self, question: dict[str, Any], changed: bool, first: Callable[[], None]) -> None:
        assert self.folder is not None
        file, results = self.folder / self.name, self.folder / LINES
        if not file.exists():
            other = next((kind for name, kind in KINDS.items() if (self.folder / name).exists()), None)
            if other is not None:
                raise SpecError(f"{self.folder} is the folder of a {other}; give another folder")
            if results.exists() and results.stat().st_size:
                raise SpecError(f"{self.folder} holds results without the {self.name} that says of what; move it away")
            first()
            replace_file(file, json.dumps(question, indent=1) + "\n")
            return
        try:
            held = parse_json(file.read_bytes())
            if not isinstance(held, dict):
                raise ValueError("it holds no object")
        except (ValueError, IsADirectoryError) as error:
            raise SpecError(f"{file} is damaged ({error}); move {self.folder} away, or give another folder") from error
        differing = [name for name in {**question, **held} if question.get(name) != held.get(name)]
        if differing and changed and not held.keys() >= question.keys():
            raise SpecError(f"{file} was not written by this version; move it away, or give another folder")
        if differing and not changed:
            what = ", ".join(difference(name, held.get(name), question.get(name)) for name in differing)
            raise SpecError(f"{self.folder} holds results for {what}; give another folder")
        first()
        if differing:
            replace_file(file, json.dumps(question, indent=1) + "\n")

    def _read(self, complete: Callable[[Sequence[Line]], int]) -> list[Line]:
        """All lines that count. What follows the last of them is cut off."""
        assert self.folder is not None
        file = self.folder / LINES
        data = file.read_bytes() if file.exists() else b""
        try:
            lines, sizes = read_lines(data, self.name)
            count = complete(lines)
        except ValueError as error:
            raise SpecError(f"{file} is damaged ({error}); move {self.folder} away to begin anew") from error
        size = sum(sizes[:count])
        if data[sum(sizes) :].strip(b"\0")[:1] not in (b"", b"{"):  # null bytes are what a crash may leave of a line
            raise SpecError(f"{file} is damaged (its end is no line of results); move it away to begin anew")
        if size < len(data):
            os.truncate(file, size)
        return lines[:count]


def refuse_lock(file: Path) -> None:
    """Raise `SpecError` for a file with the lock's name that is none. A lock is empty, and opening it may empty it."""
    if file.is_symlink() or (file.exists() and (not file.is_file() or file.stat().st_size)):
        raise SpecError(f"{file} is no lock of a results folder; move it away, or give another folder")


def difference(name: str, held: Any, asked: Any) -> str:
    """How two values of a question differ; of settings only those that do."""
    if isinstance(held, dict) and isinstance(asked, dict):
        keys = [key for key in {**asked, **held} if held.get(key) != asked.get(key)]
        return ", ".join(difference(key, held.get(key), asked.get(key)) for key in keys)
    if name == "input":
        return "another input"  # of which there is only a digest
    return f"{name} {held!r}, not {asked!r}"
