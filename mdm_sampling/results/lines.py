"""What a line of results must hold, for a job and for a comparison: what the output and the tables read of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ..fields import is_number, is_whole

KINDS = {"compare.json": "comparison", "job.json": "job"}
"""The file that says what a folder's lines have in common, and what made it."""

Line = dict[str, Any]
Check = Callable[[Any], bool]


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_batch(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_whole, value)) and value[0] >= 0 < value[1]


def is_list_of_whole(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_whole, value))


def or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


COUNTS: dict[str, Check] = {
    **dict.fromkeys(("steps", "forwards", "token_forwards"), is_whole),
    "cumulative_entropy": is_number,
    "seconds": is_number,
    "text": is_text,
    "spec": lambda value: isinstance(value, dict),
}
ALWAYS: dict[str, dict[str, Check]] = {
    "job.json": {
        **dict.fromkeys(("item", "digest", "settings"), is_text),
        **dict.fromkeys(("number", "seed"), is_whole),
        "batch": is_batch,
        "error": or_none(is_text),
    },
    "compare.json": {
        **dict.fromkeys(("item", "digest", "planner", "cache"), is_text),
        **dict.fromkeys(("tokens_per_step", "block_length"), or_none(is_whole)),
        "seed": is_whole,
        "score": is_number,
        "answer": or_none(is_text),
    },
}
DECODED: dict[str, dict[str, Check]] = {
    "job.json": {**COUNTS, "tokens": is_list_of_whole},
    "compare.json": {**COUNTS, "tokens": is_whole, "order": is_list_of_whole},
}


def read_lines(data: bytes, name: str) -> tuple[list[Line], list[int]]:
    """The whole lines of a folder whose question is kept in the file `name`, and how many bytes each takes.

    Raises `ValueError` for one that is no result. What follows the last line end was cut off, and is left out.
    """
    whole = data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]
    try:
        lines = [json.loads(line) for line in whole]
    except RecursionError as error:
        raise ValueError("a line nests too deep") from error
    wrong = next(filter(None, (fault(line, name) for line in lines)), None)
    if wrong is not None:
        raise ValueError(wrong)
    return lines, [len(line) + 1 for line in whole]


def fault(line: Any, name: str) -> str | None:
    """What is wrong with a line of a folder whose question is kept in the file `name`; None if nothing is."""
    if not isinstance(line, Mapping):
        return "a line is no result"
    checks = ALWAYS[name] if line.get("error") is not None else ALWAYS[name] | DECODED[name]
    for field, check in checks.items():
        if field not in line:
            return f"a line is no result, it has no {field!r}"
        if not check(line[field]):
            return f"a line is no result, its {field!r} is {line[field]!r:.40}"
    return None
