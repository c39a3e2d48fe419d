"""`mdm-sampling infill`."""

from typing import Any

import click

from .assembly import follow_leader, make_sampler
from .conflicts import refuse_ignored
from .errors import plain_errors
from .layout import LaidOutCommand
from .loading_line import loading
from .options import FILE_OPTION, SAMPLES_OPTION, shared_options
from .prompts import prompts_from
from .targets import trace_output


@click.command("infill", cls=LaidOutCommand)
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@FILE_OPTION
@SAMPLES_OPTION
@shared_options
def command(texts: tuple[str, ...], file: str | None, **options: Any) -> None:
    """Fill the masks of texts. [MASK] is one token and [MASK:5] is five. The model's own mask token works too.

    \b
      mdm-sampling infill $'1__4\\n__1_\\n_1__\\n___1'
    """
    follow_leader(options)
    trace = trace_output(options)
    given = prompts_from(texts, file)
    with loading(options["model"]), plain_errors():
        refuse_ignored()
        if trace is not None:
            trace.check()
        from .output import decode_and_print

        sampler = make_sampler(options, continues=False)
        decode_and_print(sampler, sampler.masked_rows(given), given, None, trace, options)
