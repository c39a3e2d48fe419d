"""What a command says when something fails: one sentence."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

import click

from .plugin_files import registry_of_command, warn_of_plugins

_LONGEST_NAME = 200
"""Characters of a file's name that an error shows."""


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn errors that a user can mend into one sentence on stderr and exit code 1; warn of broken plug-ins."""
    from ..errors import MDMError

    warn_of_plugins()
    try:
        registry_of_command()
        yield
    except MDMError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise  # the reader of the output has gone; click ends quietly
        raise click.ClickException(_told(error)) from error
    except (RuntimeError, MemoryError) as error:
        from ..device_faults import is_device_fault, is_out_of_memory

        if is_device_fault(error):
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise click.ClickException(f"the device failed ({said}); a job goes on with the same command") from error
        if is_out_of_memory(error):
            raise click.ClickException(
                "out of memory; lower --batch-size or --lookahead-batch, weigh fewer candidates, or change --dtype"
            ) from error
        raise


def _told(error: OSError) -> str:
    """What the system refused, as a sentence. Only a stream has no name, and of what is named it may have been read."""
    if not isinstance(error.filename, str | bytes | os.PathLike):
        return f"cannot write the output: {error.strerror or error}"
    name = os.fsdecode(error.filename)
    name = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."
    return f"{name} cannot be read or written: {error.strerror}"
