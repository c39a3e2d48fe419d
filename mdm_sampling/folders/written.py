"""What was written from a results folder: a job's output, a comparison's report and plots.

A file whose content is noted here is an earlier writing of the same thing, and may be replaced. One that somebody
changed since is not.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from ..errors import SpecError
from .files import MANIFEST, WRITTEN, Output, is_foreign

_NOTE = re.compile(rb"^([0-9a-f]{64})  ", re.MULTILINE)


class Written:
    """The notes of a folder, in the file `.written`: a line for each content, as the program sha256sum writes it."""

    def __init__(self, folder: Path | str) -> None:
        self.file = Path(folder) / WRITTEN

    def __contains__(self, file: Path) -> bool:
        """Whether exactly this content is noted, under whatever name."""
        return _digest_of(file) in self._digests()

    def add(self, new: Path, name: str) -> None:
        """Note the content of the file `new`, before it takes its place: a crash between the two does no harm."""
        digest = _digest_of(new)
        if digest not in self._digests():
            with open(self.file, "a", encoding="utf-8", errors="backslashreplace") as notes:
                notes.write(f"{digest}  {name}\n")
                notes.flush()
                os.fsync(notes.fileno())

    def _digests(self) -> set[str]:
        """What is noted. Raises `SpecError` if the file is none of ours."""
        if not os.path.lexists(self.file):
            return set()
        try:
            if self.file.is_symlink():
                raise ValueError("a link")
            data = self.file.read_bytes()
            if data and not _NOTE.match(data):
                raise ValueError("other lines")
        except (OSError, ValueError) as error:
            raise SpecError(f"{self.file} holds {error}, not the notes of what was written; move it away") from error
        return {note.decode() for note in _NOTE.findall(data)}


def write_results(
    folder: Path, contents: Mapping[str, bytes], *, overwrite: bool = False, reads: Sequence[Path] = ()
) -> None:
    """Write files of a comparison, by their names. Raises `SpecError` before any is written if one must not be lost.

    What stands in a results folder is noted there, so that the next call of the same comparison may replace it. The
    folder is made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise SpecError(f"{folder} cannot be made: {getattr(error, 'strerror', None) or error}") from error
    with ExitStack() as stack:
        made: dict[str, Path] = {}
        for name, content in contents.items():
            output = _output_of(folder, name, overwrite, reads)
            made[name] = stack.enter_context(output.replacing())
            made[name].write_bytes(content)
            output.check(made[name])
        if _is_results(folder):
            for name, new in made.items():
                Written(folder).add(new, name)


def check_results(folder: Path, names: Iterable[str], *, overwrite: bool = False, reads: Sequence[Path] = ()) -> None:
    """Raise `SpecError` for the first of these files in a folder that must not be lost, before any work."""
    for name in names if folder.is_dir() else ():
        _output_of(folder, name, overwrite, reads).check()


def _output_of(folder: Path, name: str, overwrite: bool, reads: Sequence[Path]) -> Output:
    return Output(folder / name, Written(folder).__contains__ if _is_results(folder) else is_foreign, overwrite, reads)


def _is_results(folder: Path) -> bool:
    """Whether a folder keeps results."""
    return (folder / MANIFEST).exists()


def _digest_of(file: Path) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
