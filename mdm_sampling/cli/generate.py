"""`mdm-sampling generate`."""

from typing import Any

import click

from .assembly import follow_leader, make_sampler
from .conflicts import refuse_ignored
from .errors import plain_errors
from .layout import LaidOutCommand
from .loading_line import loading
from .options import ANSWER_OPTIONS, FILE_OPTION, PROMPT_OPTIONS, SAMPLES_OPTION, shared_options, with_options
from .prompts import prompts_from
from .targets import trace_output


@click.command("generate", cls=LaidOutCommand)
@click.argument("prompts", nargs=-1, metavar="[PROMPT]...")
@with_options([FILE_OPTION], PROMPT_OPTIONS, ANSWER_OPTIONS, [SAMPLES_OPTION])
@shared_options
def command(prompts: tuple[str, ...], file: str | None, chat: bool | None, **options: Any) -> None:
    """Continue prompts, from the arguments, a file or standard input.

    Without --model it uses the small model inside this package, which solves small Sudokus and Countdown:

      mdm-sampling generate "1... ..3. .1.. ...4"
    """
    follow_leader(options)
    trace = trace_output(options)
    texts = prompts_from(prompts, file)
    with loading(options["model"]), plain_errors():
        refuse_ignored()
        if trace is not None:
            trace.check()
        from .output import decode_and_print

        sampler = make_sampler(options)
        rows = sampler.prompt_rows(texts, chat, options["system"])
        applied = sampler.has_chat_template if chat is None else chat
        decode_and_print(sampler, rows, texts, applied, trace, options)
