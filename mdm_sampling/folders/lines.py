"""What a line of results holds: the checks of each field, whoever writes it, and the format that a writer declares."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import groupby
from typing import Any

from ..fields import Fields, is_number, is_whole, parse_json

Line = dict[str, Any]
Key = tuple[Any, ...]
_Check = Callable[[Any], bool]

COUNTS = ("steps", "sequential_forwards", "forwards", "token_forwards")
"""What a row cost in whole numbers, as `RowCost` names it."""

SHARED = ("spec", "machine")
"""Fields that are alike in many lines. A line holds a digest of each, and the folder each value once."""


@dataclass(frozen=True)
class LineFormat:
    """What one kind of folder keeps in each line. The manifest of a folder holds its format, so any reader knows it.

    Args:
        kind: what such a folder is called, such as "job".
        key: the fields that tell a line from all others.
        required: the fields of every line; those of the key among them.
        decoded: further fields of a line that has no error.
    """

    kind: str
    key: tuple[str, ...]
    required: tuple[str, ...]
    decoded: tuple[str, ...]

    @classmethod
    def of_manifest(cls, manifest: Any) -> LineFormat:
        """The format that a manifest names. Raises `ValueError` if it names none."""
        fields = Fields(manifest).inside("format")
        names = [tuple(fields.list_of(name)) for name in ("key", "required", "decoded")]
        if not all(_is_text(text) for text in (fields.value("kind"), *sum(names, ()))):
            raise ValueError("its format is not a format of lines")
        return cls(fields.value("kind"), *names)

    def as_json(self) -> dict[str, Any]:
        """The format as it stands in a manifest."""
        return {name: value if name == "kind" else list(value) for name, value in asdict(self).items()}

    def key_of(self, line: Mapping[str, Any]) -> Key:
        """What tells a line, or the row that will get one, from all others. Raises `KeyError` for a field it lacks."""
        return tuple(line[name] for name in self.key)

    def fault(self, line: Any) -> str | None:
        """What is wrong with a line; None if nothing is."""
        decoded = self.decoded if line.get("error") is None else ()
        missing = next((name for name in ("batch", *self.required, *decoded) if name not in line), None)
        if missing is not None:
            return f"a line is not a result, it has no {missing!r}"
        wrong = next((name for name, check in _FIELDS.items() if name in line and not check(line[name])), None)
        return wrong and f"a line is not a result, its {wrong!r} is {line[wrong]!r:.40}"


def digest(values: Any) -> str:
    """A few characters that differ between different values."""
    return sha256(json.dumps(values, sort_keys=True, default=repr).encode()).hexdigest()[:16]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_list_of_whole(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_whole, value))


def _is_size(value: Any) -> bool:
    return is_whole(value) and value >= 1


def _is_spec(value: Any) -> bool:
    """Whether what stands in a sampler's spec is of the right kinds; whether it can be built is another matter."""
    return isinstance(value, dict) and all(check(value[name]) for name, check in _SPEC.items() if name in value)


def _or_none(check: _Check) -> _Check:
    return lambda value: value is None or check(value)


_SPEC: dict[str, _Check] = {
    "backend": _or_none(lambda value: isinstance(value, dict)),
    **dict.fromkeys(("planner", "cache", "token_sampler", "schedule", "eos"), _is_text),
    "processors": lambda value: isinstance(value, list) and all(map(_is_text, value)),
    **dict.fromkeys(("max_new_tokens", "block_size", "steps"), _is_size),
    "growing": lambda value: isinstance(value, bool),
    "lookahead_batch": _or_none(_is_size),
}
_FIELDS: dict[str, _Check] = {
    **dict.fromkeys(("item", "digest", "settings", "planner", "cache", "text"), _is_text),
    **dict.fromkeys(("answer", "error"), _or_none(_is_text)),
    **dict.fromkeys(("tokens_per_step", "block_size"), _or_none(_is_size)),
    **dict.fromkeys(("number", "seed", "row_seed"), is_whole),
    **dict.fromkeys((*COUNTS, "filled"), lambda value: is_whole(value) and value >= 0),
    **dict.fromkeys(("seconds", "batch_seconds"), lambda value: is_number(value) and value >= 0),
    "batch": lambda value: _is_list_of_whole(value) and len(value) == 2 and value[0] >= 0 < value[1],
    "batch_size": _is_size,
    "cumulative_entropy": is_number,
    "score": lambda value: is_number(value) and 0 <= value <= 1,
    "tokens": _is_list_of_whole,
    "order": lambda value: _is_list_of_whole(value) and len(value) > 0 and min(value) >= -1,  # -1: not filled
    "spec": _is_spec,
    "machine": lambda value: isinstance(value, dict) and all(isinstance(v, str | int | float) for v in value.values()),
}
"""What a field of this name is in every line that has it. A field with another name may be anything."""


def read_lines(data: bytes, line_format: LineFormat, shared: Mapping[str, Any]) -> tuple[list[Line], int]:
    """The lines that count, and how many bytes they take.

    What was cut off while it was written does not count: what follows the last line end, and a last batch that is not
    whole. Raises `ValueError` for a line that is not a result, and for another batch that is not whole.

    Args:
        shared: the values of the fields `SHARED`, by digest.
    """
    whole = data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]
    lines = [_joined(parse_json(line), shared) for line in whole]
    wrong = next(filter(None, map(line_format.fault, lines)), None)
    if wrong is not None:
        raise ValueError(wrong)
    count = whole_batches(lines)
    return lines[:count], sum(len(line) + 1 for line in whole[:count])


def _joined(line: Any, shared: Mapping[str, Any]) -> Line:
    """A line with the values of the shared fields. Raises `ValueError` if one is not known."""
    if not isinstance(line, dict):
        raise ValueError("a line is not a result")
    for name in SHARED:
        if name in line:
            if not _is_text(line[name]) or line[name] not in shared:
                raise ValueError(f"a line is not a result, its {name!r} is {line[name]!r:.40}")
            line[name] = shared[line[name]]
    return line


def whole_batches(lines: Sequence[Line]) -> int:
    """How many lines belong to batches that were written whole. Only the last can be torn: `ValueError` for others."""
    parts = [(size, len(list(part))) for (_, size), part in groupby(lines, key=lambda line: line["batch"])]
    if any(count != size for size, count in parts[:-1]):
        raise ValueError("a batch in the middle is not whole")
    return len(lines) - (parts[-1][1] % parts[-1][0] if parts else 0)
