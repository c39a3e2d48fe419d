"""What a line of results must hold, for a job and for a comparison: what the output and the tables read of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..fields import is_number, is_whole, parse_json

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


def is_order(value: Any) -> bool:
    """The step of each position, -1 for one that was not filled; no body is empty."""
    return is_list_of_whole(value) and len(value) > 0 and min(value) >= -1


def is_count(value: Any) -> bool:
    return is_whole(value) and value >= 0


def is_size(value: Any) -> bool:
    return is_whole(value) and value >= 1


def is_time(value: Any) -> bool:
    return is_number(value) and value >= 0


def is_share(value: Any) -> bool:
    return is_number(value) and 0 <= value <= 1


def is_machine(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(each, str | int | float) for each in value.values())


def is_spec(value: Any) -> bool:
    """Whether what stands in a sampler's spec is of the right kinds; whether it can be built is another matter."""
    return isinstance(value, dict) and all(check(value[name]) for name, check in SPEC.items() if name in value)


def or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


SPEC: dict[str, Check] = {
    "backend": or_none(lambda value: isinstance(value, dict)),
    **dict.fromkeys(("planner", "cache", "token_sampler", "schedule", "eos"), is_text),
    "processors": lambda value: isinstance(value, list) and all(map(is_text, value)),
    **dict.fromkeys(("max_new_tokens", "block_size", "steps"), is_size),
    "lookahead_batch": or_none(is_size),
}
COUNTS: dict[str, Check] = {
    **dict.fromkeys(("steps", "forwards", "token_forwards"), is_count),
    "cumulative_entropy": is_number,
    "seconds": is_time,
    "text": is_text,
    "spec": is_spec,
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
        **dict.fromkeys(("tokens_per_step", "block_size"), or_none(is_size)),
        "seed": is_whole,
        "score": is_share,
        "answer": or_none(is_text),
    },
}
DECODED: dict[str, dict[str, Check]] = {
    "job.json": {**COUNTS, "tokens": is_list_of_whole},
    "compare.json": {**COUNTS, "tokens": is_count, "order": is_order},
}
IF_THERE: dict[str, Check] = {
    **dict.fromkeys(("planner", "cache", "text", "answer", "error"), or_none(is_text)),
    **dict.fromkeys(("tokens_per_step", "block_size", "batch_size"), or_none(is_size)),
    **dict.fromkeys(("steps", "forwards", "token_forwards"), or_none(is_count)),
    **dict.fromkeys(("seconds", "batch_seconds"), or_none(is_time)),
    "cumulative_entropy": or_none(is_number),
    "score": or_none(is_share),
    "spec": or_none(is_spec),
    "machine": is_machine,
    "row_seed": is_whole,
}
"""What a line need not have, or only where it was decoded, but is read if it has it."""


def read_lines(data: bytes, name: str) -> tuple[list[Line], list[int]]:
    """The whole lines of a folder whose question is kept in the file `name`, and how many bytes each takes.

    Raises `ValueError` for one that is no result. What follows the last line end was cut off, and is left out.
    """
    whole = data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]
    lines = [parse_json(line) for line in whole]
    wrong = next(filter(None, (fault(line, name) for line in lines)), None)
    if wrong is not None:
        raise ValueError(wrong)
    return lines, [len(line) + 1 for line in whole]


def fault(line: Any, name: str) -> str | None:
    """What is wrong with a line of a folder whose question is kept in the file `name`; None if nothing is."""
    if not isinstance(line, Mapping):
        return "a line is no result"
    checks = ALWAYS[name] if line.get("error") is not None else ALWAYS[name] | DECODED[name]
    missing = next((field for field in checks if field not in line), None)
    if missing is not None:
        return f"a line is no result, it has no {missing!r}"
    for field, check in (*checks.items(), *IF_THERE.items()):
        if field in line and not check(line[field]):
            return f"a line is no result, its {field!r} is {line[field]!r:.40}"
    return None
