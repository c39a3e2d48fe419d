"""From a checkpoint's name to a backend and to a sampler with the published defaults; from a spec to a sampler."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Unpack, get_type_hints

from .at_work import at_work, printed_apart, told
from .backends.base import BackendFamily, ModelBackend
from .backends.facts import ModelFacts
from .backends.options import Loading, LoadOptions, ModelSource
from .errors import MDMError, ModelError, SpecError, nearest
from .fields import is_whole
from .kinds import require_kind
from .registry.registry import Registration, registry
from .registry.specs import NOT_REGISTERED, build
from .sampler import PARTS, SETTINGS, Sampler

_DEFAULT_NEW_TOKENS = 128


def load_backend(
    model: str | os.PathLike[str] = "embedded", *, family: str | None = None, **loading: Unpack[Loading]
) -> ModelBackend:
    """Load a model: a checkpoint folder, a hub id, or "embedded" for the small model inside this package.

    Args:
        family: registered name of the model's family; None to recognise it from config.json.
        loading: see `LoadOptions`. A device is, for example, "cuda". "auto" and None take a CUDA device with room for
            the model, else MPS if it works, else the CPU.

    Raises `ModelError` with a message that says what is wrong.
    """
    options = _options(family, loading)
    found, name, config = _family_of(model, family, options)
    return _loaded(found, name, config, options)


def describe_model(
    model: str | os.PathLike[str] = "embedded", *, family: str | None = None, **loading: Unpack[Loading]
) -> ModelFacts:
    """What a model is, without reading its weights: family, attention, special ids, size. Takes what `load_backend`
    takes.

    No remote code is run. Raises `ModelError` with a sentence that says what is wrong.
    """
    options = _options(family, loading)
    found, name, config = _family_of(model, family, options)
    with _quiet_transformers(), at_work("model family", found):
        facts = found.facts(name, config, options)
    return replace(facts, family=facts.family or registry().name_of("backends", type(found)) or "")


def _family_of(
    model: str | os.PathLike[str], family: str | None, options: LoadOptions
) -> tuple[BackendFamily, str, dict[str, Any] | None]:
    """A model's family, its name as text, and its config.json, if it has one."""
    from .backends.files import read_config

    name = _name_of(model)
    if options.revision is not None and (name == "embedded" or Path(name).exists()):
        raise ModelError(f"revision {options.revision!r} would be ignored: {name} is not a hub repository")
    claims = registry().kind("backends") if family is None else [registry().get("backends", family)]
    families = {claim.name: _made(claim) for claim in claims}
    for candidate in families.values():
        if _recognises(candidate, name, None):
            return candidate, name, None
    config = read_config(name, options.revision)
    for candidate in families.values():
        if family is not None or _recognises(candidate, name, config):
            return candidate, name, config
    raise ModelError(_unknown(name, config, families))


def _unknown(name: str, config: Mapping[str, Any], families: Mapping[str, BackendFamily]) -> str:
    """Why no family reads a checkpoint, and what can be done."""
    from .backends.families.unsupported import reason_of

    named = config.get("architectures")
    architecture = f" with the class {named[0]!r:.60}" if isinstance(named, list) and named else ""
    return (
        f"{name}: no backend reads the model_type {config.get('model_type')!r:.60}{architecture} of its config.json"
        f"{reason_of(config)}; installed: {', '.join(families)} (family=... (--family) names one)"
    )


def _made(claim: Registration) -> BackendFamily:
    with at_work("model family", claim.name):
        family: BackendFamily = claim.part()
        return family


def _recognises(family: BackendFamily, name: str, config: dict[str, Any] | None) -> bool:
    with at_work("model family", family):
        return family.recognises(name, config)


def _name_of(model: str | os.PathLike[str]) -> str:
    """A model's name, or the path of its folder, as text. Raises `ModelError` for anything else."""
    name = os.fspath(model) if isinstance(model, os.PathLike) else model
    if not isinstance(name, str):
        raise ModelError(f"a model is named by a text or a path, got {model!r:.60}")
    return name


def _options(family: object, loading: Loading) -> LoadOptions:
    """What `load_backend` is given by name, as families take it, and checked."""
    given: dict[str, Any] = {"dtype": "auto", "device": None} | dict(loading)
    given["dtype"] = str(given["dtype"]).removeprefix("torch.")
    given["device"] = None if str(given["device"]) in ("None", "auto") else str(given["device"])
    known = [each.name for each in fields(LoadOptions)]
    for name in given:
        if name not in known:
            hint = nearest(name, known, f"there are {', '.join(known)}")
            raise ModelError(f"there is no load option {name!r}; {hint} (`sampler.replace` takes a sampler's settings)")
    options = LoadOptions(**given)
    for name, hint in {"family": str | None, **get_type_hints(LoadOptions)}.items():
        require_kind(name, family if name == "family" else getattr(options, name), hint, ModelError)
    if sum(each is not None for each in (options.device, options.device_map, options.tp_plan)) > 1:
        raise ModelError("device, device_map and tp_plan exclude each other; pass one of them")
    return options


def _loaded(family: BackendFamily, model: str, config: dict[str, Any] | None, options: LoadOptions) -> ModelBackend:
    """The model, or a `ModelError`: what other libraries raise on a broken folder is not their users' to know."""
    from .backends.files import first_sentence

    try:
        with printed_apart(), _quiet_transformers(shows_downloads=config is not None and not Path(model).exists()):
            backend = family.load(model, config, options)
            name = registry().name_of("backends", type(family))
            if backend.source is None and name is not None:
                backend.source = ModelSource(model, name, options)
            if options.compile:
                backend.compile()
        return backend
    except (MDMError, KeyboardInterrupt):
        raise
    except BaseException as error:  # what a family raises, SystemExit included, is no way out of the program
        sentence = first_sentence(error) if isinstance(error, Exception) else told(error)
        if _docstrings_are_removed():
            raise ModelError(
                f"{model}: the model cannot be loaded under python -OO, which removes the docstrings that transformers "
                f"reads; use python -O, or neither ({sentence})"
            ) from error
        raise ModelError(f"{model}: the model cannot be loaded: {sentence}") from error


@contextmanager
def _quiet_transformers(shows_downloads: bool = False) -> Iterator[None]:
    """transformers without progress bars, but those of downloads, and without a warning of each unknown model_type."""
    from transformers.utils import logging

    bar, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    if not shows_downloads:
        logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


def _docstrings_are_removed() -> bool:
    return load.__doc__ is None


def load(
    model: str | os.PathLike[str] = "embedded",
    *,
    family: str | None = None,
    max_new_tokens: int | None = None,
    block_size: int = 32,
    steps: int = 512,
    **loading: Unpack[Loading],
) -> Sampler:
    """A sampler for a model with the published defaults: Info-Gain with a bypass at 0.9, prefix cache, greedy tokens.

    Args:
        model: see `load_backend`, which takes the same options.
        max_new_tokens: number of tokens to generate; None for the checkpoint's generation config, else 128.
    """
    backend = load_backend(model, family=family, **loading)
    if max_new_tokens is None:
        max_new_tokens = default_new_tokens(model, loading.get("revision"), backend.max_length)
    return Sampler(backend, max_new_tokens=max_new_tokens, block_size=block_size, steps=steps)


def default_new_tokens(model: str | os.PathLike[str], revision: str | None = None, context: int | None = None) -> int:
    """The `max_new_tokens` of a checkpoint's generation_config.json, which must fit into the context, else 128."""
    from .backends.embedded import FOLDER
    from .backends.files import read_generation_config

    name = _name_of(model)
    length = read_generation_config(str(FOLDER) if name == "embedded" else name, revision).get("max_new_tokens")
    if length is None:
        return _DEFAULT_NEW_TOKENS
    if not is_whole(length) or length < 1:
        raise ModelError(
            f"{name}: generation_config.json says max_new_tokens={length!r:.60}, expected a whole number above 0"
        )
    if context is not None and length > max(context, _DEFAULT_NEW_TOKENS):
        raise ModelError(
            f"{name}: generation_config.json says max_new_tokens={length}, which exceeds the model's context of "
            f"{context}; pass max_new_tokens"
        )
    return int(length)


def from_spec(spec: Mapping[str, Any], backend: ModelBackend | None = None) -> Sampler:
    """The sampler that a `Result.spec` describes.

    Args:
        spec: as `Sampler.spec` returns it.
        backend: the model, if it was not loaded from a checkpoint or is loaded already.

    Raises:
        SpecError: for anything else than such a spec; the message names the setting.
    """
    settings = _settings_in(spec)
    if backend is None:
        backend = _named_backend(settings.get("backend"))
    made = {name: settings[name] for name in SETTINGS if name in settings}
    made |= {name: _rebuilt(name, kind, made[name]) for name, kind in PARTS.items() if name in made}
    given = settings.get("processors", ())
    if not isinstance(given, list | tuple):
        raise SpecError(f"the spec's processors must be a list of specs, got {given!r:.200}")
    made["processors"] = tuple(_rebuilt("processor", "processors", text) for text in given)
    return Sampler(backend, **made)


def _settings_in(spec: object) -> Mapping[str, Any]:
    """The settings of a spec. Raises `SpecError` for another kind of value, and for settings that no sampler has."""
    if isinstance(spec, str | bytes):
        raise SpecError("a sampler's spec is a dict, got a text; read JSON first, with json.loads")
    if not isinstance(spec, Mapping):
        raise SpecError(f"a sampler's spec is a dict, as `Sampler.spec()` returns it, got {spec!r:.200}")
    unknown = [str(name) for name in spec if name not in ("backend", *SETTINGS)]
    if unknown:
        raise SpecError(f"unknown settings in the spec: {', '.join(sorted(unknown))[:200]}")
    return spec


def _rebuilt(name: str, kind: str, text: Any) -> Any:
    """A part from its spec."""
    if isinstance(text, str) and text.startswith(NOT_REGISTERED):
        raise SpecError(f"the {name} was {text}; register it in a plug-in to rebuild samplers by their spec")
    try:
        return build(kind, text)
    except SpecError as error:
        raise SpecError(f"the spec's {name}: {error}") from error


def _named_backend(given: Any) -> ModelBackend:
    """The model that a spec's backend names."""
    if given is None:
        raise SpecError("the spec's model was passed in memory; pass it again with backend=...")
    if not isinstance(given, Mapping) or not isinstance(given.get("model"), str):
        raise SpecError(f'the spec\'s backend must be an object such as {{"model": "embedded"}}, got {given!r:.200}')
    unknown = [str(name) for name in given if name not in ("model", "family", *LoadOptions.__dataclass_fields__)]
    if unknown:
        raise SpecError(f"unknown settings in the spec's backend: {', '.join(sorted(unknown))[:200]}")
    return load_backend(**given)
