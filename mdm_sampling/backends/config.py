"""The values of a checkpoint's config.json: each of its kind and in a sensible range, or a `ModelError` that names it.

A key that decides what the model computes is never guessed: where it is missing, the checkpoint is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ModelError
from ..fields import is_number, is_whole

_LARGEST_SIZE = 2**31 - 1
_LARGEST_BASE = 1e15
_LARGEST_EPSILON = 0.1
_ROTARY_KEYS = ("rope_parameters", "rope_scaling")
"""Where the rotary embedding is described beside `rope_theta`: the newer spelling and the older one."""


def field(config: Mapping[str, Any], name: str, source: str) -> int:
    """config[name], a size. Raises `ModelError` where it is missing or no whole number above 0."""
    value = optional_field(config, name, source)
    if value is None:
        raise ModelError(f"{source}: config.json lacks {name!r}")
    return value


def optional_field(config: Mapping[str, Any], name: str, source: str) -> int | None:
    """config[name], a size; None where it is missing or null."""
    value = config.get(name)
    if value is None:
        return None
    if not is_whole(value) or value < 1:
        raise ModelError(f"{source}: config.json says {name}={value!r:.60}, expected a whole number above 0")
    if value > _LARGEST_SIZE:
        raise ModelError(f"{source}: config.json says {name}={value}, expected at most {_LARGEST_SIZE}")
    return int(value)


def flag(config: Mapping[str, Any], name: str, source: str, default: bool) -> bool:
    """config[name], true or false; the default where it is missing or null."""
    value = config.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise ModelError(f"{source}: config.json says {name}={value!r:.60}, expected true or false")
    return value


def epsilon(config: Mapping[str, Any], name: str, source: str) -> float:
    """config[name], what a norm adds to a variance."""
    value = config.get(name)
    if value is None:
        raise ModelError(f"{source}: config.json lacks {name!r}")
    if not is_number(value) or not 0 < value <= _LARGEST_EPSILON:
        raise ModelError(
            f"{source}: config.json says {name}={value!r:.60}, expected a number above 0, at most {_LARGEST_EPSILON}"
        )
    return float(value)


def rotary_base(config: Mapping[str, Any], source: str) -> float:
    """The base of an ordinary rotary embedding.

    It stands in `rope_theta` or, in what transformers 5 saves, in `rope_parameters`. Raises `ModelError` for a config
    that names no base or several, and for a rotary embedding of another type, wherever it is described.
    """
    named = {"rope_theta": config.get("rope_theta")}
    for key in _ROTARY_KEYS:
        described = config.get(key)
        if described is None:
            continue
        if not isinstance(described, Mapping):
            raise ModelError(f"{source}: config.json says {key}={described!r:.60}, expected an object")
        _refuse_other_rotations(described, key, source)
        named[f"{key}.rope_theta"] = described.get("rope_theta")
    given = {name: value for name, value in named.items() if value is not None}
    if not given:
        raise ModelError(
            f"{source}: config.json names no rotary base, neither rope_theta nor rope_parameters.rope_theta"
        )
    for name, value in given.items():
        if not is_number(value) or not 1 < value <= _LARGEST_BASE:
            raise ModelError(
                f"{source}: config.json says {name}={value!r:.60}, expected a number above 1, at most {_LARGEST_BASE:g}"
            )
    if len(set(given.values())) > 1:
        both = " and ".join(f"{name}={value!r}" for name, value in given.items())
        raise ModelError(f"{source}: config.json contradicts itself: {both}")
    return float(next(iter(given.values())))


def _refuse_other_rotations(described: Mapping[str, Any], key: str, source: str) -> None:
    for name, value in described.items():
        ordinary = (
            value is None
            or name == "rope_theta"
            or (name in ("rope_type", "type") and value == "default")
            or (name == "partial_rotary_factor" and value == 1 and not isinstance(value, bool))
        )
        if not ordinary:
            raise ModelError(
                f"{source}: config.json says {key}.{name}={value!r:.60}, which is not computed here: only the "
                "rope_type 'default', with a rope_theta, is"
            )


def refuse_unsupported(config: Mapping[str, Any], supported: Mapping[str, tuple[Any, ...]], source: str) -> None:
    """Raise `ModelError` where a config asks for something that the native class does not compute."""
    for name, values in supported.items():
        if name in config and not any(_same(config[name], value) for value in values):
            raise ModelError(
                f"{source}: config.json says {name}={config[name]!r:.60}, supported: {', '.join(map(repr, values))}"
            )


def _same(value: Any, other: Any) -> bool:
    """Whether two values are equal and of one kind, which 1 and true are not."""
    return type(value) is type(other) and bool(value == other)
