"""From a checkpoint's name to a backend, and to a sampler with the published defaults."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .at_work import at_work, printed_apart, told
from .backends.base import BackendFamily, ModelBackend
from .backends.options import LoadOptions
from .errors import MDMError, ModelError
from .fields import is_whole
from .registry.registry import Registration, registry
from .sampler import Sampler

if TYPE_CHECKING:
    import torch

DEFAULT_NEW_TOKENS = 128


def load_backend(
    model: str | os.PathLike[str] = "embedded",
    *,
    family: str | None = None,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device | None = "auto",
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
        device: such as "cuda". "auto" or None: a CUDA device that has room for the model, else MPS if it works, else
            the CPU.

    The other arguments are those of `LoadOptions`. Raises `ModelError` with a sentence that says what is wrong.
    """
    from .backends.files import read_config

    name = name_of(model)
    _check_kinds(family=family, attn_implementation=attn_implementation, revision=revision)
    if mask_id is not None and not is_whole(mask_id):
        raise ModelError(f"mask_id is {mask_id!r:.60}, expected a token id")
    if not isinstance(compile, bool):
        raise ModelError(f"compile is {compile!r:.60}, expected True or False")
    position = None if device is None or str(device) == "auto" else str(device)
    number = str(dtype).removeprefix("torch.")
    options = LoadOptions(
        number, position, device_map, tp_plan, attn_implementation, quantization_config, revision, mask_id, compile
    )
    if revision is not None and (name == "embedded" or Path(name).exists()):
        raise ModelError(f"revision {revision!r} would be ignored: {name} is no hub repository")
    if sum(each is not None for each in (position, device_map, tp_plan)) > 1:
        raise ModelError("device, device_map and tp_plan exclude each other; pass one of them")
    claims = registry().kind("backends") if family is None else [registry().get("backends", family)]
    families = {claim.name: _made(claim) for claim in claims}
    for candidate in families.values():
        if _recognises(candidate, name, None):
            return _loaded(candidate, name, None, options)
    config = read_config(name, revision)
    for candidate in families.values():
        if family is not None or _recognises(candidate, name, config):
            return _loaded(candidate, name, config, options)
    raise ModelError(
        f"{name}: no backend reads the model_type {config.get('model_type')!r:.60} of its config.json; "
        f"installed: {', '.join(families)}"
    )


def _made(claim: Registration) -> BackendFamily:
    with at_work("model family", claim.name):
        family: BackendFamily = claim.part()
        return family


def _recognises(family: BackendFamily, name: str, config: dict[str, Any] | None) -> bool:
    with at_work("model family", family):
        return family.recognises(name, config)


def name_of(model: str | os.PathLike[str]) -> str:
    """A model's name, or the path of its folder, as text. Raises `ModelError` for anything else."""
    name = os.fspath(model) if isinstance(model, os.PathLike) else model
    if not isinstance(name, str):
        raise ModelError(f"a model is named by a text or a path, got {model!r:.60}")
    return name


def _check_kinds(**texts: Any) -> None:
    for name, value in texts.items():
        if value is not None and not isinstance(value, str):
            raise ModelError(f"{name} is {value!r:.60}, expected a text")


def _loaded(family: BackendFamily, model: str, config: dict[str, Any] | None, options: LoadOptions) -> ModelBackend:
    """The model, or a `ModelError`: what other libraries raise on a broken folder is not their users' to know."""
    from transformers.utils import logging

    from .backends.files import first_sentence

    bar, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    if config is None or Path(model).exists():
        logging.disable_progress_bar()  # but show downloads
    logging.set_verbosity_error()  # transformers warns of every model_type that it does not know
    try:
        with printed_apart():
            backend = family.load(model, config, options)
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
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


def _docstrings_are_removed() -> bool:
    return load.__doc__ is None


def load(
    model: str | os.PathLike[str] = "embedded",
    *,
    max_new_tokens: int | None = None,
    block_size: int = 32,
    steps: int = 512,
    family: str | None = None,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device | None = "auto",
    device_map: Any = None,
    tp_plan: Any = None,
    attn_implementation: str | None = None,
    quantization_config: Any = None,
    revision: str | None = None,
    mask_id: int | None = None,
    compile: bool = False,
) -> Sampler:
    """A sampler for a model with the published defaults: Info-Gain with a bypass at 0.9, prefix cache, greedy tokens.

    Args:
        model: see `load_backend`, which takes the same options.
        max_new_tokens: positions to generate; None for the checkpoint's generation config, else 128.
    """
    backend = load_backend(
        model,
        family=family,
        dtype=dtype,
        device=device,
        device_map=device_map,
        tp_plan=tp_plan,
        attn_implementation=attn_implementation,
        quantization_config=quantization_config,
        revision=revision,
        mask_id=mask_id,
        compile=compile,
    )
    length = max_new_tokens
    if length is None:
        length = default_new_tokens(model, revision)
        if backend.max_length is not None and length > max(backend.max_length, DEFAULT_NEW_TOKENS):
            raise ModelError(
                f"{name_of(model)}: generation_config.json says max_new_tokens={length}, which exceeds the model's "
                f"context of {backend.max_length}; pass max_new_tokens"
            )
    return Sampler(backend, max_new_tokens=length, block_size=block_size, steps=steps)


def default_new_tokens(model: str | os.PathLike[str], revision: str | None = None) -> int:
    """The `max_new_tokens` of a checkpoint's generation_config.json, else 128."""
    from .backends.embedded import FOLDER
    from .backends.files import read_generation_config

    name = name_of(model)
    length = read_generation_config(str(FOLDER) if name == "embedded" else name, revision).get("max_new_tokens")
    if length is None:
        return DEFAULT_NEW_TOKENS
    if not is_whole(length) or length < 1:
        raise ModelError(
            f"{name}: generation_config.json says max_new_tokens={length!r:.60}, expected a whole number above 0"
        )
    return int(length)


def load_tokenizer(model: str | os.PathLike[str], revision: str | None = None) -> Any:
    """The transformers tokenizer of a checkpoint, without the model's weights.

    Args:
        model: a folder, a hub id or `embedded`.
        revision: branch, tag or commit of a hub repository.

    Raises `ModelError` where there is no such checkpoint, and for one without a tokenizer.
    """
    from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer

    from .backends import checkpoint
    from .backends.embedded import FOLDER
    from .backends.files import read_config, stored_file

    name = name_of(model)
    source = str(FOLDER) if name == "embedded" else name
    read_config(source, revision)
    # Dream's folders may hold a vocabulary and merges only, which are Qwen2's.
    is_whole_file = stored_file(source, "tokenizer.json", revision) is not None
    tokenizer_class = PreTrainedTokenizerFast if is_whole_file else Qwen2Tokenizer
    tokenizer = checkpoint.load_tokenizer(tokenizer_class, source, revision)
    if tokenizer is None:
        raise ModelError(f"{name}: the checkpoint has no tokenizer")
    return tokenizer
