"""The options that commands share.

The underscored spellings are those of the published Info-Gain scripts, with the same defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from .layout import under
from .plugin_files import PLUGIN_OPTION
from .types import Finite, OutputFile, Threshold, Whole

Command = TypeVar("Command", bound=Callable[..., Any])


MODEL_OPTIONS = under(
    "Model",
    click.option(
        "--model",
        default="embedded",
        help="Checkpoint folder, hub id, or `embedded`: the small model inside this package.",
    ),
    click.option("--family", help="Family of the model, see `list backends`.  [default: recognised from config.json]"),
    click.option(
        "--dtype",
        type=click.Choice(["auto", "float32", "bfloat16", "float16", "float64"]),
        default="auto",
        help="Number format of the model. auto: the checkpoint's own.",
    ),
    click.option(
        "--device",
        default="auto",
        help="Device, such as cuda:1. auto: a GPU with room for the model, else the CPU.",
    ),
    click.option("--device-map", help="Spread the layers of the model over devices, such as auto."),
    click.option("--tp-plan", help="Split each layer over the processes of torchrun, such as auto."),
    click.option("--attn-implementation", help="Attention code, such as sdpa, eager or flash_attention_2."),
    click.option("--revision", help="Branch, tag or commit of a hub repository."),
    click.option("--mask-id", type=Whole(min=0), help="Id of the mask token, if the checkpoint does not name it."),
    click.option(
        "--attention-block",
        type=Whole(min=0),
        help="Positions of an attention block, for a checkpoint that does not say; 0 for full attention.",
    ),
    click.option(
        "--compile", is_flag=True, help="Compile the model with torch.compile. The first steps take a minute longer."
    ),
)


def planning_options(several: bool = False) -> list[Any]:
    """Which positions a step fills, and what is recomputed; `--planner` may be repeated where there may be several."""
    text = "Spec of the planner, which chooses the positions to fill; see `list planners`."
    return under(
        "Planning",
        click.option(
            "--planner",
            multiple=several,
            help=f"{text}{' Repeatable.' if several else ''}  [default: info-gain behind --threshold]",
        ),
        click.option("--cache", default="prefix", help="Spec of the cache, such as none, prefix or dual."),
        click.option(
            "--threshold",
            type=Threshold(),
            help="Fill all positions predicted with at least this probability, without asking the planner. none: "
            "always ask the planner.  [default: 0.9 without --planner, else none]",
        ),
    )


_INFO_GAIN_OPTIONS = under(
    "Planning",
    click.option(
        "--candidate-number", type=Whole(min=1), default=8, help="Number of moves that info-gain compares at a step."
    ),
    click.option(
        "--position-temperature",
        type=Finite(min=0),
        default=0.1,
        help="How random the positions of info-gain's candidates are.",
    ),
)
PACE_OPTIONS = under(
    "Planning",
    click.option("--steps", type=Whole(min=1), default=512, help="Total number of denoising steps."),
    click.option(
        "--block-size",
        type=Whole(min=1),
        default=32,
        help="Positions of a block. Blocks are filled from left to right.",
    ),
    click.option("--schedule", default="uniform", help="Spec of the schedule: how many positions a step fills."),
    click.option("--seed", type=int, default=0, help="Random seed."),
)
SAMPLING_OPTIONS = [*planning_options(), *PACE_OPTIONS]


def max_new_tokens_option(default: str) -> Any:
    """`--max-new-tokens`; its help tells this default."""
    return click.option(
        "--max-new-tokens", type=Whole(min=1), help=f"Number of tokens to generate.  [default: {default}]"
    )


CHAT_OPTION = click.option(
    "--chat/--no-chat", default=None, help="Apply the chat template.  [default: if the model has one]"
)
PROMPT_OPTIONS = [max_new_tokens_option("the checkpoint's, else 128"), CHAT_OPTION]
ANSWER_OPTIONS = [
    click.option("--system", help="Put a system message before each prompt. Needs a chat template."),
    click.option("--stop", multiple=True, help="Cut the text before this string. Repeatable."),
]
INFILL_OPTION = click.option("--infill", is_flag=True, help="Fill the [MASK] tokens of the texts.")
_BATCH_OPTION = click.option("--batch-size", type=Whole(min=1), default=8, help="Maximum batch size.")
ROW_OPTIONS = under(
    "Tokens and rows",
    click.option(
        "--temperature", type=Finite(min=0), default=0.0, help="Token temperature. 0: take the likeliest token."
    ),
    click.option("--top-k", type=Whole(min=0), default=0, help="Draw from the k likeliest tokens."),
    click.option(
        "--top-p",
        type=Finite(0, 1, min_open=True),
        default=1.0,
        help="Draw from the likeliest tokens whose probabilities add up to p.",
    ),
    click.option(
        "--processor",
        "processors",
        multiple=True,
        help="Spec of a logits processor, such as penalise:by=4. Repeatable.",
    ),
    click.option(
        "--eos",
        type=click.Choice(["off", "finish"]),
        default="off",
        help="finish: end a row when everything before its end token is filled.",
    ),
    click.option(
        "--lookahead-batch", type=Whole(min=1), help="Maximum number of candidates in one forward, to save memory."
    ),
    click.option(
        "--growing",
        is_flag=True,
        help="End the canvas with the present block. The model may then answer otherwise.",
    ),
    PLUGIN_OPTION,
)
SAMPLES_OPTION = click.option(
    "--samples",
    type=Whole(min=1),
    default=1,
    help="Number of texts for each prompt. Their seeds count up from --seed.",
)
FILE_OPTION = click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="Read one text per line and skip empty lines. Use - for standard input.",
)
OVERWRITE_OPTION = click.option(
    "--overwrite", is_flag=True, help="Overwrite an existing file that this command did not write."
)
JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
_OUTPUT_OPTIONS = under(
    "Output",
    click.option("--watch", is_flag=True, help="Show the text step by step on stderr; see `mdm-sampling watch`."),
    JSON_OPTION,
    click.option(
        "--trace", "trace_file", type=OutputFile(dir_okay=False), help="Write a JSON line for each step to a file."
    ),
    OVERWRITE_OPTION,
)


def with_options(*groups: Sequence[Any]) -> Callable[[Command], Command]:
    """One decorator for groups of options, in the order in which the help shows them."""

    def decorate(command: Command) -> Command:
        for add in reversed([option for group in groups for option in group]):
            command = add(command)
        return command

    return decorate


shared_options = with_options(
    MODEL_OPTIONS, planning_options(), _INFO_GAIN_OPTIONS, PACE_OPTIONS, [_BATCH_OPTION], ROW_OPTIONS, _OUTPUT_OPTIONS
)


def names_in(ctx: click.Context, param: click.Parameter, lists: tuple[str, ...]) -> list[str]:
    """The names in lists with commas, each once: a callback of options that may be repeated."""
    return list(dict.fromkeys(name.strip() for text in lists for name in text.split(",") if name.strip()))


def was_given(option: str) -> bool:
    """Whether an option of the running command was written, on the command line or in a file of options."""
    source = click.get_current_context().get_parameter_source(option)
    return source not in (None, ParameterSource.DEFAULT)
