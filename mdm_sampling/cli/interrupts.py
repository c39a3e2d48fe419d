"""Ctrl-C at any moment. This module imports nothing slow, since it is what makes slow imports safe.

An exception that is raised inside an import ends in many ways: transformers tells it as a module that is missing, and
inside the C++ of torch it aborts the process; and in a callback of the garbage collector it is printed and forgotten.
So an interrupt that comes at such a point waits for its end.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from _thread import interrupt_main
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import _exit as leave  # kept here, since `no_way_out` puts another function in its place
from pathlib import Path
from types import FrameType

STOPPED = 130
"""The exit code of a process that an interrupt ended."""

_AGAIN = 0.05
"""Seconds after which an interrupt that came during an import is tried again."""

_LONGEST = 20.0
"""Seconds that an interrupt waits for an import, which may hang. Then the process ends as it is."""

_IMPORTING = "<frozen importlib._bootstrap>"
_COLLECTING = "gc_callback"
"""Hypothesis's, which measures the collector's time: most of what is collected while a part is checked."""


class _Interrupts:
    """Hears interrupts: each raises `KeyboardInterrupt`, but not where that would be lost, whose end it waits for."""

    def __init__(self) -> None:
        self.came: float | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not _is_lost(frame):
            self.came = None
            raise KeyboardInterrupt
        self.came = self.came or time.monotonic()
        if time.monotonic() - self.came > _LONGEST:
            say_stopped()
            leave(STOPPED)
        again = threading.Timer(_AGAIN, _interrupt_again, [number])
        again.daemon = True
        again.start()


def _interrupt_again(number: int) -> None:
    """Send the main thread a signal, which also ends what it waits for where the system can do so."""
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, number)
    else:
        interrupt_main(signal.Signals(number))


def _is_lost(frame: FrameType | None) -> bool:
    """Whether an exception that is raised at a point of the program may be lost: in an import, or while collecting."""
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTING or frame.f_code.co_name == _COLLECTING:
            return True
        frame = frame.f_back
    return False


@contextmanager
def patient_interrupts() -> Iterator[None]:
    """Let interrupts wait for imports, where nobody else listens to them."""
    is_ours = threading.current_thread() is threading.main_thread()
    if not is_ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _Interrupts())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def is_interrupt(error: BaseException | None) -> bool:
    """Whether an error is an interrupt, or comes from one that somebody's code told as another error."""
    seen: set[int] = set()
    left = [error]
    while left:
        each = left.pop()
        if isinstance(each, KeyboardInterrupt):
            return True
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            left += [each.__cause__, each.__context__]
    return False


def say_stopped() -> None:
    """The one word on stderr. A stream that is gone takes none."""
    with suppress(OSError, ValueError):
        print("\nStopped.", file=sys.stderr, flush=True)


@contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """End at an interrupt with a sentence that says where the work goes on."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"\nStopped. What was decoded is in {folder}; the same command goes on from there.", file=sys.stderr)
        sys.exit(STOPPED)
