"""Parts as text: `info-gain:candidates=8,position_temperature=0.1` <-> `InfoGain(candidates=8, ...)`.

    spec   := name [":" argument {"," key "=" value}]
    name   := that of a part that is registered | file ".py:" class
    argument := key "=" value | value, which is that of the part's first parameter
    value  := "(" spec ")" | "[" [item {"," item}] "]" | text without any of , ( ) [ ]

A value in parentheses is a part again: `bypass:threshold=0.9,otherwise=(info-gain:candidates=4)`. Brackets nest at most
`MOST_DEPTH` deep.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from ..at_work import at_work, told
from ..errors import ContractError, SpecError, nearest
from ..kinds import LARGEST, require_kind
from .registry import KINDS, registry

if TYPE_CHECKING:
    from ..backends.base import ModelBackend
    from ..sampler import Sampler

PARTS = {"planner": "planners", "cache": "caches", "token_sampler": "token_samplers", "schedule": "schedules"}
MOST_DEPTH = 32
"""How deep the brackets of a spec may nest. Useful ones nest two or three deep."""
NOT_REGISTERED = "not registered:"
NUMBERS = ("max_new_tokens", "block_size", "steps", "eos", "lookahead_batch")


def build(kind: str, spec: str) -> Any:
    """The part of `kind` that a spec describes. Raises `SpecError` with a sentence that says what is wrong."""
    name, given = parameters_of(kind, spec)
    part = registry().get(kind, name).part
    hints = get_type_hints(part)
    known = {f.name: f for f in fields(part)}
    values = {}
    for key, text in given.items():
        if key not in known:
            hint = nearest(key, known, f"it has {', '.join(known) or 'none'}")
            raise SpecError(f"{name}: unknown parameter {_shown(key)}; {hint}")
        values[key] = _value(hints[key], text, f"{name}: {key}")
    missing = [name for name in required_of(part) if name not in values]
    if missing:
        raise SpecError(f"{name}: needs {', '.join(missing)}")
    try:
        with at_work(kind, name):
            return part(**values)
    except ContractError as error:  # whatever it raised, its parameters are what it was about
        cause = error.__cause__ or error
        raise SpecError(f"{name}: {cause if isinstance(cause, TypeError | ValueError) else told(cause)}") from cause


def describe(part: Any) -> str:
    """The shortest spec of a part; parameters at their defaults are left out. Raises `SpecError` if not registered."""
    names = [registry().name_of(kind, type(part)) for kind, base in KINDS.items() if isinstance(part, base)]
    if not names or names[0] is None:
        raise SpecError(f"{type(part).__name__} is not registered, so it has no spec")
    shown = [
        f"{f.name}={text_of(getattr(part, f.name))}" for f in fields(part) if getattr(part, f.name) != default_of(f)
    ]
    return names[0] + (":" + ",".join(shown) if shown else "")


def required_of(part: type[Any]) -> list[str]:
    """The parameters of a part that have no default."""
    return [f.name for f in fields(part) if default_of(f) is MISSING]


def default_of(field: Field[Any]) -> Any:
    """The default of a dataclass field, or `dataclasses.MISSING`."""
    return field.default_factory() if field.default_factory is not MISSING else field.default


def text_of(value: Any) -> str:
    """A parameter's value as it stands in a spec."""
    if value is MISSING:
        return "required"
    if isinstance(value, tuple | list):
        return "[" + ",".join(text_of(item) for item in value) + "]"
    if any(isinstance(value, base) for base in KINDS.values()):
        return f"({describe(value)})"
    text = str(value).lower() if isinstance(value, bool) or value is None else str(value)
    if isinstance(value, str) and (set(text) & set(",()[]=") or text != text.strip() or not text):
        raise SpecError(f"the text {value!r} cannot stand in a spec; avoid , ( ) [ ] = and outer spaces")
    return text


def parameters_of(kind: str, spec: str) -> tuple[str, dict[str, str]]:
    """A spec's name and its parameters, still as text; a value without a key is that of the first parameter."""
    name, given = split_spec(spec)
    part = registry().get(kind, name).part
    if "" in given:
        if not fields(part):
            raise SpecError(f"{name} has no parameters, got {_shown(given[''])}")
        first = fields(part)[0].name
        if first in given:
            raise SpecError(f"{_shown(spec)} names {first!r} twice, the first time without its name")
        given = {key or first: text for key, text in given.items()}
    return name, given


def split_spec(spec: str) -> tuple[str, dict[str, str]]:
    """A spec's name and its parameters, still as text; the key of a first value without one is empty."""
    if not isinstance(spec, str):
        raise SpecError(f"a spec is a text such as 'info-gain:candidates=8', got {_shown(spec)}")
    name, colon, rest = spec.strip().partition(":")
    if name.endswith(".py") and rest:
        cls, colon, rest = rest.partition(":")
        name = f"{name}:{cls.strip()}"
    if not name or (colon and not rest.strip()):
        raise SpecError(f"{_shown(spec)} is no spec; write a name, or name:key=value,key=value")
    given: dict[str, str] = {}
    for i, item in enumerate(_split(rest, spec) if colon else []):
        key, equals, text = ("", "", item) if item.lstrip()[:1] in ("(", "[") else item.partition("=")
        if not equals and i == 0:
            key, text = "", item
        if not text.strip() or (equals and not key.strip()) or (not equals and i > 0):
            raise SpecError(f"{_shown(item)} in {_shown(spec)} must be key=value")
        key = key.strip()
        if key in given:
            raise SpecError(f"{_shown(spec)} names {_shown(key)} twice")
        given[key] = text.strip()
    return name.strip(), given


def _split(text: str, spec: str) -> list[str]:
    """Split at commas outside of brackets. Each level of a spec is read once more, so their number is bounded here."""
    items: list[str] = []
    depth: list[str] = []
    first = 0
    for i, c in enumerate(text):
        if c in "([":
            depth.append(")" if c == "(" else "]")
            if len(depth) > MOST_DEPTH:
                raise SpecError(f"{_shown(spec)} nests deeper than {MOST_DEPTH} brackets")
        elif c in ")]" and (not depth or depth.pop() != c):
            raise SpecError(f"{_shown(spec)} has an unmatched {c!r}")
        elif c == "," and not depth:
            items.append(text[first:i])
            first = i + 1
    if depth:
        raise SpecError(f"{_shown(spec)} lacks a closing {depth[-1]!r}")
    return [*items, text[first:]]


def _shown(value: object) -> str:
    """A spec, or a piece of one, as errors quote it."""
    return f"{value!r:.200}"


def _value(hint: Any, text: str, where: str) -> Any:
    """Convert a parameter's text to its annotated type."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if type(None) in args and text.lower() == "none":
            return None
        return _value(next(a for a in args if a is not type(None)), text, where)
    if origin is Literal:
        chosen = next((arg for arg in args if str(arg) == text), None)
        if chosen is None:
            raise SpecError(f"{where} must be one of {', '.join(map(str, args))}, got {text!r}")
        return chosen
    if origin is tuple:
        if not (text.startswith("[") and text.endswith("]")):
            raise SpecError(f"{where} must be a list in brackets such as [1,2], got {text!r}")
        inner = text[1:-1].strip()
        return tuple(_value(args[0], item.strip(), where) for item in _split(inner, text)) if inner else ()
    for kind, base in KINDS.items():
        if isinstance(hint, type) and issubclass(hint, base):
            inside = text[1:-1] if text.startswith("(") and text.endswith(")") else text
            return build(kind, inside)
    return _scalar(hint, text, where)


def _scalar(hint: Any, text: str, where: str) -> Any:
    if hint is bool:
        if text.lower() not in ("true", "false"):
            raise SpecError(f"{where} must be true or false, got {text!r}")
        return text.lower() == "true"
    if hint is str:
        return text
    if hint in (int, float):
        try:
            number = hint(text)
        except ValueError:
            kind = "a whole number" if hint is int else "a number"
            raise SpecError(f"{where} must be {kind}, got {text!r}") from None
        if number != number:
            raise SpecError(f"{where} must be a number, got {text!r}")
        if hint is int and abs(number) > LARGEST:
            raise SpecError(f"{where} must lie within {-LARGEST} and {LARGEST}, got {text}")
        return number
    raise SpecError(f"{where} cannot be given as text")


def sampler_spec(sampler: Sampler) -> dict[str, Any]:
    """A sampler's settings as JSON-able values. A part that is not registered is named, and cannot be rebuilt."""
    source = sampler.backend.source
    spec: dict[str, Any] = {"backend": source.spec() if source else None}
    for name in PARTS:
        spec[name] = _describe_or_name(getattr(sampler, name))
    spec["processors"] = [_describe_or_name(processor) for processor in sampler.processors]
    return spec | {name: getattr(sampler, name) for name in NUMBERS}


def _describe_or_name(part: Any) -> str:
    try:
        return describe(part)
    except SpecError:
        return f"{NOT_REGISTERED} {type(part).__module__}.{type(part).__qualname__}"


def from_spec(spec: Mapping[str, Any], backend: ModelBackend | None = None) -> Sampler:
    """The sampler that a `Result.spec` describes.

    Args:
        spec: as `Sampler.spec` returns it.
        backend: the model, if it was not loaded from a checkpoint or is loaded already.

    Raises:
        SpecError: for what is no such spec; the sentence names the setting.
    """
    from ..sampler import Sampler

    settings = _settings(spec)
    if backend is None:
        backend = _loaded(settings.get("backend"))
    parts = {name: _rebuilt(name, kind, settings[name]) for name, kind in PARTS.items() if name in settings}
    given = settings.get("processors", ())
    if not isinstance(given, list | tuple):
        raise SpecError(f"the spec's processors must be a list of specs, got {_shown(given)}")
    processors = tuple(_rebuilt("processor", "processors", text) for text in given)
    numbers = {name: settings[name] for name in NUMBERS if name in settings}
    return Sampler(backend, processors=processors, **parts, **numbers)


def _settings(spec: object) -> Mapping[str, Any]:
    """The settings of a spec. Raises `SpecError` for another kind of value, and for settings that no sampler has."""
    if isinstance(spec, str | bytes):
        raise SpecError("a sampler's spec is a dict, got a text; read JSON first, with json.loads")
    if not isinstance(spec, Mapping):
        raise SpecError(f"a sampler's spec is a dict, as `Sampler.spec()` returns it, got {_shown(spec)}")
    unknown = [str(name) for name in spec if name not in ("backend", "processors", *PARTS, *NUMBERS)]
    if unknown:
        raise SpecError(f"unknown settings in the spec: {', '.join(sorted(unknown))[:200]}")
    return spec


def _rebuilt(name: str, kind: str, text: object) -> Any:
    """A part from its spec."""
    if isinstance(text, str) and text.startswith(NOT_REGISTERED):
        raise SpecError(f"the {name} was {text}; register it in a plug-in to rebuild samplers by their spec")
    try:
        return build(kind, text)  # type: ignore[arg-type]
    except SpecError as error:
        raise SpecError(f"the spec's {name}: {error}") from error


def _loaded(given: Any) -> ModelBackend:
    """The model that a spec's backend names."""
    from ..backends.options import LoadOptions
    from ..loading import load_backend

    if given is None:
        raise SpecError("the spec's model was passed in memory; pass it again with backend=...")
    if not isinstance(given, Mapping) or not isinstance(given.get("model"), str):
        raise SpecError(f'the spec\'s backend must be an object such as {{"model": "embedded"}}, got {_shown(given)}')
    known = {"model": str, "family": str | None} | get_type_hints(LoadOptions)
    unknown = [str(name) for name in given if name not in known]
    if unknown:
        raise SpecError(f"unknown settings in the spec's backend: {', '.join(sorted(unknown))[:200]}")
    for name, value in given.items():
        require_kind(f"the spec's backend: {name}", value, known[name])
    return load_backend(**given)
