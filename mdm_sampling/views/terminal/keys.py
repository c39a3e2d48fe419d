"""Single keys from a terminal, without waiting for the return key."""

from __future__ import annotations

import os
import re
import sys
import time
from select import select
from typing import Any

try:
    import termios
    import tty
except ImportError:  # a system without them
    termios = None  # type: ignore[assignment]

_NAMES = {
    " ": "pause",
    "n": "forward",
    "\x1b[C": "forward",
    "\x1bOC": "forward",
    "b": "back",
    "\x1b[D": "back",
    "\x1bOD": "back",
    "+": "faster",
    "=": "faster",
    "-": "slower",
    "\x1b[A": "previous",
    "\x1bOA": "previous",
    "\x1b[B": "next",
    "\x1bOB": "next",
    "q": "quit",
}

KEY = re.compile(r"\x1b\[[0-9;]*[^0-9;]|\x1bO.|\x1b(?=[^[O])|[^\x1b]", re.DOTALL)
"""A key as terminals send it; one whose rest has not come yet is none."""


class Keys:
    """Reads keys while it is entered, if standard input is a terminal and the system has termios; else there are none.

    Attributes:
        available: whether there are any.
    """

    def __init__(self) -> None:
        self.available = termios is not None and sys.stdin is not None and sys.stdin.isatty()
        self.saved: Any = None
        self.pressed = ""  # and not taken yet: keys that are held come several at once

    def __enter__(self) -> Keys:
        if self.available:
            self.saved = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        return self

    def __exit__(self, *error: object) -> None:
        if self.saved is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self.saved)
            self.saved = None

    def read(self, seconds: float) -> str | None:
        """The name of the next key; None if none was pressed in so many seconds, or only such that have no name."""
        if self.saved is None:
            time.sleep(seconds)
            return None
        name = self._next()
        if name is None and select([sys.stdin], [], [], seconds)[0]:
            try:
                more = os.read(sys.stdin.fileno(), 1024).decode("utf-8", "replace")
            except OSError:
                more = ""
            if not more:
                return "quit"  # the terminal is gone, and no key will ever come
            self.pressed += more
            name = self._next()
        return name

    def _next(self) -> str | None:
        """Take keys up to the first that has a name."""
        while found := KEY.match(self.pressed):
            self.pressed = self.pressed[found.end() :]
            key = found[0]
            name = _NAMES.get(key if len(key) > 1 else key.lower())
            if name is not None:
                return name
        return None
