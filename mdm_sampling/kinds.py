"""Whether values are of the kinds that annotations name: whole numbers, numbers, texts, choices, tuples, parts."""

from __future__ import annotations

import types
from collections.abc import Hashable
from dataclasses import fields
from functools import cache
from numbers import Integral, Real
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from .errors import MDMError, SpecError, repr_of

_LARGEST = 2**31 - 1
"""The largest parameter that is a whole number; a tensor's size cannot be larger."""


def check_fields(part: Any, name: str) -> None:
    """Raise `SpecError` for a field of a dataclass that holds another kind of value than its annotation names.

    For the `__post_init__` of parts, before their own checks, which may then compare and add. A list where a tuple is
    meant becomes one, so that the part can be hashed, and a spec where a part is meant becomes that part.

    Args:
        part: the dataclass, at work on its `__post_init__`.
        name: of the part, as it stands in specs; the error begins with it.
    """
    for field, hint in _annotated(type(part)):  # type: ignore[arg-type]
        object.__setattr__(part, field, as_kind(f"{name}: {field}", getattr(part, field), hint))


def as_kind(what: str, value: Any, hint: Any) -> Any:
    """A value of the kind that an annotation names: lists become tuples where those are meant, and specs parts.

    Raises `SpecError` for what is not such a value.
    """
    if isinstance(value, list) and get_origin(hint) is tuple:
        value = tuple(value)
    if isinstance(value, str):
        value = _built(what, value, hint)
    elif isinstance(value, tuple):
        value = tuple(_built(what, each, hint) if isinstance(each, str) else each for each in value)
    require_kind(what, value, hint)
    return value


def _built(what: str, text: str, hint: Any) -> Any:
    """The part that a text describes where the annotation names a kind of parts; else the text as it is."""
    from .registry.registry import KINDS
    from .registry.specs import build

    kind = next((kind for kind, base in KINDS.items() if base in (hint, *get_args(hint))), None)
    try:
        return text if kind is None else build(kind, text)
    except SpecError as error:
        raise SpecError(f"{what}: {error}") from error


def require_kind(what: str, value: Any, hint: Any, kind: type[MDMError] = SpecError) -> None:
    """Raise `SpecError`, or another `kind` of error, unless a value is of the kind that an annotation names."""
    wanted = _missed(hint, value)
    if wanted is not None:
        raise kind(f"{what} must be {wanted}, got {repr_of(value):.80}{_advice(hint, value)}")


@cache
def _annotated(part: Hashable) -> tuple[tuple[str, Any], ...]:
    hints = get_type_hints(part)
    return tuple((field.name, hints[field.name]) for field in fields(part))  # type: ignore[arg-type]


def _missed(hint: Any, value: Any) -> str | None:
    """What a value should be and isn't, in words; None if it is. What no spec can hold is not looked at."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        missed = [_missed(arg, value) for arg in args if arg is not type(None)]
        if None in missed or (value is None and type(None) in args):
            return None
        return " or ".join([*(text for text in missed if text), *(["None"] if type(None) in args else [])])
    if origin is Literal:
        is_one = any(isinstance(value, type(arg)) and value == arg for arg in args)
        return None if is_one else f"one of {', '.join(map(str, args))}"
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        inside = [_missed(args[0], each) for each in value] if isinstance(value, tuple) else ["another kind"]
        return f"a tuple of {_PLURALS.get(args[0], 'such values')}" if any(inside) else None
    if hint in (int, float, bool, str):
        return _scalar_missed(hint, value)
    is_open = hint is Any or not isinstance(hint, type)
    return None if is_open or isinstance(value, hint) else f"a {hint.__name__} object"


_PLURALS = {int: "whole numbers", float: "numbers", bool: "true or false", str: "texts"}


def _scalar_missed(hint: type[Any], value: Any) -> str | None:
    if hint is bool:
        return None if isinstance(value, bool) else "true or false"
    if hint is str:
        return None if isinstance(value, str) else "a text"
    if hint is float:
        return None if isinstance(value, Real) and not isinstance(value, bool) and value == value else "a number"
    if not isinstance(value, Integral) or isinstance(value, bool):
        return "a whole number"
    return None if abs(int(value)) <= _LARGEST else f"a whole number between {-_LARGEST} and {_LARGEST}"


def _advice(hint: Any, value: Any) -> str:
    """How to come from a class to a part."""
    takes_parts = isinstance(hint, type) and hint not in (int, float, bool, str)
    return "; make an object of it" if takes_parts and isinstance(value, type) else ""
