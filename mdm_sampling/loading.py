"""From a checkpoint's name to a backend, and to a sampler with the published defaults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .backends.options import LoadOptions
from .errors import ModelError
from .interfaces import BackendFamily, ModelBackend
from .registry import registry
from .sampler import Sampler

DEFAULT_GEN_LENGTH = 128


def load_backend(
    model: str = "embedded",
    *,
    family: str | None = None,
    dtype: str = "auto",
    device: str | None = None,
    device_map: Any = None,
    attn_implementation: str | None = None,
    quantization_config: Any = None,
    revision: str | None = None,
    mask_id: int | None = None,
) -> ModelBackend:
    """Load a model: a checkpoint folder, a hub id, or "embedded" for the small model inside this package.

    Args:
        family: registered name of the model's family; None to recognise it from config.json.

    The other arguments are those of `LoadOptions`. Raises `ModelError` with a sentence that says what is wrong.
    """
    from .backends.checkpoint import read_config

    options = LoadOptions(dtype, device, device_map, attn_implementation, quantization_config, revision, mask_id)
    families = {claim.name: claim.part() for claim in registry().kind("backends")}
    if family is not None:
        return _loaded(registry().get("backends", family).part(), model, read_config(model, revision), options)
    named = [f for f in families.values() if f.recognises(model, None)]
    if named:
        return _loaded(named[0], model, None, options)
    config = read_config(model, revision)
    if config is None:
        raise ModelError(
            f"{model!r} is neither a checkpoint folder nor a hub repository that can be reached, nor 'embedded'"
        )
    for candidate in families.values():
        if candidate.recognises(model, config):
            return _loaded(candidate, model, config, options)
    raise ModelError(
        f"{model}: no backend reads model_type {config.get('model_type')!r}; "
        f"known families: {', '.join(families)} (name one with family=...)"
    )


def _loaded(family: BackendFamily, model: str, config: dict[str, Any] | None, options: LoadOptions) -> ModelBackend:
    from transformers.utils import logging

    bar, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # transformers warns of every model_type that it does not know
    try:
        return family.load(model, config, options)
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


def load(
    model: str = "embedded",
    *,
    gen_length: int | None = None,
    block_length: int = 32,
    steps: int = 512,
    dtype: str = "auto",
    device: str | None = None,
    device_map: Any = None,
    attn_implementation: str | None = None,
    mask_id: int | None = None,
) -> Sampler:
    """A sampler for a model with the published defaults: Info-Gain with a bypass at 0.9, prefix cache, greedy tokens.

    Args:
        model: see `load_backend`, which takes more options.
        gen_length: places to generate; None for the checkpoint's generation config, else 128.
    """
    backend = load_backend(
        model,
        dtype=dtype,
        device=device,
        device_map=device_map,
        attn_implementation=attn_implementation,
        mask_id=mask_id,
    )
    length = gen_length if gen_length is not None else default_gen_length(model)
    return Sampler(backend, gen_length=length, block_length=block_length, steps=steps)


def default_gen_length(model: str) -> int:
    """The `max_new_tokens` of a checkpoint folder's generation_config.json, else 128."""
    from .backends.embedded import FOLDER

    file = (FOLDER if model == "embedded" else Path(model)) / "generation_config.json"
    try:
        length = json.loads(file.read_text()).get("max_new_tokens")
    except (OSError, ValueError, AttributeError):
        length = None
    return length if isinstance(length, int) and length > 0 else DEFAULT_GEN_LENGTH
