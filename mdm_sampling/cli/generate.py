"""`mdm-sampling generate`."""

from typing import Any

import click

from .loading_line import loading
from .options import (
    FILE_OPTION,
    Whole,
    cli_option,
    follow_leader,
    make_sampler,
    plain_errors,
    prompts_from,
    shared_options,
)
from .targets import trace_output


@click.command("generate")
@click.argument("prompts", nargs=-1, metavar="[PROMPT]...")
@FILE_OPTION
@cli_option(
    "--max-new-tokens",
    type=Whole(min=1),
    help="Positions to generate.  [default: the checkpoint's, else 128]",
)
@click.option("--chat/--no-chat", default=None, help="Apply the chat template.  [default: if the model has one]")
@shared_options
def command(
    prompts: tuple[str, ...], file: str | None, max_new_tokens: int | None, chat: bool | None, **options: Any
) -> None:
    """Continue prompts, from the arguments, a file or standard input.

    Without --model it is the small model inside this package, which solves small Sudokus and Countdown:

      mdm-sampling generate "1... ..3. .1.. ...4"
    """
    follow_leader(options)
    trace = trace_output(options)
    texts = prompts_from(prompts, file)
    with loading(options["model"]), plain_errors():
        if trace is not None:
            trace.check()
        from .output import decode_and_print

        sampler = make_sampler(options, max_new_tokens, continues=True)
        rows = sampler.prompt_rows(texts, chat)
        applied = sampler.has_chat_template if chat is None else chat
        decode_and_print(sampler, rows, texts, applied, trace, options)
