"""Texts of files from outside: UTF-8, or whatever Unicode their first bytes say, as Excel and PowerShell write."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

from .errors import SpecError


def utf8_of(data: bytes) -> bytes:
    """The same text as UTF-8 without a byte order mark. What begins as UTF-8 is passed on as it is.

    Raises `ValueError` with a sentence that names the encoding, for a text that is not what its first bytes say.
    """
    encoding = json.detect_encoding(data)
    if encoding.startswith("utf-8"):
        return data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode(encoding).encode()
    except UnicodeDecodeError as error:
        raise ValueError(f"it begins as {encoding[:6].upper()} and is not such text; save it as UTF-8") from error


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
