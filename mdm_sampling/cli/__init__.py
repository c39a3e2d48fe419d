"""The command line. Commands are imported when they are called, so that `--help` is instant."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

from .interrupts import STOPPED, is_interrupt, patient_interrupts, say_stopped

try:
    import click

    from .layout import spelled
    from .plugin_files import PLUGIN_OPTION, files_of_command, registry_of_command, warn_of_plugins
    from .streams import prepare_streams
except KeyboardInterrupt:  # before there is a command to tell it
    say_stopped()
    sys.exit(STOPPED)

COMMANDS = {
    "generate": "Continue prompts.",
    "infill": "Fill the masks of a text.",
    "watch": "Watch a text being decoded, with one planner or several side by side.",
    "run": "Decode a file of prompts. A stopped job can be resumed.",
    "compare": "Compare planners, caches and tokens per step on a task.",
    "evaluate": "Run lm-evaluation-harness tasks.",
    "results": "Show, filter, merge and export results folders.",
    "report": "Make a page that shows traces step by step.",
    "list": "Show the installed parts.",
    "show": "Show what a model is, without reading its weights.",
    "plugins": "List, inspect, check and create plug-ins.",
}


@contextmanager
def _told_interrupts() -> Iterator[None]:
    """Say that the command was stopped, whatever error the interrupt has become. click itself would say "Aborted!"."""
    try:
        yield
    except click.exceptions.Exit:
        raise
    except (Exception, KeyboardInterrupt) as error:
        if not is_interrupt(error):
            raise
        say_stopped()
        raise click.exceptions.Exit(STOPPED) from error


def _plugin_commands(ctx: click.Context) -> dict[str, click.Command]:
    """The commands of plug-ins. Where there is no plug-in, nothing is imported to learn that."""
    from ..registry import installed

    if not installed.plugins() and not files_of_command(ctx):
        return {}
    from ..errors import MDMError, SpecError
    from ..registry.registry import COMMANDS as KIND

    try:
        registry = registry_of_command(ctx)
    except MDMError as error:
        raise click.ClickException(str(error)) from error
    found = {}
    for claim in registry.kind(KIND):
        with suppress(SpecError):  # of a name that two plug-ins claim
            found[claim.name] = registry.get(KIND, claim.name).part
    return found


class _LazyGroup(click.Group):
    """A group whose commands live in modules of the same name, or come from plug-ins."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *_plugin_commands(ctx)]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return _plugin_commands(ctx).get(name)
        command: click.Command = import_module(f"{__name__}.{name}").command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:  # click knows only commands that are loaded, and none is
            warn_of_plugins()  # one that could not be loaded may be why
            known = self.list_commands(ctx)
            raise click.exceptions.NoSuchCommand(error.command_name, possibilities=known, ctx=ctx) from None

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command. Whatever happens to the streams, and whenever it is interrupted, ends in one sentence."""
        with patient_interrupts():
            try:
                if not prepare_streams():
                    click.echo("Error: standard output is closed; send it to a file, or to /dev/null", err=True)
                    sys.exit(1)
                return super().main(*args, **extra)
            except OSError as error:  # the help, or an error, could not be printed
                with suppress(OSError):
                    click.echo(f"Error: cannot write the output: {error.strerror or error}", err=True)
                sys.exit(1)
            except KeyboardInterrupt:
                say_stopped()
                sys.exit(STOPPED)

    def __call__(self, *args: Any, **extra: Any) -> Any:
        """What the program calls: the process ends after it. An interrupt at its end has nothing left to stop."""
        try:
            return self.main(*args, **extra)
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, signal.SIG_IGN)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _told_interrupts():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> object:
        with _told_interrupts():
            from ..at_work import stdout_for_results, told
            from ..errors import MDMError
            from ..registry.installed import hide_unreadable

            hide_unreadable()
            try:
                with stdout_for_results():
                    return super().invoke(ctx)
            except click.NoSuchOption as error:
                from .words import explained

                raise explained(error) from error
            except MDMError as error:  # of a plug-in's command; our own have told theirs
                raise click.ClickException(str(error)) from error
            except (GeneratorExit, StopIteration) as error:  # which click and the interpreter would take for an end
                raise click.ClickException(f"a part ended the command ({told(error)})") from error
            except SystemExit as error:
                if error.code in (None, 0):
                    raise click.ClickException("a part ended the command (SystemExit: 0)") from error
                raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items()])  # `list` is a command here
        found = _plugin_commands(ctx)
        warn_of_plugins()
        if found:
            with formatter.section("Commands of plug-ins"):
                formatter.write_dl([(name, command.get_short_help_str(100)) for name, command in found.items()])


_SETTINGS = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
    "show_default": True,
    "token_normalize_func": spelled,
}


@click.group(cls=_LazyGroup, context_settings=_SETTINGS)
@click.version_option(package_name="mdm-sampling")
@PLUGIN_OPTION
def main() -> None:
    """Sample from masked diffusion models: LLaDA, Dream and their kin."""
