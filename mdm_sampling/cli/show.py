"""`mdm-sampling show`."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from .errors import plain_errors
from .layout import LaidOutCommand
from .options import JSON_OPTION
from .plugin_files import PLUGIN_OPTION
from .types import Whole


@click.command("show", cls=LaidOutCommand)
@click.argument("model")
@click.option("--family", help="Family of the model, see `list backends`.  [default: recognised from config.json]")
@click.option("--revision", help="Branch, tag or commit of a hub repository.")
@click.option("--mask-id", type=Whole(min=0), help="Id of the mask token, if the checkpoint does not name it.")
@click.option("--attention-block", type=Whole(min=0), help="Positions of an attention block; 0 for full attention.")
@JSON_OPTION
@PLUGIN_OPTION
def command(
    model: str,
    family: str | None,
    revision: str | None,
    mask_id: int | None,
    attention_block: int | None,
    as_json: bool,
) -> None:
    """Show what a model is, without reading its weights or running its code.

    MODEL is a checkpoint folder, a hub id, or embedded for the small model inside this package.
    """
    from ..loading import describe_model

    with plain_errors():
        facts = describe_model(
            model, family=family, revision=revision, mask_id=mask_id, attention_block=attention_block
        )
    memory = facts.bytes_by_dtype
    if as_json:
        click.echo(json.dumps({**asdict(facts), "bytes": memory}))
        return
    sizes = ", ".join(f"{_size(number)} as {dtype}" for dtype, number in memory.items())
    lines = {
        "family": f"{facts.family}, computed by {facts.trunk} of transformers",
        "parameters": f"{facts.parameters:,}: {sizes}",
        "attention": facts.attention,
        "prediction": "position i from the hidden state at i - 1" if facts.look_back else "position i from its own",
        "mask": f"token {facts.mask_id}",
        "ends": ", ".join(f"token {token}" for token in facts.eos_ids) or "none",
        "vocabulary": f"{facts.vocab_size:,} rows",
        "context": f"{facts.max_length:,} positions" if facts.max_length else "not said",
        "chat template": "yes" if facts.has_chat_template else "no",
    }
    for name, text in lines.items():
        click.echo(f"{name + ':':15}{text}")


def _size(number: int) -> str:
    """Bytes as people write them."""
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{number / 2**20:.1f} MiB"
