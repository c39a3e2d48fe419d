"""Single keys from a terminal, without waiting for the return key."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

NAMES = {
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


class Keys:
    """Reads keys while it is entered, if standard input is a terminal and the system has termios; else there are none.

    Attributes:
        available: whether there are any.
    """

    def __init__(self) -> None:
        self.available = _termios() is not None and sys.stdin is not None and sys.stdin.isatty()
        self.saved: Any = None

    def __enter__(self) -> Keys:
        if self.available:
            termios, tty = _termios()
            self.saved = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        return self

    def __exit__(self, *error: object) -> None:
        if self.saved is not None:
            termios, _ = _termios()
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self.saved)
            self.saved = None

    def read(self, seconds: float) -> str | None:
        """The name of the next key, or None if none that has a name was pressed in so many seconds."""
        if self.saved is None:
            time.sleep(seconds)
            return None
        from select import select

        if not select([sys.stdin], [], [], seconds)[0]:
            return None
        try:
            pressed = os.read(sys.stdin.fileno(), 32).decode("utf-8", "replace")
        except OSError:
            pressed = ""
        if not pressed:
            return "quit"  # the terminal is gone, and no key will ever come
        return NAMES.get(pressed if pressed.startswith("\x1b") else pressed[:1].lower())


def _termios() -> Any:
    """The modules termios and tty, or None on a system without them."""
    try:
        import termios
        import tty
    except ImportError:
        return None
    return termios, tty
