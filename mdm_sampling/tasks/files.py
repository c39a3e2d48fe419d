"""Reading the files that tasks load their items from."""

from pathlib import Path

from ..encoding import text_of
from ..errors import SpecError


def read_text(file: str, task: str) -> str:
    """The text of a file. Raises `SpecError`, naming the task and the file, if it cannot be read."""
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise SpecError(f"{task}: {file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SpecError(f"{task}: {file!r} is not a file name: {error}") from error
    try:
        return text_of(data)
    except ValueError as error:
        raise SpecError(f"{task}: {file} cannot be read: {error}") from error
