"""An option that would be ignored is an error. The table says which options are read when."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import not_
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from .assembly import INFO_GAIN, make_part, planner_specs
from .options import was_given

if TYPE_CHECKING:
    from ..planners.base import PositionPlanner


class _ReadingRule(NamedTuple):
    """When some options are read.

    Attributes:
        options: their names.
        decider: the option that decides; the rule is for commands that have it.
        is_read: whether the options are read, given the decider's value.
        why_not: the end of the sentence "--x would be ignored ..."; `{}` stands for the decider's value.
    """

    options: tuple[str, ...]
    decider: str
    is_read: Callable[[Any], bool]
    why_not: str


def _planners_within(written: Any) -> Iterator[list[PositionPlanner]]:
    """Each planner of `--planner`, followed by those inside its bypasses and defers."""
    from ..planners.bypass import Bypass
    from ..planners.defer import Defer

    for spec in planner_specs(written):
        found = [make_part("planners", "--planner", spec)]
        while isinstance(found[-1], Bypass | Defer):
            found.append(found[-1].otherwise)
        yield found


def _some_look_ahead(written: Any) -> bool:
    """Whether a planner might look ahead: all do but those that only score positions."""
    from ..planners.base import ScorePlanner

    return any(not isinstance(found[-1], ScorePlanner) for found in _planners_within(written))


def _some_have_quotas(written: Any) -> bool:
    from ..contract import needs_of

    return any(needs_of(found[0]).quota for found in _planners_within(written))


def _none_has_a_bypass(written: Any) -> bool:
    from ..planners.bypass import Bypass

    return not any(isinstance(planner, Bypass) for found in _planners_within(written) for planner in found)


def _is_ray(engine: str) -> bool:
    return engine == "ray"


def _leaves_open(parameter: str) -> Callable[[Any], bool]:
    """Whether an info-gain does not set a parameter itself."""
    return lambda written: any(s.name == "info-gain" and parameter not in s.given for s in planner_specs(written))


RULES = (
    _ReadingRule(("max_new_tokens", "chat", "system", "stop"), "infill", not_, "with --infill"),
    _ReadingRule(("top_k", "top_p"), "temperature", bool, "without --temperature above 0"),
    _ReadingRule(("system",), "chat", lambda chat: chat is not False, "with --no-chat"),
    _ReadingRule(("overwrite",), "trace_file", bool, "without --trace"),
    _ReadingRule(("overwrite",), "export_file", bool, "without --export"),
    _ReadingRule(("where",), "merge_into", not_, "by --merge, which takes all rows"),
    _ReadingRule(("workers", "gpus_per_worker", "ray_address"), "engine", _is_ray, "without --engine ray"),
    _ReadingRule(("fewshot_as_multiturn",), "apply_chat_template", bool, "without --apply-chat-template"),
    _ReadingRule(("threshold",), "planner", _none_has_a_bypass, "by --planner {}: it already has a bypass"),
    _ReadingRule(("lookahead_batch",), "planner", _some_look_ahead, "by --planner {}: it never looks ahead"),
    _ReadingRule(("schedule",), "planner", _some_have_quotas, "by --planner {}: it chooses how many positions to fill"),
    *(
        _ReadingRule(
            (name,), "planner", _leaves_open(parameter), f"by --planner {{}}: write {parameter} into info-gain"
        )
        for name, parameter in INFO_GAIN.items()
    ),
)


def refuse_ignored() -> None:
    """Raise a usage error for an option of the running command that would be ignored."""
    values = click.get_current_context().params
    for options, decider, is_read, why_not in RULES:
        given = [name for name in options if name in values and was_given(name)]
        if given and decider in values and not is_read(values[decider]):
            value = values[decider]
            refuse_given(given, why_not.format(", ".join(value) if isinstance(value, tuple) else value))


def refuse_given(names: Iterable[str], why: str) -> None:
    """Raise a usage error for the first of these options that was given: it would be ignored."""
    context = click.get_current_context()
    for name in names:
        if was_given(name):
            option = next(parameter.opts[0] for parameter in context.command.params if parameter.name == name)
            raise click.UsageError(f"{option} would be ignored {why}.")
