"""The standard streams of a command: open, and able to take every text."""

from __future__ import annotations

import io
import json
import os
import sys
from typing import Any

import click


def prepare_streams() -> bool:
    """Make the streams take every text; whether there is a standard output at all.

    A character that a stream's encoding lacks is written as a backslash escape: an answer that took an hour is not
    lost for a sign.
    """
    if sys.stdin is None or sys.stderr is None or sys.stdout is None:
        _fill_closed()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    return sys.stdout is not None


def _fill_closed() -> None:
    """Open the null device under the numbers of closed streams, or the next file that is opened would be one."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def _is_utf8(stream: Any) -> bool:
    """Whether a stream can take every character."""
    return str(getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "").startswith("utf8")


def echo_json(value: Any) -> None:
    """Print a line of JSON. Where stdout is not UTF-8 it is plain ASCII, which is JSON in nearly every encoding."""
    click.echo(json.dumps(value, ensure_ascii=not _is_utf8(sys.stdout)))
