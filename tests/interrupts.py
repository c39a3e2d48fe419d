"""Processes that the tests interrupt."""

import signal


def hear_interrupts() -> None:
    """For a new process: what runs in the background of a shell, as a CI may, ignores SIGINT and hands that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
