"""Files of parts that belong to no distribution: `--plugin FILE.py`, and specs such as `FILE.py:Class`."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import decode_source
from pathlib import Path
from types import ModuleType

from ..at_work import told
from ..errors import SpecError

CLASS_IN_FILE = re.compile(r"(?P<file>.+\.py):(?P<cls>\w+)")
_NOT_IN_SPECS = frozenset(",()[]=:\n")


@dataclass(frozen=True)
class PartFile:
    """A file that was loaded.

    Attributes:
        written: its path as it was given, relative or not.
        source: its text, which another process loads instead of a file of its own.
        module: what running it has made.
    """

    written: str
    source: str
    module: ModuleType

    @classmethod
    def load(cls, path: str, source: str | None = None) -> PartFile:
        """Run a file. Raises `SpecError`, in one sentence, for what cannot be read or run.

        Args:
            source: its text, if it is known already.
        """
        written = os.path.normpath(path)
        if _NOT_IN_SPECS & set(written):
            raise SpecError(f"the file's name {written!r} cannot stand in a spec; avoid , ( ) [ ] = and :")
        text = _read(written) if source is None else source
        return cls(written, text, _run(os.path.abspath(written), text, written))


def _read(written: str) -> str:
    try:
        return decode_source(Path(written).read_bytes())
    except OSError as error:
        raise SpecError(f"the file {written} cannot be read: {error.strerror}") from error
    except (SyntaxError, ValueError) as error:
        raise SpecError(f"the file {written} cannot be read: {told(error)}") from error


def _run(path: str, source: str, written: str) -> ModuleType:
    """The module of a file. Its name holds a digest of the path, so that it stands for no module that is installed."""
    name = f"{Path(path).stem.replace('.', '_')}_{sha256(path.encode()).hexdigest()[:8]}"
    module = sys.modules[name] = ModuleType(name)  # where dataclasses and pickle look for it
    module.__file__ = path
    try:
        with left_alone():
            exec(compile(source, path, "exec"), module.__dict__)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
        where = f" in line {lines[-1]}" if lines else ""
        raise SpecError(f"the file {written} cannot be loaded: {told(error)}{where}") from error
    return module


@contextmanager
def left_alone() -> Iterator[None]:
    """Around a plug-in's loading: what it prints is not part of a result, and it does not choose where files are."""
    before = os.getcwd()
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.chdir(before)
