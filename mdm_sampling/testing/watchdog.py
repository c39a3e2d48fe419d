"""A limit to how long something may take, and word of what is still at work."""

from __future__ import annotations

import signal
import threading
import time
from _thread import interrupt_main
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..at_work import LEAVE

_EVERY = 10.0
"""Seconds between two words of what is still at work."""

_GRACE = 10.0
"""Seconds in which what was interrupted must end; code that ignores an interrupt ends the process."""


class TooLong(Exception):
    """It took longer than it may."""


@contextmanager
def limited(
    seconds: float, tell: Callable[[str], None], every: float = _EVERY, grace: float = _GRACE
) -> Iterator[None]:
    """Raise `TooLong` in the main thread if what runs inside takes longer than `seconds`.

    Args:
        seconds: the limit.
        tell: called from another thread every so often with how long it has taken, such as "10 s", and once with the
            reason why the process is ended, if what runs inside cannot be interrupted.
    """
    done, expired = threading.Event(), threading.Event()
    began = time.monotonic()

    def watch() -> None:
        while not done.wait(min(every, max(0.0, seconds - (time.monotonic() - began)))):
            taken = time.monotonic() - began
            if taken < seconds:
                tell(f"{taken:.0f} s")
                continue
            expired.set()
            _interrupt()
            if not done.wait(grace):
                tell(f"{taken:.0f} s, and it cannot be interrupted")
                LEAVE(1)
            return

    watcher = threading.Thread(target=watch, daemon=True)
    with _heard_interrupts():
        watcher.start()
        try:
            yield
        except KeyboardInterrupt:
            if not expired.is_set():
                raise
            raise TooLong from None
        finally:
            done.set()
            watcher.join()


@contextmanager
def _heard_interrupts() -> Iterator[None]:
    """Hear interrupts in a process that a shell started in the background, which begins with ignoring them."""
    if (
        signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
        or threading.current_thread() is not threading.main_thread()
    ):
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _interrupt() -> None:
    """Interrupt the main thread, also where it waits in a call of the system."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # type: ignore[arg-type]
    else:
        interrupt_main()
