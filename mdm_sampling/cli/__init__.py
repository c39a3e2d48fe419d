"""The command line. Commands are imported when they are called, so that `--help` is instant."""

from importlib import import_module

import click

COMMANDS = {
    "generate": "Continue prompts.",
    "infill": "Fill the masks of a text.",
    "watch": "Watch a canvas being decoded, one planner or several side by side.",
    "run": "Decode a file of prompts; a job that is stopped goes on.",
    "compare": "Compare planners, caches and tokens a step on a task.",
    "evaluate": "Run lm-evaluation-harness tasks.",
    "results": "Show, filter, merge and export results folders.",
    "report": "Make a page that shows traces step by step.",
    "list": "Show the parts that are installed.",
    "plugins": "List, inspect, check and begin plug-ins.",
}


class LazyGroup(click.Group):
    """A group whose commands live in modules of the same name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"{__name__}.{name}").command
        return command

    def invoke(self, ctx: click.Context) -> object:
        from ..at_work import stdout_for_results, told
        from ..installed import hide_unreadable

        hide_unreadable()
        try:
            with stdout_for_results():
                return super().invoke(ctx)
        except click.NoSuchOption as error:
            from .words import explained

            raise explained(error) from error
        except KeyboardInterrupt:
            click.echo("\nStopped.", err=True)
            ctx.exit(130)
        except (GeneratorExit, StopIteration) as error:  # which click and the interpreter would take for an end
            raise click.ClickException(f"a part ended the command ({told(error)})") from error
        except SystemExit as error:
            if error.code in (None, 0):
                raise click.ClickException("a part ended the command (SystemExit: 0)") from error
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mdm-sampling")
def main() -> None:
    """Sample from masked diffusion models: LLaDA, Dream and their kin."""
