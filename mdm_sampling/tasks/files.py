"""Reading the files that tasks load their items from."""

from pathlib import Path

from ..errors import SpecError


def read_text(file: str, task: str) -> str:
    """The text of a UTF-8 file. Raises `SpecError`, naming the task and the file, if it cannot be read."""
    try:
        return Path(file).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SpecError(f"{task}: {file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{task}: {file} is not UTF-8 text") from error
    except ValueError as error:
        raise SpecError(f"{task}: {file!r} is no file name: {error}") from error
