"""An option that would be ignored is an error. The table says which options are read when."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from .assembly import INFO_GAIN, planners_of
from .options import was_given

if TYPE_CHECKING:
    from ..planners.base import PositionPlanner


@dataclass(frozen=True)
class ReadingRule:
    """When some options are read.

    Attributes:
        options: their names.
        decider: the option that decides; the rule is for commands that have it.
        read: whether the options are read, given the values of all options.
        why_not: the end of the sentence "--x would be ignored ..."; `{planner}` stands for the value of `--planner`.
    """

    options: tuple[str, ...]
    decider: str
    read: Callable[[dict[str, Any]], bool]
    why_not: str


def _written_planners(options: dict[str, Any]) -> list[PositionPlanner]:
    return planners_of(options | {"threshold": None})


def _from_outside_in(planner: PositionPlanner) -> Iterator[PositionPlanner]:
    """A planner and those inside its bypasses and defers."""
    from ..planners.bypass import Bypass
    from ..planners.defer import Defer

    yield planner
    if isinstance(planner, Bypass | Defer):
        yield from _from_outside_in(planner.otherwise)


def _looks_ahead(planner: PositionPlanner) -> bool:
    """Whether a planner might look ahead: all do but those that only score positions."""
    from ..planners.base import ScorePlanner

    return not isinstance(list(_from_outside_in(planner))[-1], ScorePlanner)


def _has_bypass(planner: PositionPlanner) -> bool:
    from ..planners.bypass import Bypass

    return any(isinstance(inner, Bypass) for inner in _from_outside_in(planner))


def _is_open_to(parameter: str) -> Callable[[dict[str, Any]], bool]:
    """Whether the planner is an info-gain that does not set a parameter itself."""

    def read(options: dict[str, Any]) -> bool:
        from ..registry.specs import Spec

        spec = Spec.parse(options["planner"] or "info-gain").named("planners")
        return spec.name == "info-gain" and parameter not in spec.given

    return read


RULES = (
    ReadingRule(("max_new_tokens", "chat"), "infill", lambda o: not o["infill"], "with --infill"),
    ReadingRule(("top_k", "top_p"), "temperature", lambda o: o["temperature"] > 0, "without --temperature above 0"),
    ReadingRule(("overwrite",), "trace_file", lambda o: o["trace_file"] is not None, "without --trace"),
    ReadingRule(("overwrite",), "export_file", lambda o: o["export_file"] is not None, "without --export"),
    ReadingRule(("where",), "merge_into", lambda o: o["merge_into"] is None, "by --merge, which takes all rows"),
    ReadingRule(
        ("workers", "gpus_per_worker", "ray_address"), "engine", lambda o: o["engine"] == "ray", "without --engine ray"
    ),
    ReadingRule(
        ("fewshot_as_multiturn",),
        "apply_chat_template",
        lambda o: o["apply_chat_template"],
        "without --apply-chat-template",
    ),
    *(
        ReadingRule(
            (option,),
            "planner",
            _is_open_to(parameter),
            f"by --planner {{planner}}: only an info-gain that does not set {parameter} reads it",
        )
        for option, parameter in INFO_GAIN.items()
    ),
    ReadingRule(
        ("threshold",),
        "planner",
        lambda o: not any(_has_bypass(planner) for planner in _written_planners(o)),
        "by --planner {planner}: it already has a bypass",
    ),
    ReadingRule(
        ("lookahead_batch",),
        "planner",
        lambda o: any(_looks_ahead(planner) for planner in _written_planners(o)),
        "by --planner {planner}: it never looks ahead",
    ),
)


def refuse_ignored() -> None:
    """Raise a usage error for an option of the running command that would be ignored."""
    options = click.get_current_context().params
    for rule in RULES:
        given = [name for name in rule.options if name in options and was_given(name)]
        if given and rule.decider in options and not rule.read(options):
            planner = options.get("planner")
            shown = planner if isinstance(planner, str) else ", ".join(planner or ())
            refuse_given(given, rule.why_not.format(planner=shown))


def refuse_given(names: Iterable[str], why: str) -> None:
    """Raise a usage error for the first of these options that was given: it would be ignored."""
    context = click.get_current_context()
    for name in names:
        if was_given(name):
            option = next(parameter.opts[0] for parameter in context.command.params if parameter.name == name)
            raise click.UsageError(f"{option} would be ignored {why}.")
