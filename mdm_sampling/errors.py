"""The errors that a user can mend. Each message is one sentence that says what to change."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class MDMError(Exception):
    """Base of all errors that this package raises on purpose."""


class ModelError(MDMError):
    """A checkpoint or a model that cannot be used."""


class CanvasError(MDMError):
    """A prompt or canvas that cannot be sampled."""


class SpecError(MDMError, ValueError):
    """An unknown part, an unknown parameter or a value out of range."""


class RegistrationError(MDMError):
    """A plug-in that cannot be registered."""


class ContractError(MDMError):
    """A part that broke its contract; the message names it."""


class ProcessLost(SystemExit):
    """One of the processes that share a model failed. This one ends too, with a message, whatever it is doing."""


class PredictionError(MDMError):
    """A model that returned something which is not a prediction, such as non-finite logits."""


def require(condition: bool, message: str) -> None:
    """Raise `SpecError(message)` unless `condition` holds; for checking parameters."""
    if not condition:
        raise SpecError(message)


def repr_of(value: Any) -> str:
    """How Python writes a value; its class where the value's own code fails at that, or would end the program."""
    try:
        return repr(value)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return f"<{type(value).__name__} object>"


_LONGEST_NAME = 100
"""Longer ones resemble no name, and comparing them takes long."""

_NEAR = 0.7
"""How alike two names are, of 1; a typing error in four letters leaves more, and `origin` is not `margin`."""


def nearest(name: str, known: Iterable[str], otherwise: str) -> str:
    """What to say of a name that is not known: the nearest one that is, or something else where none is near."""
    near = get_close_matches(name, list(known), n=1, cutoff=_NEAR) if len(name) < _LONGEST_NAME else []
    return f"did you mean {near[0]!r}?" if near else otherwise
