"""`mdm-sampling list`."""

import json
from typing import Any

import click

from ..registry.registry import KINDS, registry
from ..registry.specs import parameters
from .errors import plain_errors
from .layout import LaidOutCommand
from .options import JSON_OPTION
from .plugin_files import PLUGIN_OPTION


def kind_named(written: str) -> str:
    """A kind of parts as the registry calls it; it may be written in the singular and with hyphens."""
    name = written.replace("-", "_")
    return f"{name}s" if f"{name}s" in KINDS else name


class _Kind(click.Choice[str]):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return super().convert(kind_named(str(value)), param, ctx)


@click.command("list", cls=LaidOutCommand)
@click.argument("kind", required=False, type=_Kind([*KINDS]), metavar="[KIND]")
@JSON_OPTION
@PLUGIN_OPTION
def command(kind: str | None, as_json: bool) -> None:
    """Show the installed parts: rule, parameters with defaults, and the distribution that each comes from.

    KIND is backends, caches, planners, draft-shapes, token-samplers, schedules, processors or tasks. The default is all
    of them.
    """
    with plain_errors():
        for name in [kind] if kind else KINDS:
            if not as_json:
                click.secho(name, bold=True)
            for claim in registry().kind(name):
                given = parameters(claim.part)
                if as_json:
                    line = {"kind": name, "name": claim.name, "rule": claim.rule, "distribution": claim.distribution}
                    line["parameters"] = [dict(zip(("name", "type", "default"), p, strict=True)) for p in given]  # type: ignore[assignment]
                    click.echo(json.dumps(line))
                    continue
                click.echo(f"  {claim.name}  ({claim.distribution})")
                click.echo(click.wrap_text(claim.rule, 100, "      ", "      "))
                for parameter, hint, default in given:
                    click.echo(f"        {parameter}={default}  ({hint})")
