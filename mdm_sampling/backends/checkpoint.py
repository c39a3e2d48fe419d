"""Reading checkpoints through transformers: config.json, strict weights, tokenizers. Shared by the families."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from logging import ERROR
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from ..errors import ModelError
from ..fields import is_whole
from .options import LoadOptions
from .tensor_parallel import distributed_config

DTYPES = ("float32", "bfloat16", "float16", "float64")


def read_config(source: str, revision: str | None) -> dict[str, Any]:
    """The config.json of a folder or hub repository. Raises `ModelError` if there is no such thing, or if it is bad."""
    from huggingface_hub import constants
    from huggingface_hub.utils import logging
    from transformers.utils import cached_file

    if not source.strip():
        raise ModelError("the model's name is empty")
    if not Path(source).is_dir() and _looks_like_path(source):
        raise ModelError(f"{source!r} is no folder, no hub repository (owner/name), and not 'embedded'")
    verbosity = logging.get_verbosity()
    logging.set_verbosity(ERROR)  # a hub that cannot be reached is reported below, and not at each attempt
    try:
        path = cached_file(source, "config.json", revision=revision)
    except OSError as error:
        offline = " (HF_HUB_OFFLINE is set)" if constants.HF_HUB_OFFLINE else ""
        raise ModelError(
            f"{source!r} is no folder, and as a hub repository it cannot be read{offline}: {first_sentence(error)}"
        ) from error
    finally:
        logging.set_verbosity(verbosity)
    if path is None:
        raise ModelError(f"{source}: there is no config.json, so it is no checkpoint")
    return read_json(source, Path(path))


def read_json(source: str, file: Path) -> dict[str, Any]:
    """The object that a JSON file of a checkpoint holds. Raises `ModelError` if it holds none."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{source}: {file.name} is not valid JSON ({error})") from error
    if not isinstance(values, dict):
        raise ModelError(f"{source}: {file.name} holds no JSON object")
    return values


def stored_file(source: str, name: str, revision: str | None) -> Path | None:
    """A file of a folder or hub repository; None if it holds no such file."""
    from transformers.utils import cached_file

    try:
        path = cached_file(source, name, revision=revision)
    except OSError:
        return None
    return None if path is None else Path(path)


def _looks_like_path(source: str) -> bool:
    return Path(source).exists() or source.startswith((".", "/", "~")) or source.count("/") != 1


def field(config: Mapping[str, Any], name: str, source: str) -> Any:
    """config[name], a size. Raises `ModelError` where it is missing or no whole number above 0."""
    value = config.get(name)
    if value is None:
        raise ModelError(f"{source}: config.json lacks {name!r}")
    if not is_whole(value) or value < 1:
        raise ModelError(f"{source}: config.json says {name}={value!r}, expected a whole number above 0")
    return value


def refuse_unsupported(config: Mapping[str, Any], supported: Mapping[str, tuple[Any, ...]], source: str) -> None:
    """Raise `ModelError` where a config asks for something that the native class does not compute."""
    for name, values in supported.items():
        if name in config and config[name] not in values:
            raise ModelError(
                f"{source}: config.json says {name}={config[name]!r}, supported: {', '.join(map(repr, values))}"
            )


def dtype_of(name: str, config: Mapping[str, Any]) -> torch.dtype:
    """The torch dtype of an option: a torch name, or "auto" for the one in the config (float32 if it has none)."""
    name, where = str(name), ""
    if name == "auto":
        name = str(config.get("dtype") or config.get("torch_dtype") or "float32")
        where = " in config.json"
    if name.removeprefix("torch.") not in DTYPES:
        raise ModelError(f"unknown dtype {name!r}{where}; use {', '.join(DTYPES)}")
    dtype: torch.dtype = getattr(torch, name.removeprefix("torch."))
    return dtype


def check_device(name: str) -> None:
    """Raise `ModelError` unless tensors can live on this device, before anything large is read."""
    try:
        torch.empty(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ModelError(f"device {name!r} cannot be used: {first_sentence(error)}") from error


def load_strictly(
    model_class: Any,
    source: str,
    native: Any,
    config: Mapping[str, Any],
    options: LoadOptions,
    renamed: dict[str, str],
) -> Any:
    """`model_class.from_pretrained` that refuses missing, extra and wrongly shaped weights, each by name.

    Args:
        native: the translated config.
        config: the checkpoint's own config.json.
        renamed: regular expressions of published weight names -> the class's names.
    """
    if options.device is not None:
        check_device(options.device)
    quantization = options.quantization_config or config.get("quantization_config")
    device_map = options.device_map or ({"": options.device} if options.device and quantization else None)
    try:
        model, info = model_class.from_pretrained(
            source,
            config=native,
            key_mapping=renamed or None,
            dtype=dtype_of(options.dtype, config),
            device_map=device_map,
            distributed_config=None if options.tp_plan is None else distributed_config(options.tp_plan),
            attn_implementation=options.attn_implementation,
            quantization_config=quantization,
            revision=options.revision,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except SafetensorError as error:
        raise ModelError(
            f"{source}: a file of weights is damaged or incomplete, copy or download it again ({first_sentence(error)})"
        ) from error
    _refuse_bad_weights(source, info)
    return model.to(options.device) if options.device and not device_map else model


def _refuse_bad_weights(source: str, info: Mapping[str, Any]) -> None:
    shapes = [f"{name} is {list(got)}, expected {list(want)}" for name, got, want in sorted(info["mismatched_keys"])]
    faults = [
        ("wrongly shaped weights", shapes),
        ("missing weights", sorted(info["missing_keys"])),
        ("weights that the model does not have", sorted(info["unexpected_keys"])),
    ]
    for fault, names in faults:
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise ModelError(f"{source}: the checkpoint has {fault}: {', '.join(names[:3])}{more}")


def load_tokenizer(tokenizer_class: Any, source: str, revision: str | None) -> Any:
    """A tokenizer by its class, since the published folders name remote code. None where no tokenizer is stored.

    Where some files are missing, transformers may build a tokenizer without a vocabulary, so they are looked for first.
    """
    whole = "tokenizer.json"
    parts = sorted(set(tokenizer_class.vocab_files_names.values()) - {whole})
    if stored_file(source, whole, revision) is None:
        missing = [name for name in parts if stored_file(source, name, revision) is None]
        if missing == parts:
            if stored_file(source, "tokenizer_config.json", revision) is None:
                return None
            missing = [whole]
        if missing:
            raise ModelError(f"{source}: the tokenizer lacks {' and '.join(missing)}")
    try:
        return tokenizer_class.from_pretrained(source, revision=revision)
    except Exception as error:  # the tokenizers library raises plain `Exception`
        raise ModelError(f"{source}: the tokenizer cannot be read: {first_sentence(error)}") from error


def first_sentence(error: Exception) -> str:
    """What another library's error says, cut to its first sentence."""
    text = " ".join(str(error).split())
    if not text or isinstance(error, KeyError | TypeError | AttributeError):
        text = f"{type(error).__name__} {text}".strip()
    return re.split(r"(?<=[a-z)'\"])(?<!e\.g)(?<!i\.e)\. ", text)[0][:400].removesuffix(".")
