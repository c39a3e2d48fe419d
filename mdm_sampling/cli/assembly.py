"""From options to a sampler: one spec, which `from_spec` reads."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import click

from .errors import plain_errors
from .loading_line import loaded
from .options import was_given

if TYPE_CHECKING:
    from ..backends.base import ModelBackend
    from ..planners.base import PositionPlanner
    from ..registry.specs import Spec
    from ..sampler import Sampler

_DEFAULT_PLANNER = "info-gain"
_DEFAULT_THRESHOLD = 0.9
"""The published planner: Info-Gain behind a bypass at this threshold. A planner that is written has no bypass."""

INFO_GAIN = {"candidate_number": "candidates", "position_temperature": "position_temperature"}
"""Published options that are written into the spec of an info-gain, and the parameters that they set."""


def _load_model(options: dict[str, Any]) -> ModelBackend:
    """Load the model that the options name; it must read texts."""
    backend = _load_named(options)
    if backend.codec is None:
        raise click.ClickException(f"{options['model']}: the checkpoint has no tokenizer, so it cannot read a text")
    if options["tp_plan"] is None:
        return backend
    from ..backends.tensor_parallel import Channel, Leader

    leader = Leader(backend, Channel())
    click.get_current_context().call_on_close(leader.stop)
    return leader


def follow_leader(options: dict[str, Any]) -> None:
    """Give this process to the first one, if torchrun started several for one model: that one runs the command."""
    if options["tp_plan"] is None:
        return
    from ..backends.tensor_parallel import follow, follows

    if follows():
        with plain_errors():
            follow(_load_named(options))
        click.get_current_context().exit()


def _load_named(options: dict[str, Any]) -> ModelBackend:
    """Load the model that the options name."""
    from ..backends.options import LoadOptions
    from ..loading import load_backend

    given = {field.name: options[field.name] for field in fields(LoadOptions) if field.name in options}
    backend = load_backend(options["model"], family=options["family"], **given)
    loaded()
    is_chosen = options["device"] == "auto" and options["device_map"] is None and options["tp_plan"] is None
    if is_chosen and sys.stderr.isatty():
        from ..backends.devices import describe_choice

        click.echo(f"Device: {describe_choice(backend.device)}", err=True)
    return backend


def make_sampler(options: dict[str, Any], continues: bool = True) -> Sampler:
    """Load the model and assemble the sampler that the options describe.

    One that `continues` prompts has the checkpoint's length unless `--max-new-tokens` says another. Texts with masks
    have their own.
    """
    from ..loading import default_new_tokens
    from ..sampler import Sampler

    settings = _settings_of(options)
    backend = _load_model(options)
    if continues and "max_new_tokens" not in settings:
        settings["max_new_tokens"] = default_new_tokens(options["model"], options["revision"], backend.max_length)
    return Sampler(backend, **settings)


def _settings_of(options: dict[str, Any]) -> dict[str, Any]:
    """The options' settings as a `Sampler` takes them. Errors name the option."""
    from ..sampler import PARTS, SETTINGS

    settings = {name: options[name] for name in SETTINGS if options.get(name) is not None}
    settings["token_sampler"] = "greedy"
    if options["temperature"] > 0:
        chosen = ",".join(f"{name}={options[name]}" for name in ("temperature", "top_k", "top_p"))
        settings["token_sampler"] = f"gumbel:{chosen}"
    if "planner" in options:
        settings["planner"] = planners_of(options)[0]
    for name, kind in PARTS.items():
        if isinstance(settings.get(name), str):
            settings[name] = make_part(kind, f"--{name}", settings[name])
    settings["processors"] = [make_part("processors", "--processor", text) for text in settings["processors"]]
    return settings


def planners_of(options: dict[str, Any]) -> list[PositionPlanner]:
    """The planners of `--planner`, each behind a bypass if `--threshold` is given.

    Without `--planner` it is the published one: Info-Gain behind a bypass, whose threshold `--threshold` sets.
    """
    threshold, specs = options.get("threshold"), planner_specs(options["planner"])
    if not options["planner"] and not was_given("threshold"):
        threshold = _DEFAULT_THRESHOLD
    for option, parameter in INFO_GAIN.items():
        if option in options:
            specs = [s.with_default(parameter, options[option]) if s.name == "info-gain" else s for s in specs]
    planners = [make_part("planners", "--planner", spec) for spec in specs]
    return planners if threshold is None else [_with_bypass(planner, threshold) for planner in planners]


def planner_specs(written: str | Sequence[str] | None) -> list[Spec]:
    """The specs of `--planner`, which some commands take once and others several times; without one, the default."""
    from ..registry.specs import Spec

    texts = [written] if isinstance(written, str) else written or [_DEFAULT_PLANNER]
    with _errors_of("--planner"):
        return [Spec.parse(text).named("planners") for text in texts]


def _with_bypass(planner: PositionPlanner, threshold: float) -> PositionPlanner:
    """The bypass of `--threshold` around a planner; inside a defer, which else would not hold back sure end tokens."""
    from ..planners.bypass import Bypass
    from ..planners.defer import Defer

    if isinstance(planner, Defer):
        return replace(planner, otherwise=_with_bypass(planner.otherwise, threshold))
    return Bypass(threshold, planner)


def make_part(kind: str, option: str, spec: str | Spec) -> Any:
    """The part that an option describes."""
    from ..registry.specs import build

    with _errors_of(option):
        return build(kind, spec)


@contextmanager
def _errors_of(option: str) -> Iterator[None]:
    """Turn what is wrong with a spec into a usage error that names the option."""
    from ..errors import SpecError

    try:
        yield
    except SpecError as error:
        raise click.BadParameter(str(error), param_hint=option) from error
