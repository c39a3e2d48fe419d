"""The options that commands share, and the parts that they describe.

The underscored spellings are those of the published Info-Gain scripts, with the same defaults.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from ..encoding import text_of
from .loading_line import loaded
from .plugin_files import PLUGIN_OPTION, registry_of_command, warn_of_plugins

if TYPE_CHECKING:
    from ..backends.base import ModelBackend
    from ..planners.base import PositionPlanner
    from ..sampler import Sampler

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_PLANNER = "info-gain"
DEFAULT_THRESHOLD = 0.9
"""The published planner: Info-Gain behind a bypass at this threshold. A planner that is written has no bypass."""

# Options that are written into the spec of an info-gain, and the parameters that they set.
INFO_GAIN = (("candidate_number", "candidates"), ("position_temperature", "position_temperature"))


LONGEST_NAME = 200
"""Characters of a file's name that an error shows."""


class Whole(click.IntRange):
    """A whole number that a tensor's size can take."""

    name = "integer"
    largest = 2**31 - 1

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if number > self.largest:
            self.fail(f"{number} is larger than {self.largest}.", param, ctx)
        return number


class Finite(click.FloatRange):
    """A number, neither infinite nor nan."""

    name = "float"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not isfinite(number):
            self.fail(f"{value} is no finite number.", param, ctx)
        return number


class OutputFile(click.Path):
    """The name of a file to write; it cannot be standard output."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value) in ("", "-"):
            self.fail(f"{value!r} is no file; this cannot go to standard output.", param, ctx)
        return super().convert(value, param, ctx)


class Threshold(click.ParamType[float | None]):
    """A probability, or `none`."""

    name = "probability|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        if value is None or str(value).lower() == "none":
            return None
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not 0 < number <= 1:
            self.fail(f"{value!r} is neither a probability in (0, 1] nor 'none'.", param, ctx)
        return number


def cli_option(*names: str, **settings: Any) -> Callable[[Command], Command]:
    """A click option; one whose name has hyphens may be written with underscores too, as in the published scripts."""
    hyphens = [name for name in names if name.startswith("--") and "-" in name[2:] and "/" not in name]
    twins = [f"--{name[2:].replace('-', '_')}" for name in hyphens]
    return click.option(*names, *(twin for twin in twins if twin not in names), **settings)


MODEL_OPTIONS = [
    cli_option(
        "--model",
        "--model_name_or_path",
        "model",
        default="embedded",
        show_default=True,
        help="Checkpoint folder, hub id, or the small model inside this package.",
    ),
    cli_option(
        "--dtype",
        type=click.Choice(["auto", "float32", "bfloat16", "float16", "float64"]),
        default="auto",
        show_default=True,
        help="Number format of the model; auto for the checkpoint's own.",
    ),
    cli_option(
        "--device",
        default="auto",
        show_default=True,
        help="Such as cuda or cuda:1; auto for a GPU that has room for the model, else the CPU.",
    ),
    cli_option("--device-map", help="Such as auto, to spread the model over devices."),
    cli_option("--tp-plan", help="Such as auto, to split each layer over the processes that torchrun started."),
    cli_option("--attn-implementation", help="Such as sdpa, eager or flash_attention_2."),
    cli_option("--revision", help="Branch, tag or commit of a hub repository."),
    cli_option("--mask-id", type=Whole(min=0), help="Mask token id, for a checkpoint that does not name it."),
    cli_option(
        "--compile", is_flag=True, help="Compile the model with torch.compile; the first steps take a minute longer."
    ),
]
PLANNING_OPTIONS = [
    cli_option(
        "--planner",
        help="Which positions a step fills; a spec, which stands for itself.  [default: info-gain behind --threshold]",
    ),
    cli_option(
        "--cache",
        "--use_cache",
        "cache",
        default="prefix",
        show_default=True,
        help="What is not recomputed: none, prefix, dual, or a spec.",
    ),
    cli_option(
        "--threshold",
        type=Threshold(),
        help="Fill all positions whose top-1 probability reaches it at once, without planning; none to plan always.  "
        "[default: 0.9 without --planner, else none]",
    ),
]
PACE_OPTIONS = [
    cli_option(
        "--candidate-number",
        type=Whole(min=1),
        default=8,
        show_default=True,
        help="Moves that info-gain tries at a step.",
    ),
    cli_option(
        "--position-temperature",
        type=Finite(min=0),
        default=0.1,
        show_default=True,
        help="How far info-gain's candidates stray from the most confident positions.",
    ),
    cli_option("--steps", type=Whole(min=1), default=512, show_default=True, help="Steps for all positions."),
    cli_option(
        "--block-size",
        type=Whole(min=1),
        default=32,
        show_default=True,
        help="Positions of a block; blocks are filled left to right.",
    ),
    cli_option("--schedule", default="uniform", show_default=True, help="How many positions a step fills; a spec."),
    cli_option("--seed", type=int, default=0, show_default=True, help="Seed of every row."),
]
SAMPLING_OPTIONS = [*PLANNING_OPTIONS, *PACE_OPTIONS]
BATCH_OPTION = cli_option(
    "--batch-size", type=Whole(min=1), default=8, show_default=True, help="Rows decoded together."
)
ROW_OPTIONS = [
    cli_option(
        "--temperature",
        type=Finite(min=0),
        default=0.0,
        show_default=True,
        help="Token temperature; 0 takes the likeliest token.",
    ),
    cli_option("--top-k", type=Whole(min=0), default=0, help="Draw from the k likeliest tokens."),
    cli_option(
        "--top-p",
        type=Finite(0, 1, min_open=True),
        default=1.0,
        help="Draw from the top-p tokens.",
    ),
    cli_option(
        "--processor", "processors", multiple=True, help="Change logits, e.g. penalise:by=4; a spec. Repeatable."
    ),
    cli_option(
        "--eos",
        type=click.Choice(["off", "finish"]),
        default="off",
        show_default=True,
        help="finish: end a row once everything before its end token is final.",
    ),
    cli_option(
        "--lookahead-batch",
        type=Whole(min=1),
        help="Most candidates in one forward, to save memory.",
    ),
    PLUGIN_OPTION,
]
FILE_OPTION = cli_option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="Read one text a line, skipping empty lines; - for standard input.",
)
OVERWRITE_OPTION = cli_option(
    "--overwrite", is_flag=True, help="Write even over a file that is there and was not written by the same call."
)
OUTPUT_OPTIONS = [
    cli_option("--watch", is_flag=True, help="Show the canvas step by step on stderr, see `mdm-sampling watch`."),
    cli_option("--json", "as_json", is_flag=True, help="Print a JSON line for each row."),
    cli_option(
        "--trace", "trace_file", type=OutputFile(dir_okay=False), help="Write a JSON line for each step to a file."
    ),
    OVERWRITE_OPTION,
]


def with_options(*groups: Sequence[Any]) -> Callable[[Command], Command]:
    """One decorator for groups of options, in the order in which the help shows them."""

    def decorate(command: Command) -> Command:
        for add in reversed([option for group in groups for option in group]):
            command = add(command)
        return command

    return decorate


shared_options = with_options(MODEL_OPTIONS, SAMPLING_OPTIONS, [BATCH_OPTION], ROW_OPTIONS, OUTPUT_OPTIONS)


def load_model(options: dict[str, Any]) -> ModelBackend:
    """Load the model that the options name; it must read texts."""
    backend = load_named(options)
    if backend.codec is None:
        raise click.ClickException(f"{options['model']}: the checkpoint has no tokenizer, so it cannot read a text")
    if options["tp_plan"] is None:
        return backend
    from ..backends.tensor_parallel import Channel, Leader

    leader = Leader(backend, Channel())
    click.get_current_context().call_on_close(leader.stop)
    return leader


def follow_leader(options: dict[str, Any]) -> None:
    """Give this process to the first one, if torchrun started several for one model: that one runs the command."""
    if options["tp_plan"] is None:
        return
    from ..backends.tensor_parallel import follow, follows

    if follows():
        with plain_errors():
            follow(load_named(options))
        click.get_current_context().exit()


def load_named(options: dict[str, Any]) -> ModelBackend:
    """Load the model that the options name."""
    from ..loading import load_backend

    chosen_here = options["device"] == "auto"
    placed = [name for name in ("device", "device_map", "tp_plan") if options[name] is not None]
    placed = [name for name in placed if name != "device" or not chosen_here]
    if len(placed) > 1:
        raise click.UsageError(f"give --{' or --'.join(placed)}, not both.".replace("_", "-"))
    backend = load_backend(
        options["model"],
        dtype=options["dtype"],
        device=options["device"],
        device_map=options["device_map"],
        tp_plan=options["tp_plan"],
        attn_implementation=options["attn_implementation"],
        revision=options["revision"],
        mask_id=options["mask_id"],
        compile=options["compile"],
    )
    loaded()
    if chosen_here and not placed and sys.stderr.isatty():
        from ..backends.devices import describe_choice

        click.echo(f"Device: {describe_choice(backend.device)}", err=True)
    return backend


def make_sampler(
    options: dict[str, Any], max_new_tokens: int | None, continues: bool, planner: PositionPlanner | None = None
) -> Sampler:
    """Load the model and assemble the sampler that the options describe.

    One that `continues` prompts needs a length that fits the model; texts with masks have their own. The planner is
    that of the options unless one is passed.
    """
    from ..loading import DEFAULT_NEW_TOKENS, default_new_tokens
    from ..sampler import Sampler

    planner = planner or make_planner(options)
    cache = make_part("caches", "--cache", options["cache"])
    token_sampler = make_token_sampler(options)
    schedule = make_part("schedules", "--schedule", options["schedule"])
    processors = tuple(make_part("processors", "--processor", spec) for spec in options["processors"])
    backend = load_model(options)
    length = max_new_tokens or DEFAULT_NEW_TOKENS
    if continues and max_new_tokens is None:
        length = default_new_tokens(options["model"], options["revision"])
    if continues and backend.max_length is not None and length > backend.max_length:
        raise click.ClickException(
            f"{length} new tokens exceed the model's context of {backend.max_length}; lower --max-new-tokens"
        )
    return Sampler(
        backend,
        planner=planner,
        cache=cache,
        token_sampler=token_sampler,
        schedule=schedule,
        processors=processors,
        max_new_tokens=length,
        block_size=options["block_size"],
        steps=options["steps"],
        eos=options["eos"],
        lookahead_batch=options["lookahead_batch"],
    )


def make_planner(options: dict[str, Any], others: Sequence[str] = (), written_in: str = "--planner") -> Any:
    """The planner of `--planner`, with info-gain's own options; behind a bypass if `--threshold` is given.

    Without `--planner` it is the published one: Info-Gain behind a bypass, whose threshold `--threshold` sets.

    An option that would be ignored is an error, unless one of the `others`, specs of planners beside it, reads it.
    Errors name the option that the spec is `written_in`.
    """
    spec = DEFAULT_PLANNER if options["planner"] is None else options["planner"]
    shared = any(planner_parameters(other, written_in)[0] == "info-gain" for other in others)
    name, written = planner_parameters(spec, written_in)
    for option, parameter in INFO_GAIN:
        if name == "info-gain" and parameter not in written:
            spec = with_parameter(spec, parameter, options[option])
        elif was_given(option) and not shared:
            why = f"it already sets {parameter}" if name == "info-gain" else "it is not info-gain"
            if "info-gain" in spec and name != "info-gain":
                why = f"write {parameter}={options[option]} behind its info-gain"
            raise click.UsageError(f"--{option.replace('_', '-')} would be ignored by --planner {spec}: {why}.")
    planner = make_part("planners", written_in, spec)
    if options["lookahead_batch"] is not None and not looks_ahead(planner) and not shared:
        raise click.UsageError(f"--lookahead-batch would be ignored by --planner {spec}: it never looks ahead.")
    is_default = options["planner"] is None and not was_given("threshold")
    threshold = DEFAULT_THRESHOLD if is_default else options["threshold"]
    return planner if threshold is None else with_bypass(planner, threshold)


def planner_parameters(spec: str, written_in: str = "--planner") -> tuple[str, dict[str, str]]:
    """The name and the written parameters of a planner's spec. Raises a usage error that names the option."""
    from ..errors import SpecError
    from ..registry.specs import parameters_of

    try:
        return parameters_of("planners", spec)
    except SpecError as error:
        raise click.BadParameter(str(error), param_hint=written_in) from error


def with_parameter(spec: str, parameter: str, value: Any) -> str:
    return f"{spec}{',' if ':' in spec else ':'}{parameter}={value}"


def with_bypass(planner: Any, threshold: float) -> Any:
    """The bypass of `--threshold` around a planner; inside a defer, which else would not hold back sure end tokens."""
    from ..planners.bypass import Bypass
    from ..planners.defer import Defer

    if isinstance(planner, Defer):
        return replace(planner, otherwise=with_bypass(planner.otherwise, threshold))
    if isinstance(planner, Bypass):
        raise click.UsageError("--threshold would be ignored: --planner already has a bypass.")
    return Bypass(threshold, planner)


def looks_ahead(planner: Any) -> bool:
    """Whether a planner might look ahead: all do but those that only score positions."""
    from ..planners.base import ScorePlanner
    from ..planners.bypass import Bypass
    from ..planners.defer import Defer

    if isinstance(planner, Bypass | Defer):
        return looks_ahead(planner.otherwise)
    return not isinstance(planner, ScorePlanner)


def make_part(kind: str, option: str, spec: str) -> Any:
    """The part that an option describes. Raises a usage error that names the option."""
    from ..errors import SpecError
    from ..registry.specs import build

    try:
        return build(kind, spec)
    except SpecError as error:
        raise click.BadParameter(str(error), param_hint=option) from error


def make_token_sampler(options: dict[str, Any]) -> Any:
    """Greedy at temperature 0, else Gumbel-max. Top-k and top-p would do nothing to greedy draws: an error."""
    from ..token_samplers import Greedy, GumbelMax

    if options["temperature"] > 0:
        return GumbelMax(options["temperature"], options["top_k"], options["top_p"])
    for name in ("top_k", "top_p"):
        if was_given(name):
            raise click.UsageError(
                f"--{name.replace('_', '-')} would be ignored: set --temperature above 0 to draw tokens."
            )
    return Greedy()


def refuse_with_infill(options: dict[str, Any]) -> None:
    """Raise a usage error for an option that texts with masks have no use for."""
    for name in ("max_new_tokens", "chat"):
        if options["infill"] and options[name] is not None:
            raise click.UsageError(f"--{name.replace('_', '-')} would be ignored with --infill.")


def was_given(option: str) -> bool:
    source = click.get_current_context().get_parameter_source(option)
    return source is not ParameterSource.DEFAULT


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn errors that a user can mend into one sentence on stderr and exit code 1; warn of broken plug-ins."""
    from ..errors import MDMError

    warn_of_plugins()
    try:
        registry_of_command()
        yield
    except MDMError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise  # the reader of the output has gone; click ends quietly
        raise click.ClickException(told(error)) from error
    except (RuntimeError, MemoryError) as error:
        from ..device_faults import is_device_fault, is_out_of_memory

        if is_device_fault(error):
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise click.ClickException(f"the device failed ({said}); a job goes on with the same command") from error
        if is_out_of_memory(error):
            raise click.ClickException(
                "out of memory; lower --batch-size, --lookahead-batch or --candidate-number, or take a smaller --dtype"
            ) from error
        raise


def told(error: OSError) -> str:
    """What the system refused, as a sentence. Only a stream has no name, and of what is named it may have been read."""
    if not isinstance(error.filename, str | bytes | os.PathLike):
        return f"cannot write the output: {error.strerror or error}"
    name = os.fsdecode(error.filename)
    name = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..."
    return f"{name} cannot be read or written: {error.strerror}"


def prompts_from(arguments: Sequence[str], file: str | None) -> list[str]:
    """Prompts from arguments, else one a line from a file or from standard input."""
    if arguments and file is not None:
        raise click.UsageError("give prompts as arguments or with --file, not both.")
    if arguments:
        for i, text in enumerate(arguments, 1):
            if not text.strip():
                raise click.UsageError(f"text {i} is empty.")
            if any("\ud800" <= c <= "\udfff" for c in text):
                raise click.UsageError(f"text {i} is not valid UTF-8.")
        return list(arguments)
    if file is None and (sys.stdin is None or sys.stdin.isatty()):
        raise click.UsageError("nothing to do: give a text, --file FILE, or pipe lines to standard input.")
    try:
        with click.open_file(file or "-", "rb") as opened:
            text = text_of(opened.read())
    except ValueError as error:
        raise click.UsageError(f"the input cannot be read: {error}.") from error
    except OSError as error:
        raise click.UsageError(f"the input cannot be read: {error.strerror}.") from error
    prompts = [line for line in re.split("\r\n|\r|\n", text) if line.strip()]
    if not prompts:
        raise click.UsageError("the input holds no text.")
    return prompts
