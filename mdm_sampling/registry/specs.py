"""Parts as text: `info-gain:candidates=8,position_temperature=0.1` <-> `InfoGain(candidates=8, ...)`.

    spec   := name [":" argument {"," key "=" value}]
    name   := that of a part that is registered | file ".py:" class
    argument := key "=" value | value, which is that of the part's first parameter
    value  := "(" spec ")" | "[" [item {"," item}] "]" | text without any of , ( ) [ ]

A value in parentheses is a part again: `bypass:threshold=0.9,otherwise=(info-gain:candidates=4)`. Brackets nest at most
`MOST_DEPTH` deep. This is the only file that reads or writes specs as text.
"""

from __future__ import annotations

import re
import types
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, overload

from ..at_work import at_work, told
from ..backends.base import BackendFamily
from ..caches import CacheStrategy
from ..errors import ContractError, SpecError, nearest
from ..kinds import require_kind
from ..planners.base import PositionPlanner
from ..planners.draft_shapes import DraftShape
from ..processors import Processor
from ..schedules import Schedule
from ..tasks.base import Task
from ..token_samplers import TokenSampler
from .registry import KINDS, registry

MOST_DEPTH = 32
"""How deep the brackets of a spec may nest. Useful ones nest two or three deep."""
NOT_REGISTERED = "not registered:"
_FORM = "name:parameter=value,parameter=value"


@dataclass(frozen=True)
class Spec:
    """A part by its name, with the parameters that were written for it.

    Attributes:
        name: under which the part is registered.
        given: the parameters, still as text; a first value without its name has the key "".
    """

    name: str
    given: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Read a spec, which may stand in parentheses. Raises `SpecError` for a text that is none."""
        if not isinstance(text, str):
            raise SpecError(f"a spec is a text such as 'info-gain:candidates=8', got {_shown(text)}")
        inside = text.strip()
        if inside.startswith("(") and inside.endswith(")"):
            inside = inside[1:-1]
        name, colon, rest = inside.strip().partition(":")
        if name.endswith(".py") and rest:
            class_name, colon, rest = rest.partition(":")
            name = f"{name}:{class_name.strip()}"
        if not name or (colon and not rest.strip()):
            raise SpecError(f"{_shown(text)} is not a spec; write a name, or {_FORM}")
        return cls(name.strip(), _parameters_in(rest, text) if colon else {})

    @classmethod
    def parse_list(cls, text: str) -> list[Spec]:
        """Read specs with commas between them. A piece such as `future=sum` is a parameter of the spec before it."""
        inside = text.strip()
        if inside.startswith("[") and inside.endswith("]"):
            inside = inside[1:-1]
        texts: list[str] = []
        for piece in _split(inside, text):
            if texts and "=" in piece.partition(":")[0]:
                texts[-1] += f",{piece}"
            else:
                texts.append(piece)
        return [cls.parse(each) for each in texts]

    def __str__(self) -> str:
        shown = [f"{key}={value}" if key else value for key, value in self.given.items()]
        return self.name + (":" + ",".join(shown) if shown else "")

    def named(self, kind: str) -> Spec:
        """The same spec of a part of `kind`, in which the first value has its parameter's name, too."""
        part = registry().get(kind, self.name).part
        if "" not in self.given:
            return self
        if not fields(part):
            raise SpecError(f"{self.name} has no parameters, got {_shown(self.given[''])}")
        first, text = fields(part)[0].name, self.given[""]
        if text in [field.name for field in fields(part)]:
            raise SpecError(f"{self.name}: {_shown(text)} has no value; write it as in {in_full(self.name, part)}")
        if first in self.given:
            raise SpecError(f"{_shown(str(self))} names {first!r} twice, the first time without its name")
        return Spec(self.name, {key or first: text for key, text in self.given.items()})

    def with_default(self, key: str, value: object) -> Spec:
        """The same spec with this parameter, unless it has one of that name; see `named`."""
        return Spec(self.name, {**self.given, key: self.given.get(key, str(value))})

    def build(self, kind: str) -> Any:
        """The part of `kind`, see `build`."""
        name, given = self.name, self.named(kind).given
        part = registry().get(kind, name).part
        hints = get_type_hints(part)
        known = [f.name for f in fields(part)]
        values = {}
        for key, text in given.items():
            if key not in known:
                form = f"write them as in {in_full(name, part)}" if known else "it has none"
                hint = nearest(key, known, form) if key.isidentifier() else form
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


@overload
def build(kind: Literal["backends"], spec: str | Spec) -> BackendFamily: ...
@overload
def build(kind: Literal["caches"], spec: str | Spec) -> CacheStrategy: ...
@overload
def build(kind: Literal["planners"], spec: str | Spec) -> PositionPlanner: ...
@overload
def build(kind: Literal["draft_shapes"], spec: str | Spec) -> DraftShape: ...
@overload
def build(kind: Literal["token_samplers"], spec: str | Spec) -> TokenSampler: ...
@overload
def build(kind: Literal["schedules"], spec: str | Spec) -> Schedule: ...
@overload
def build(kind: Literal["processors"], spec: str | Spec) -> Processor: ...
@overload
def build(kind: Literal["tasks"], spec: str | Spec) -> Task: ...
@overload
def build(kind: str, spec: str | Spec) -> Any: ...
def build(kind: str, spec: str | Spec) -> Any:
    """The part of `kind` that a spec describes. Raises `SpecError` with a sentence that says what is wrong."""
    return (spec if isinstance(spec, Spec) else Spec.parse(spec)).build(kind)


def describe(part: Any) -> str:
    """The shortest spec of a part; parameters at their defaults are left out. Raises `SpecError` if not registered."""
    names = [registry().name_of(kind, type(part)) for kind, base in KINDS.items() if isinstance(part, base)]
    if not names or names[0] is None:
        raise SpecError(f"{type(part).__name__} is not registered, so it has no spec")
    values = {f.name: getattr(part, f.name) for f in fields(part) if getattr(part, f.name) != default_of(f)}
    return str(Spec(names[0], {name: text_of(value) for name, value in values.items()}))


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


def parameters(part: type[Any]) -> list[tuple[str, str, str]]:
    """Name, type and default of each parameter of a part, as text."""
    return [(f.name, _type_text(f.type), text_of(default_of(f))) for f in fields(part)]


def in_full(name: str, part: type[Any]) -> str:
    """The spec of a part with all its parameters at their defaults, which shows how one is written."""
    return name + (":" + ",".join(f"{key}={default}" for key, _, default in parameters(part)) if fields(part) else "")


def _type_text(hint: Any) -> str:
    if isinstance(hint, type) and not get_args(hint):
        return hint.__name__
    return re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", str(hint))


def _parameters_in(text: str, spec: str) -> dict[str, str]:
    """What stands behind the colon of a spec."""
    given: dict[str, str] = {}
    for i, item in enumerate(_split(text, spec)):
        key, equals, value = ("", "", item) if item.lstrip()[:1] in ("(", "[") else item.partition("=")
        if not equals and i == 0:
            key, value = "", item
        if not value.strip() or (equals and not key.strip()) or (not equals and i > 0):
            raise SpecError(f"{_shown(item)} in {_shown(spec)} must be parameter=value, as in {_FORM}")
        key = key.strip()
        if key in given:
            raise SpecError(f"{_shown(spec)} names {_shown(key)} twice")
        given[key] = value.strip()
    return given


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
            return build(kind, text)
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
        require_kind(where, number, hint)
        return number
    raise SpecError(f"{where} cannot be given as text")
