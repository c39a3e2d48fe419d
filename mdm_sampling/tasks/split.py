"""The split between what the embedded model may train on and what the tasks ask: one key in 16 is held out."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import count as counting
from random import Random
from typing import TypeVar
from zlib import crc32

from ..errors import SpecError

_HELD_OUT_SHARE = 16
_PATIENCE = 10_000  # attempts in a row that find nothing new
MOST_ITEMS = 100_000

T = TypeVar("T")


def is_held_out(key: str) -> bool:
    """Whether an item with this key is kept for tests: a fixed hash of the key, the same on every machine."""
    return crc32(key.encode()) % _HELD_OUT_SHARE == 0


def check_count(count: int, task: str) -> None:
    """Raise `SpecError` for more items than anybody waits for, before the first is made."""
    if count > MOST_ITEMS:
        raise SpecError(f"{task}: at most {MOST_ITEMS:,} items can be made, got {count:,}")


def draw_distinct(
    draw: Callable[[Random], T],
    key: Callable[[T], Hashable],
    fits: Callable[[T], bool],
    count: int,
    seed: int,
    task: str,
) -> list[T]:
    """`count` drawn things that fit, no two with one key.

    Each attempt has a generator of its own, so more of a seed is a longer list. Raises `SpecError`, in the name of the
    task, when nothing new has come for `_PATIENCE` attempts.
    """
    check_count(count, task)
    found: dict[Hashable, T] = {}
    latest = 0
    for attempt in counting():
        if len(found) >= count:
            break
        drawn = draw(Random(f"{seed}/{attempt}"))
        if key(drawn) not in found and fits(drawn):
            found[key(drawn)] = drawn
            latest = attempt
        if attempt - latest > _PATIENCE:
            raise SpecError(
                f"{task}: found only {len(found)} of {count} different items; ask for fewer, or for a larger range"
            )
    return list(found.values())
