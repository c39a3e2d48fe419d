"""From a checkpoint's name to a backend, and to a sampler with the published defaults."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .backends.options import LoadOptions
from .errors import MDMError, ModelError
from .fields import is_whole
from .interfaces import BackendFamily, ModelBackend
from .registry import registry
from .sampler import Sampler

if TYPE_CHECKING:
    import torch

DEFAULT_GEN_LENGTH = 128


def load_backend(
    model: str = "embedded",
    *,
    family: str | None = None,
    dtype: str | torch.dtype = "auto",
    device: str | None = None,
    device_map: Any = None,
    tp_plan: Any = None,
    attn_implementation: str | None = None,
    quantization_config: Any = None,
    revision: str | None = None,
    mask_id: int | None = None,
    compile: bool = False,
) -> ModelBackend:
    """Load a model: a checkpoint folder, a hub id, or "embedded" for the small model inside this package.

    Args:
        family: registered name of the model's family; None to recognise it from config.json.

    The other arguments are those of `LoadOptions`. Raises `ModelError` with a sentence that says what is wrong.
    """
    from .backends.checkpoint import read_config

    name = str(dtype).removeprefix("torch.")
    options = LoadOptions(
        name, device, device_map, tp_plan, attn_implementation, quantization_config, revision, mask_id, compile
    )
    if revision is not None and (model == "embedded" or Path(model).exists()):
        raise ModelError(f"revision {revision!r} would be ignored: {model} is no hub repository")
    if sum(each is not None for each in (device, device_map, tp_plan)) > 1:
        raise ModelError("device, device_map and tp_plan exclude each other; pass one of them")
    claims = registry().kind("backends") if family is None else [registry().get("backends", family)]
    families = {claim.name: claim.part() for claim in claims}
    for candidate in families.values():
        if candidate.recognises(model, None):
            return _loaded(candidate, model, None, options)
    config = read_config(model, revision)
    for candidate in families.values():
        if family is not None or candidate.recognises(model, config):
            return _loaded(candidate, model, config, options)
    raise ModelError(
        f"{model}: no backend reads the model_type {config.get('model_type')!r} of its config.json; "
        f"installed: {', '.join(families)}"
    )


def _loaded(family: BackendFamily, model: str, config: dict[str, Any] | None, options: LoadOptions) -> ModelBackend:
    """The model, or a `ModelError`: what other libraries raise on a broken folder is not their users' to know."""
    from transformers.utils import logging

    from .backends.checkpoint import first_sentence

    bar, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    if config is None or Path(model).exists():
        logging.disable_progress_bar()  # but show downloads
    logging.set_verbosity_error()  # transformers warns of every model_type that it does not know
    try:
        backend = family.load(model, config, options)
        if options.compile:
            backend.compile()
        return backend
    except MDMError:
        raise
    except Exception as error:
        raise ModelError(f"{model}: the model cannot be loaded: {first_sentence(error)}") from error
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
    dtype: str | torch.dtype = "auto",
    device: str | None = None,
    device_map: Any = None,
    tp_plan: Any = None,
    attn_implementation: str | None = None,
    mask_id: int | None = None,
    compile: bool = False,
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
        tp_plan=tp_plan,
        attn_implementation=attn_implementation,
        mask_id=mask_id,
        compile=compile,
    )
    length = gen_length if gen_length is not None else default_gen_length(model)
    return Sampler(backend, gen_length=length, block_length=block_length, steps=steps)


def default_gen_length(model: str, revision: str | None = None) -> int:
    """The `max_new_tokens` of a checkpoint's generation_config.json, else 128."""
    from .backends.checkpoint import read_json, stored_file
    from .backends.embedded import FOLDER

    file = stored_file(str(FOLDER) if model == "embedded" else model, "generation_config.json", revision)
    length = None if file is None else read_json(model, file).get("max_new_tokens")
    if length is None:
        return DEFAULT_GEN_LENGTH
    if not is_whole(length) or length < 1:
        raise ModelError(
            f"{model}: generation_config.json says max_new_tokens={length!r}, expected a whole number above 0"
        )
    return int(length)
