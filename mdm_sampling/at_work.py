"""Another's code at work: what it prints and what it raises, told with the part's name."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from contextvars import ContextVar
from typing import NoReturn

from .errors import ContractError, MDMError, ProcessLost, repr_of

_MOST_SHOWN = 300
"""Characters of another's error, or of a part's own description, that a sentence quotes."""

LEAVE = os._exit
"""The way out, kept here, since `no_way_out` puts another function in its place."""

_kept_for_results: ContextVar[bool] = ContextVar("stdout kept for results", default=False)


@contextmanager
def stdout_for_results() -> Iterator[None]:
    """While it lasts, what parts print goes to stderr: on the command line stdout holds nothing but the results."""
    token = _kept_for_results.set(True)
    try:
        yield
    finally:
        _kept_for_results.reset(token)


@contextmanager
def printed_apart() -> Iterator[None]:
    """Around another's code: what it prints goes to stderr where stdout is kept for results."""
    with redirect_stdout(sys.stderr) if _kept_for_results.get() else nullcontext():
        yield


@contextmanager
def at_work(kind: str, part: object, doing: str = "", *, decodes: bool = True) -> Iterator[None]:
    """Around each call of a part that may be another's: `ContractError`, from the cause, for what it raises.

    `SystemExit` and `GeneratorExit` included, so that no part can end the program or look like its end. What this
    package raises on purpose and Ctrl-C pass as they are. A process that the part forked ends here: it must not go on
    with a run of its own.

    Args:
        kind: of the part, such as "planner".
        part: itself, or how it is to be called.
        doing: what it was asked for, such as "grading item 'a'".
        decodes: whether a full memory and a device that failed pass as they are, for whoever decodes to deal with.
    """
    owner = os.getpid()
    with printed_apart():
        try:
            yield
        except (MDMError, ProcessLost, KeyboardInterrupt):
            raise
        except BaseException as error:
            if decodes and _is_the_machines(error):
                raise
            raise ContractError(f"{named(kind, part)}{f', {doing},' if doing else ''} raised {told(error)}") from error
        finally:
            if os.getpid() != owner:
                LEAVE(0)


def _is_the_machines(error: BaseException) -> bool:
    """Whether an error says that memory is full or that a device has failed."""
    from .device_faults import is_device_fault, is_out_of_memory

    return is_out_of_memory(error) or is_device_fault(error)


@contextmanager
def no_way_out() -> Iterator[None]:
    """While it lasts, `os._exit` raises: a part that ends the program with code 0 would look as if it had passed.

    In a process that a part forked it ends that process, which also ends where this does.
    """
    leave, owner = os._exit, os.getpid()

    def refused(status: int) -> NoReturn:
        if os.getpid() != owner:
            LEAVE(status)
        raise SystemExit(f"it called os._exit({status})")

    os._exit = refused
    try:
        yield
    finally:
        os._exit = leave
        if os.getpid() != owner:
            LEAVE(0)


def named(kind: str, part: object) -> str:
    """A part as errors name it, such as `planner InfoGain(candidates=8, ...)`."""
    if type(part).__repr__ is object.__repr__:
        return f"{kind} {type(part).__name__}"
    text = part if isinstance(part, str) else repr_of(part)  # its own __repr__ may be what is broken
    return f"{kind} {text}" if len(text) <= _MOST_SHOWN else f"{kind} {text[:_MOST_SHOWN]}..."


def told(error: BaseException) -> str:
    """An error's type and message in one line."""
    message = " ".join(str(error).split())[:_MOST_SHOWN]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
