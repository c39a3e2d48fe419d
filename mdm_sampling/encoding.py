"""Texts of files from outside: UTF-8, or whatever Unicode their byte order mark says, as Excel and PowerShell write."""

from __future__ import annotations

import codecs
from pathlib import Path

from .errors import SpecError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LOOKED_AT = 200
"""Bytes by which UTF-16 without a mark is told."""


def utf8_of(data: bytes) -> bytes:
    """The same text as UTF-8 without a byte order mark; bytes without a mark are passed on as they are.

    Raises `ValueError` with a sentence that names the encoding, for a text that is not what its mark says and for
    UTF-16 without a mark.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            rest = data[len(mark) :]
            if encoding == "utf-8":
                return rest
            try:
                return rest.decode(encoding).encode()
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"it begins as {encoding[:6].upper()} and is not such text; save it as UTF-8"
                ) from error
    beginning = data[: min(_LOOKED_AT, len(data) // 2 * 2)]
    for high in (beginning[0::2], beginning[1::2]):
        # Half of the bytes are null in UTF-16 of Latin letters, and hardly any in UTF-8.
        if len(high) > 1 and high.count(0) > 0.7 * len(high):
            raise ValueError("it looks like UTF-16 without a byte order mark; save it as UTF-8")
    return data


def read_text(file: str | Path, whose: str = "") -> str:
    """The text of a file. Raises `SpecError` if it cannot be read, which begins with `whose` file it is."""
    try:
        return text_of(Path(file).read_bytes())
    except OSError as error:
        raise SpecError(f"{whose}{file} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # of the text, or of a name that no file can have
        raise SpecError(f"{whose}{file} cannot be read: {error}") from error


def text_of(data: bytes) -> str:
    """The text that bytes hold. Raises `ValueError` with a sentence for what is not Unicode text."""
    try:
        return utf8_of(data).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text (byte {error.start}: {error.reason})") from error
