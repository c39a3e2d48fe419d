"""`mdm-sampling infill`."""

from typing import Any

import click

from .loading_line import loading
from .options import follow_leader, make_sampler, plain_errors, prompts_from, shared_options


@click.command("infill")
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option(
    "--file",
    type=click.File(encoding="utf-8-sig"),
    help="Read one text a line, skipping empty lines; - for standard input.",
)
@shared_options
def command(texts: tuple[str, ...], file: Any, **options: Any) -> None:
    """Fill the masks of texts: [MASK] is one token, [MASK:5] five, and the model's own mask token counts too.

    \b
      mdm-sampling infill $'1__4\\n__1_\\n_1__\\n___1'
    """
    follow_leader(options)
    given = prompts_from(texts, file)
    with loading(options["model"]), plain_errors():
        from .output import decode_and_print

        sampler = make_sampler(options, None, continues=False)
        decode_and_print(sampler, sampler.masked_rows(given), given, None, options)
