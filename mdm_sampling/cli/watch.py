"""`mdm-sampling watch`."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import click

from .assembly import follow_leader, make_sampler, planners_of
from .conflicts import refuse_ignored
from .errors import plain_errors
from .layout import LaidOutCommand
from .loading_line import loading
from .options import (
    INFILL_OPTION,
    MODEL_OPTIONS,
    PACE_OPTIONS,
    PROMPT_OPTIONS,
    ROW_OPTIONS,
    planning_options,
    with_options,
)
from .prompts import prompts_from
from .types import Finite

_WATCH_OPTIONS = [
    click.option("--speed", type=Finite(min=0.25, max=64), default=4.0, help="Maximum number of steps per second."),
    INFILL_OPTION,
    *PROMPT_OPTIONS,
]


@click.command("watch", cls=LaidOutCommand)
@click.argument("prompt", required=False)
@with_options(_WATCH_OPTIONS, MODEL_OPTIONS, planning_options(several=True), PACE_OPTIONS, ROW_OPTIONS)
def command(prompt: str | None, **options: Any) -> None:
    """Watch a text being decoded step by step: filled positions, the model's confidence, and the moves it compares.

    \b
      mdm-sampling watch "1... ..3. .1.. ...4"
      mdm-sampling watch --planner confidence --planner info-gain "1... ..3. .1.. ...4"

    Keys: space pauses, the arrows step back and forth, + and - change the speed. The last step stays until
    q is pressed. Without a terminal, each step is printed as a line. At the end the text is printed.
    """
    follow_leader(options)
    if prompt is None and (sys.stdin is None or sys.stdin.isatty()):
        raise click.UsageError("nothing to watch: give a text.")
    texts = prompts_from(() if prompt is None else (prompt,), None)
    if len(texts) > 1:
        raise click.UsageError("watch shows one text; for several there is generate --watch.")
    with loading(options["model"]), plain_errors():
        refuse_ignored()
        show(texts[0], options)


def show(text: str, options: dict[str, Any]) -> None:
    """Decode the text with each planner and show them beside each other."""
    from rich.console import Console

    from ..registry.specs import describe
    from ..views.terminal import Screen
    from ..views.terminal.lockstep import watch
    from .output import leave_on_sigterm

    planners = {describe(planner): planner for planner in planners_of(options)}
    if len(planners) < len(options["planner"]):
        raise click.UsageError("--planner names a planner twice.")
    sampler = make_sampler(options, continues=not options["infill"])
    samplers = {spec: replace(sampler, planner=planner) for spec, planner in planners.items()}
    rows = sampler.masked_rows([text]) if options["infill"] else sampler.prompt_rows([text], options["chat"])
    sampler.check(rows)
    leave_on_sigterm()
    with Screen(Console(), options["speed"], together=True) as screen:
        lanes = watch(samplers, rows[0], options["seed"], screen)
        screen.stay()
    codec = sampler.backend.codec
    if codec is not None:
        for lane in lanes:
            ids = lane.film.canvas[sampler.head_of_body(rows[0].prefix) :]
            text = codec.decode(ids, until_eos=not options["infill"])
            click.echo(text if len(lanes) == 1 else f"{lane.title}: {text}")
