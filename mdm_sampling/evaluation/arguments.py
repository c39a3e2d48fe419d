"""What lm-evaluation-harness says in words: a task's `generation_kwargs`, and `--model_args`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import SpecError, nearest
from ..interfaces import TokenSampler
from ..loading import default_gen_length, load_backend
from ..sampler import Sampler
from ..specs import from_spec
from ..token_samplers.greedy import Greedy
from ..token_samplers.gumbel import GumbelMax

LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""What tasks call the length of an answer; the first that is given counts, as in the harness."""

UNDERSTOOD = ("until", "do_sample", "temperature", "top_k", "top_p", "num_beams", *LENGTHS)

BACKEND = (
    "model",
    "family",
    "dtype",
    "device",
    "device_map",
    "attn_implementation",
    "revision",
    "mask_id",
    "compile",
)
SAMPLER = (
    "planner",
    "cache",
    "token_sampler",
    "schedule",
    "processors",
    "block_length",
    "steps",
    "eos",
    "lookahead_batch",
)
HARNESS = ("gen_length", "samples", "seed", "batch_size")
ARGUMENTS = (*BACKEND, *SAMPLER, *HARNESS)
"""The names that `--model_args` may hold: those of `load_backend`, of `Sampler` and of `HarnessModel`."""

PARTS = ("planner", "cache", "token_sampler", "schedule")
NUMBERS = ("mask_id", "block_length", "steps", "lookahead_batch", *HARNESS)


@dataclass(frozen=True)
class Generation:
    """What a task's `generation_kwargs` ask for.

    Attributes:
        until: stop strings; an answer ends before the first of them.
        length: places to generate; None if the task does not say.
        token_sampler: greedy, or what draws tokens at the task's temperature.
    """

    until: tuple[str, ...]
    length: int | None
    token_sampler: TokenSampler


def read_generation(given: Mapping[str, Any]) -> Generation:
    """Read `generation_kwargs`. Raises `SpecError` for a setting that would be ignored.

    Tokens are drawn if `do_sample` is true or, where it is not given, if a temperature is; at temperature 1 where none
    is given, and never at 0. Without drawing, a temperature, top_k and top_p have no effect, as in the harness.
    """
    asked = {name: value for name, value in given.items() if value is not None}
    unknown = [name for name in asked if name not in UNDERSTOOD or (name == "num_beams" and asked[name] != 1)]
    if unknown:
        raise SpecError(f"a task's generation_kwargs ask for {', '.join(unknown)}, which mdm-sampling does not offer")
    until, draws = asked.get("until", ()), asked.get("do_sample", "temperature" in asked)
    try:
        stops = (until,) if isinstance(until, str) else tuple(until)
        length = next((int(asked[name]) for name in LENGTHS if name in asked), None)
        degree = float(asked.get("temperature", 1.0))
        token_sampler: TokenSampler = Greedy()
        if draws and degree != 0:
            token_sampler = GumbelMax(degree, int(asked.get("top_k", 0)), float(asked.get("top_p", 1.0)))
    except (TypeError, ValueError) as error:
        raise SpecError(f"a task's generation_kwargs cannot be read: {error}") from error
    if length is not None and length < 1:
        raise SpecError(f"a task's generation_kwargs ask for answers of {length} places")
    return Generation(tuple(stop for stop in stops if stop), length, token_sampler)


def read_model_args(given: Mapping[str, Any]) -> tuple[Sampler, dict[str, int]]:
    """Load the model and build the parts that model arguments name.

    What they leave out is the default of `load`. A part is a spec, in parentheses where it holds commas; `processors`
    is one or a list of them.

    Returns:
        The sampler, and the arguments that are for a `HarnessModel`.

    Raises `SpecError` for a name or a value that is wrong, `ModelError` for a model that cannot be loaded.
    """
    for name in given:
        if name not in ARGUMENTS:
            hint = nearest(name, ARGUMENTS, f"it has {', '.join(ARGUMENTS)}")
            raise SpecError(f"mdm-sampling: unknown model argument {name!r}; {hint}")
    values = {name: read_model_arg(name, value) for name, value in given.items() if value is not None}
    backend = load_backend(**{name: values[name] for name in BACKEND if name in values})
    length = default_gen_length(values.get("model", "embedded"), values.get("revision"))
    spec = {name: values[name] for name in SAMPLER if name in values}
    own = {name: values[name] for name in HARNESS if name in values}
    return from_spec({"gen_length": length, **spec}, backend), own


def read_model_arg(name: str, value: Any) -> Any:
    """One model argument as the library takes it; the harness has made numbers of texts that look like one."""
    if name in NUMBERS:
        try:
            return int(str(value))
        except ValueError:
            raise SpecError(f"mdm-sampling: {name} must be a whole number, got {value!r}") from None
    if name == "compile":
        if not isinstance(value, bool):
            raise SpecError(f"mdm-sampling: compile must be true or false, got {value!r}")
        return value
    if name == "processors":
        return [without_parentheses(spec) for spec in (value if isinstance(value, list | tuple) else [value])]
    return without_parentheses(value) if name in PARTS else str(value)


def without_parentheses(spec: Any) -> str:
    """A spec as it stands inside another part, where it may be in parentheses."""
    text = str(spec).strip()
    return text[1:-1] if text.startswith("(") and text.endswith(")") else text
