"""`mdm-sampling list`."""

import json
from typing import Any

import click

from .errors import plain_errors
from .layout import LaidOutCommand
from .options import JSON_OPTION
from .plugin_files import PLUGIN_OPTION

KINDS = ["planners", "caches", "token-samplers", "schedules", "processors", "backends", "tasks"]


class _Kind(click.Choice[str]):
    """A kind of parts, also in the singular and with underscores."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        name = str(value).replace("_", "-")
        return super().convert(f"{name}s" if f"{name}s" in KINDS else name, param, ctx)


@click.command("list", cls=LaidOutCommand)
@click.argument("kind", required=False, type=_Kind(KINDS), metavar="[KIND]")
@JSON_OPTION
@PLUGIN_OPTION
def command(kind: str | None, as_json: bool) -> None:
    """Show the installed parts: rule, parameters with defaults, and the distribution that each comes from.

    KIND is planners, caches, token-samplers, schedules, processors, backends or tasks; all of them without it.
    """
    with plain_errors():
        from ..registry.registry import registry
        from ..registry.specs import parameters

        for name in [kind] if kind else KINDS:
            if not as_json:
                click.secho(name, bold=True)
            for claim in registry().kind(name.replace("-", "_")):
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
