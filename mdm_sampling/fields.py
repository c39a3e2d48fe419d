"""Reading values of JSON that may have been changed by hand: each of its kind, or an error that names the field."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from math import isfinite
from typing import Any

_LARGEST_FLOAT = int(sys.float_info.max)
HALF_A_PAIR = re.compile("[\ud800-\udfff]")
_SUSPICIOUS = re.compile(r"\\u[dD][89a-fA-F]|[0-9]{309}|[\ud800-\udfff]")

MOST_DEPTH = 64
"""How deep JSON may nest. What this package writes nests less than ten deep."""


def parse_json(text: str | bytes) -> Any:
    """The value that a text from outside holds. Raises `ValueError` with a sentence for what no other code expects.

    That is: what is not JSON, nests deeper than `MOST_DEPTH`, holds a whole number that no float can hold, or a text
    with half of a surrogate pair, which cannot be written as UTF-8. Infinite numbers and nan pass; `is_number` tells
    them.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("it nests too deep") from error
    # Most texts need no look at each value: they have too few brackets, no escaped surrogate and no long number.
    if text.count("[") + text.count("{") > MOST_DEPTH or _SUSPICIOUS.search(text):
        _check_values(value)
    return value


def _check_values(value: Any) -> None:
    level = [value]
    for _ in range(MOST_DEPTH + 1):
        if any(isinstance(each, str) and HALF_A_PAIR.search(each) for each in level):
            raise ValueError("it holds a text that is not Unicode")
        if any(isinstance(each, int) and _is_huge(each) for each in level):
            raise ValueError("it holds a number that is too large")
        level = [inner for each in level for inner in _inside(each)]
        if not level:
            return
    raise ValueError("it nests too deep")


def _inside(value: Any) -> list[Any]:
    """What a list holds; the keys and values of an object."""
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list) else []


def _is_huge(value: float) -> bool:
    return isinstance(value, int) and abs(value) > _LARGEST_FLOAT


def is_whole(value: Any) -> bool:
    """Whether it is a whole number of at most 64 bits, which true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def is_number(value: Any) -> bool:
    """Whether it is a number that a float can hold, neither infinite nor nan."""
    return isinstance(value, int | float) and not isinstance(value, bool) and not _is_huge(value) and isfinite(value)


class Fields:
    """The fields of a JSON object.

    Args:
        values: what was read.
        where: put before a field's name in errors, such as "candidates: ".

    All methods raise `ValueError` with a sentence that names the field.
    """

    def __init__(self, values: Any, where: str = "") -> None:
        if not isinstance(values, Mapping):
            raise ValueError(f"{where or 'it '}holds no JSON object")
        self.values = values
        self.where = where

    def value(self, name: str) -> Any:
        if name not in self.values:
            raise ValueError(f"{self.where}{name} is missing")
        return self.values[name]

    def inside(self, name: str) -> Fields:
        """The fields of an object in a field."""
        return Fields(self.value(name), f"{self.where}{name}: ")

    def objects(self, name: str) -> list[Fields]:
        """The fields of each object of a list."""
        return [Fields(each, f"{self.where}{name}: ") for each in self.list_of(name)]

    def whole(self, name: str, most: int | None = None) -> int:
        """A whole number from 0 to `most`."""
        return self._whole(name, self.value(name), most)

    def wholes(self, name: str, count: int | None = None, most: int | None = None) -> list[int]:
        """A list of them, of this length."""
        return [self._whole(name, each, most) for each in self.list_of(name, count)]

    def lists(self, name: str, count: int | None = None) -> list[list[int]]:
        """A list of lists of whole numbers."""
        rows = self.list_of(name, count)
        return [Fields({name: row}, self.where).wholes(name) for row in rows]

    def numbers(self, name: str, count: int) -> list[float]:
        """A list of numbers, none infinite or nan, of this length."""
        return [self._number(name, each) for each in self.list_of(name, count)]

    def finite(self) -> Mapping[str, Any]:
        """All fields, if no number among them is infinite or nan."""
        try:
            json.dumps(self.values, allow_nan=False)
        except ValueError as error:
            raise ValueError(f"{self.where}a number is infinite or nan") from error
        values: Mapping[str, Any] = self.values
        return values

    def list_of(self, name: str, count: int | None = None) -> list[Any]:
        """A list of anything, of this length."""
        values = self.value(name)
        if not isinstance(values, list) or (count is not None and len(values) != count):
            wanted = "a list" if count is None else f"a list of {count}"
            raise ValueError(f"{self.where}{name} is not {wanted}")
        return values

    def _whole(self, name: str, value: Any, most: int | None) -> int:
        if not is_whole(value) or value < 0 or (most is not None and value > most):
            limit = "" if most is None else f" to {most}"
            raise ValueError(f"{self.where}{name} has {value!r:.40}, expected a whole number from 0{limit}")
        return int(value)

    def _number(self, name: str, value: Any) -> float:
        if not is_number(value):
            raise ValueError(f"{self.where}{name} has {value!r:.40}, expected a number")
        return float(value)
