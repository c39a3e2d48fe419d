"""What lm-evaluation-harness says in words: a task's `generation_kwargs`, and `--model_args`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from ..backends.options import LoadOptions
from ..errors import SpecError, nearest
from ..fields import is_number, is_whole
from ..loading import default_new_tokens, from_spec, load_backend
from ..registry.specs import Spec
from ..sampler import SETTINGS, Sampler
from ..token_samplers import Greedy, GumbelMax, TokenSampler

_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""What tasks call the length of an answer; the first that is given counts, as in the harness."""

_NO_EFFECT = {
    **dict.fromkeys(("num_beams", "num_return_sequences", "repetition_penalty", "encoder_repetition_penalty"), 1),
    **dict.fromkeys(("length_penalty", "typical_p"), 1),
    **dict.fromkeys(("diversity_penalty", "presence_penalty", "frequency_penalty", "no_repeat_ngram_size", "min_p"), 0),
    "early_stopping": False,
}
"""Settings that are not offered here, and the value with which each changes nothing, so that nothing is ignored."""

_UNDERSTOOD = ("until", "do_sample", "temperature", "top_k", "top_p", *_LENGTHS)

_BACKEND: dict[str, Any] = {"model": str, "family": str, **get_type_hints(LoadOptions)}
_HARNESS: dict[str, Any] = dict.fromkeys(("max_new_tokens", "samples", "seed", "batch_size"), int)
ARGUMENTS = _BACKEND | {name: get_type_hints(Sampler)[name] for name in SETTINGS} | _HARNESS
"""The names that `--model_args` may hold and the kinds of their values: those of `load_backend`, of `Sampler` and of
`HarnessModel`."""

MOST_POSITIONS = 2**20
"""The longest answer that may be asked for, of models whose context has no end."""


@dataclass(frozen=True)
class Generation:
    """What a task's `generation_kwargs` ask for.

    Attributes:
        until: stop strings; an answer ends before the first of them.
        length: positions to generate; None if the task does not say.
        token_sampler: greedy, or what draws tokens at the task's temperature.
    """

    until: tuple[str, ...]
    length: int | None
    token_sampler: TokenSampler


def read_generation(given: Mapping[str, Any]) -> Generation:
    """Read `generation_kwargs`. Raises `SpecError` for a setting that would be ignored or is of the wrong kind.

    Tokens are drawn if `do_sample` is true or, where it is not given, if a temperature is; at temperature 1 where none
    is given, and never at 0. Without drawing, a temperature, top_k and top_p have no effect, as in the harness.
    """
    if not isinstance(given, Mapping):
        raise SpecError(f"a task's generation_kwargs are not settings by name: {given!r:.40}")
    asked = {str(name): value for name, value in given.items() if value is not None}
    unknown = [name for name in asked if name not in _UNDERSTOOD and not _changes_nothing(name, asked[name])]
    if unknown:
        raise SpecError(f"a task's generation_kwargs ask for {', '.join(unknown)}, which mdm-sampling does not offer")
    until = asked.get("until", ())
    stops = (until,) if isinstance(until, str) else until
    are_texts = isinstance(stops, list | tuple) and all(isinstance(stop, str) for stop in stops)
    _expect(are_texts, "until", until, "a text or a list of texts")
    lengths = [_whole(name, asked[name]) for name in _LENGTHS if name in asked]
    draws, degree = asked.get("do_sample", "temperature" in asked), asked.get("temperature", 1.0)
    top_k, top_p = _whole("top_k", asked.get("top_k", 0)), asked.get("top_p", 1.0)
    _expect(isinstance(draws, bool), "do_sample", draws, "true or false")
    _expect(is_number(degree), "temperature", degree, "a number")
    _expect(is_number(top_p), "top_p", top_p, "a number")
    wrong = next((length for length in lengths if not 1 <= length <= MOST_POSITIONS), None)
    if wrong is not None:
        raise SpecError(f"a task's generation_kwargs ask for answers of {wrong} positions")
    token_sampler = GumbelMax(float(degree), top_k, float(top_p)) if draws and degree != 0 else Greedy()
    return Generation(tuple(stop for stop in stops if stop), lengths[0] if lengths else None, token_sampler)


def _changes_nothing(name: str, value: Any) -> bool:
    """Whether a setting that is not offered has the value that stands for nothing."""
    nothing = _NO_EFFECT.get(name)
    return value == nothing and isinstance(value, bool) == isinstance(nothing, bool)


def _whole(name: str, value: Any) -> int:
    """A whole number, which may be written as 8.0."""
    whole = int(value) if is_number(value) and value == int(value) else value
    _expect(is_whole(whole), name, value, "a whole number")
    return int(whole)


def _expect(right: bool, name: str, value: Any, what: str) -> None:
    if not right:
        raise SpecError(f"a task's generation_kwargs: {name} must be {what}, got {value!r:.40}")


def read_model_args(given: Mapping[str, Any]) -> tuple[Sampler, dict[str, int]]:
    """Load the model and build the parts that model arguments name.

    What they leave out is the default of `load`. A part is a spec, in parentheses where it holds commas; `processors`
    is one or several, such as `[ban,penalise:by=4]`.

    Returns:
        The sampler, and the arguments that are for a `HarnessModel`.

    Raises `SpecError` for a name or a value that is wrong, `ModelError` for a model that cannot be loaded.
    """
    for name in given:
        if name not in ARGUMENTS:
            hint = nearest(name, ARGUMENTS, f"it has {', '.join(ARGUMENTS)}")
            raise SpecError(f"mdm-sampling: unknown model argument {name!r}; {hint}")
    values = {name: read_model_arg(name, value) for name, value in given.items() if value is not None}
    backend = load_backend(**{name: values[name] for name in _BACKEND if name in values})
    length = default_new_tokens(values.get("model", "embedded"), values.get("revision"), backend.max_length)
    spec = {name: values[name] for name in SETTINGS if name in values and name not in _HARNESS}
    own = {name: values[name] for name in _HARNESS if name in values}
    return from_spec({"max_new_tokens": length, **spec}, backend), own


def read_model_arg(name: str, value: Any) -> Any:
    """One model argument as the library takes it; the harness has made numbers of texts that look like one."""
    hint = ARGUMENTS[name]
    if hint in (int, int | None):
        try:
            return int(str(value))
        except ValueError:
            raise SpecError(f"mdm-sampling: {name} must be a whole number, got {value!r}") from None
    if hint is bool and not isinstance(value, bool):
        raise SpecError(f"mdm-sampling: {name} must be true or false, got {value!r}")
    if name == "processors":
        return value if isinstance(value, list | tuple) else [str(spec) for spec in Spec.parse_list(str(value))]
    return value if hint in (bool, Any) else str(value)
