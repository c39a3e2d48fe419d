"""`mdm-sampling watch`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import click

from .loading_line import loading
from .options import (
    MODEL_OPTIONS,
    ROW_OPTIONS,
    SAMPLING_OPTIONS,
    Finite,
    Whole,
    cli_option,
    follow_leader,
    make_planner,
    make_sampler,
    plain_errors,
    prompts_from,
    refuse_with_infill,
    was_given,
    with_options,
)
from .streams import one_sign_each

WATCH_OPTIONS = [
    cli_option(
        "--compare",
        multiple=True,
        metavar="PLANNER,...",
        help="Show these planners beside each other on the same text; specs with commas between them. Repeatable.",
    ),
    cli_option(
        "--speed", type=Finite(min=0.25, max=64), default=4.0, show_default=True, help="Most steps shown in a second."
    ),
    cli_option("--infill", is_flag=True, help="The text has [MASK] to fill in."),
    cli_option(
        "--max-new-tokens", type=Whole(min=1), help="Positions to generate.  [default: the checkpoint's, else 128]"
    ),
    cli_option("--chat/--no-chat", default=None, help="Apply the chat template.  [default: if the model has one]"),
]


@click.command("watch")
@click.argument("prompt", required=False)
@with_options(WATCH_OPTIONS, MODEL_OPTIONS, SAMPLING_OPTIONS, ROW_OPTIONS)
def command(prompt: str | None, **options: Any) -> None:
    """Watch a canvas being decoded, step by step: what is filled, how sure the model is, and which moves are weighed.

    \b
      mdm-sampling watch "1... ..3. .1.. ...4"
      mdm-sampling watch --compare confidence,info-gain "1... ..3. .1.. ...4"

    In the terminal: space pauses, the arrows step back and forth, + and - change the speed. The last step stays until
    q is pressed. Without a terminal it prints a line for each step.
    """
    follow_leader(options)
    if prompt is None and (sys.stdin is None or sys.stdin.isatty()):
        raise click.UsageError("nothing to watch: give a text.")
    texts = prompts_from(() if prompt is None else (prompt,), None)
    if len(texts) > 1:
        raise click.UsageError("watch shows one text; for several there is generate --watch.")
    refuse_with_infill(options)
    specs = compared(options["compare"])
    if specs and was_given("planner"):
        raise click.UsageError("--planner would be ignored: --compare names the planners.")
    with loading(options["model"]), plain_errors():
        show(texts[0], specs, options)


def show(text: str, specs: Sequence[str], options: dict[str, Any]) -> None:
    """Decode the text with each planner of `--compare`, or with the one planner of the other options, and show it."""
    from rich.console import Console

    from ..registry.specs import describe
    from ..views.terminal import Screen
    from ..views.terminal.lockstep import watch
    from .output import leave_on_sigterm

    planners = {spec: make_planner(options | {"planner": spec}, specs, "--compare") for spec in specs}
    if not planners:
        planner = make_planner(options)
        planners = {options["planner"] or describe(planner): planner}
    first = next(iter(planners.values()))
    sampler = make_sampler(options, options["max_new_tokens"], not options["infill"], first)
    samplers = {spec: replace(sampler, planner=planner) for spec, planner in planners.items()}
    rows = sampler.masked_rows([text]) if options["infill"] else sampler.prompt_rows([text], options["chat"])
    sampler.check(rows)
    leave_on_sigterm()
    with one_sign_each(sys.stdout), Screen(Console(), options["speed"], together=True) as screen:
        lanes = watch(samplers, rows[0], options["seed"], screen)
        screen.stay()
    codec = sampler.backend.codec
    if screen.live is None and codec is not None:
        for lane in lanes:
            click.echo(f"{lane.title}: {codec.decode(lane.film.canvas, until_eos=not options['infill'])}")


def compared(given: Sequence[str]) -> list[str]:
    """The specs of `--compare`. A piece such as `future=sum` is a parameter of the spec before it."""
    specs: list[str] = []
    for text in given:
        parts: list[str] = []
        for piece in text.split(","):
            if parts and ("=" in piece.split(":")[0] or is_open(parts[-1])):
                parts[-1] += f",{piece}"
            else:
                parts.append(piece.strip())
        if "" in parts:
            raise click.UsageError(f"--compare {text!r} has an empty piece.")
        specs += parts
    if len(set(specs)) < len(specs):
        raise click.UsageError("--compare names a planner twice.")
    return specs


def is_open(text: str) -> bool:
    """Whether a bracket of a spec is not closed yet."""
    return any(text.count(first) > text.count(last) for first, last in ("()", "[]"))
