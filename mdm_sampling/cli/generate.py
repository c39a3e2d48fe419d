"""`mdm-sampling generate`."""

from typing import Any

import click

from .assembly import follow_leader, make_sampler
from .conflicts import refuse_ignored
from .errors import plain_errors
from .layout import LaidOutCommand
from .loading_line import loading
from .options import FILE_OPTION, PROMPT_OPTIONS, SAMPLES_OPTION, cli_option, shared_options, with_options
from .prompts import prompts_from
from .targets import trace_output

_ANSWER_OPTIONS = [
    cli_option("--system", help="A system message before each prompt; needs a chat template."),
    cli_option("--stop", "stops", multiple=True, help="End the text before this one. Repeatable."),
]


def _conversation(system: str, text: str) -> list[dict[str, str]]:
    """A system message and a prompt."""
    return [{"role": "system", "content": system}, {"role": "user", "content": text}]


@click.command("generate", cls=LaidOutCommand)
@click.argument("prompts", nargs=-1, metavar="[PROMPT]...")
@with_options([FILE_OPTION], PROMPT_OPTIONS, _ANSWER_OPTIONS, [SAMPLES_OPTION])
@shared_options
def command(prompts: tuple[str, ...], file: str | None, chat: bool | None, **options: Any) -> None:
    """Continue prompts, from the arguments, a file or standard input.

    Without --model it is the small model inside this package, which solves small Sudokus and Countdown:

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
        system = options["system"]
        applied = sampler.has_chat_template if chat is None and system is None else chat is not False
        asked = texts if system is None else [_conversation(system, text) for text in texts]
        rows = sampler.prompt_rows(asked, chat)
        decode_and_print(sampler, rows, texts, applied, trace, options)
