"""Another's code at work: what it prints and what it raises, told with the part's name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from contextvars import ContextVar

from .errors import ContractError, MDMError, repr_of

MOST_SHOWN = 300
"""Characters of another's error, or of a part's own description, that a sentence quotes."""

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
def at_work(kind: str, part: object) -> Iterator[None]:
    """Around each call of a part that may be another's: `ContractError`, from the cause, for what it raises.

    `SystemExit` and `GeneratorExit` included, so that no part can end the program or look like its end. What this
    package raises on purpose, a full memory, a device that failed and Ctrl-C pass as they are.
    """
    with redirect_stdout(sys.stderr) if _kept_for_results.get() else nullcontext():
        try:
            yield
        except (MDMError, KeyboardInterrupt):
            raise
        except BaseException as error:
            from .machine import is_device_fault, is_out_of_memory

            if is_out_of_memory(error) or is_device_fault(error):
                raise
            raise ContractError(f"{named(kind, part)} raised {told(error)}") from error


def named(kind: str, part: object) -> str:
    """A part as errors name it, such as `planner InfoGain(candidates=8, ...)`."""
    if type(part).__repr__ is object.__repr__:
        return f"{kind} {type(part).__name__}"
    text = repr_of(part)  # its own __repr__ may be what is broken
    return f"{kind} {text}" if len(text) <= MOST_SHOWN else f"{kind} {text[:MOST_SHOWN]}..."


def told(error: BaseException) -> str:
    """An error's type and message in one line."""
    message = " ".join(str(error).split())[:MOST_SHOWN]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
