"""Files that this package writes: whole or not at all, and never over what somebody else wrote.

`Output.check` is the one function that decides what may be overwritten. Every writer asks it.
"""

from __future__ import annotations

import filecmp
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO, Any

from ..errors import SpecError
from .lines import COUNTS

MANIFEST = "manifest.json"  # what all lines of a folder have in common
LINES = "results.jsonl"
SETTINGS = "settings.json"  # what many lines have in common, by digest
RENDERED = "rendered.jsonl"  # what a chat template made of a job's prompts
LOCK = ".lock"
WRITTEN = ".written"
UNGRADED = "ungraded.jsonl"
_KEPT = (MANIFEST, LINES, SETTINGS, RENDERED, LOCK, WRITTEN, UNGRADED)
"""What a results folder keeps. No output goes over one of these, whatever is allowed."""


def is_foreign(file: Path) -> bool:
    """Of an output that cannot be told from anybody's file."""
    return False


@dataclass(frozen=True)
class Output:
    """A file to write, and what may be lost by that.

    Args:
        file: where to.
        is_ours: tells of the file that is there whether it is an earlier writing of the same thing, which may go.
        overwrite: whether any other file may go as well.
        reads: files that are read for this output. They never go.
        grows: whether the file is written bit by bit, so that it may be a device or a pipe.
    """

    file: Path | str
    is_ours: Callable[[Path], bool] = is_foreign
    overwrite: bool = False
    reads: Sequence[Path] = ()
    grows: bool = False

    def check(self, new: Path | None = None) -> Path:
        """The file with its links followed. Raises `SpecError` if writing it would lose what must not be lost.

        What is missing, empty, ours or the same as the file `new` may be written, and a device if the output grows.
        """
        file = _place_of(self.file)
        if file.name in _KEPT and (file.parent / MANIFEST).exists():
            raise SpecError(f"{self.file} keeps the results of the folder {file.parent}, and is not overwritten")
        if not file.exists():
            return file
        if not file.is_file():
            if self.grows:
                return file
            raise SpecError(f"{self.file} is not an ordinary file, so it cannot be replaced")
        if any(_is_same(file, read) for read in self.reads):
            raise SpecError(f"{self.file} is read by the same call, so it is not overwritten; name another file")
        if _is_redirected(file):
            raise SpecError(f"{self.file} is what this command reads from or prints to; name another file")
        if not stat.S_IMODE(file.stat().st_mode) & 0o222:
            raise SpecError(f"{self.file} is read-only, so it is not overwritten")
        if self.overwrite or not file.stat().st_size or self.is_ours(file):
            return file
        if new is None or not filecmp.cmp(new, file, shallow=False):
            raise SpecError(
                f"{self.file} exists and is not known as an earlier writing of the same, so it is not overwritten; "
                "name another file, or pass overwrite=True (--overwrite)"
            )
        return file

    def replacing(self) -> AbstractContextManager[Path]:
        """A new file to write to, which takes the place of the output if `check` allows that once it is written."""
        return replacing(Path(self.file), self.check)

    def write(self, content: str | bytes) -> None:
        """Write the file so that it is either the old one or the new one, whatever happens."""
        with self.replacing() as new:
            new.write_bytes(content.encode() if isinstance(content, str) else content)

    @contextmanager
    def growing(self) -> Iterator[IO[str]]:
        """The file, empty and open for text, to be read while it grows. A device or pipe is opened as it is.

        An old file is replaced and not emptied, so that other names of it (hard links) keep what they show.
        """
        file = self.check()
        if file.exists() and not file.is_file():
            with open(file, "w", encoding="utf-8") as opened:
                yield opened
            return
        temporary = _fresh_file(file)
        try:
            opened = open(temporary, "w", encoding="utf-8")  # noqa: SIM115
            temporary.replace(file)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        with opened:
            yield opened


def _place_of(file: Path | str) -> Path:
    """A file's path with links followed. Raises `SpecError` for a folder, or if there is no folder to put it in."""
    try:
        found = Path(file)
        if found.exists() and not found.is_file() and not found.is_dir():
            return found  # a device or a pipe, which may have no other name
        found = found.resolve()
        if found.is_dir() or not found.name:
            raise SpecError(f"{file} is a folder, so it cannot be written as a file")
        if not found.parent.is_dir():
            raise SpecError(f"there is no folder {Path(file).parent} to write {found.name} into")
    except (ValueError, RuntimeError, OSError) as error:  # a null character, a ring of links, a name that is too long
        if isinstance(error, SpecError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise SpecError(f"{str(file)!r:.80} is not a name for a file: {reason}") from error
    return found


def _is_same(file: Path, other: Path) -> bool:
    """Whether two paths are one file, links followed."""
    try:
        return file.samefile(other)
    except (OSError, ValueError):
        return False


def _is_redirected(file: Path) -> bool:
    """Whether a shell connected one of this process's standard streams with the file."""
    for descriptor in (0, 1, 2):
        try:
            if os.path.samestat(os.fstat(descriptor), file.stat()):
                return True
        except OSError:  # a stream that is closed
            continue
    return False


def _fresh_file(file: Path) -> Path:
    """A new, empty file beside `file` under a name that nothing has, with the permissions that `file` has or would get.

    Raises `OSError` with the name of `file`.
    """
    temporary = file.with_name(f".mdm-{secrets.token_hex(8)}.tmp")
    try:
        temporary.touch(exist_ok=False)  # so neither a file nor a link that is there is opened
        if file.exists():
            temporary.chmod(stat.S_IMODE(file.stat().st_mode))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from error
    return temporary


def new_file(file: Path) -> IO[str]:
    """A file that was not there, open for text: under the name of `file`, else with a number behind it."""
    for number in count(2):
        try:
            return open(file, "x", encoding="utf-8")
        except FileExistsError:
            file = file.with_stem(f"{file.stem.removesuffix(f'-{number - 1}')}-{number}")
    raise AssertionError("numbers do not end")


@contextmanager
def replacing(file: Path, check: Callable[[Path], object] | None = None) -> Iterator[Path]:
    """A file to write to that then takes the place of `file`, which whatever happens is the old one or the new.

    Raises `SpecError` for what is not an ordinary file, such as a device. A link stays, and its target is replaced.

    Args:
        check: gets the new file once it is written, and raises if it must not take the place of the old one. Only a
            file that is this package's own may be replaced without.
    """
    file = _place_of(file)
    if file.exists() and not file.is_file():
        raise SpecError(f"{file} is not an ordinary file, so it cannot be replaced")
    temporary = _fresh_file(file)
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        if check is not None:
            check(temporary)
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def replace_file(file: Path, text: str) -> None:
    """Write a file that is this package's own so that it is either the old one or the new one, whatever happens."""
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


def write_parquet(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A table of the rows. Columns of this package have types of their own, others that of their values."""
    parquet = pyarrow_parquet()
    import pyarrow

    whole, text = pyarrow.int64(), pyarrow.string()
    types = {"stop": pyarrow.list_(text), "tokens": pyarrow.list_(whole), "cumulative_entropy": pyarrow.float64()}
    types |= dict.fromkeys(("chat", "infill"), pyarrow.bool_())
    types |= dict.fromkeys(("row", "seed", *COUNTS), whole)
    types |= dict.fromkeys(("id", "text", "error", "system"), text)
    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        columns[name] = pyarrow.array(values, types[name]) if name in types else _column_of(values)
    parquet.write_table(pyarrow.table(columns), file)


def _column_of(values: Sequence[Any]) -> Any:
    """A column of plain values of one kind; any other has them as JSON texts."""
    import pyarrow

    try:
        column = pyarrow.array(values)
    except (pyarrow.ArrowException, OverflowError):  # several kinds, or numbers that theirs cannot hold
        column = None
    if column is None or pyarrow.types.is_nested(column.type) or pyarrow.types.is_null(column.type):
        texts = [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]
        column = pyarrow.array(texts, pyarrow.string())
    return column
