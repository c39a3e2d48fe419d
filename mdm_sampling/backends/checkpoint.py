"""Reading checkpoints through transformers: config.json, strict weights, tokenizers. Shared by the families."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import ModelError
from .options import LoadOptions


def read_config(source: str, revision: str | None) -> dict[str, Any] | None:
    """The config.json of a folder or hub repository; None if there is no such folder or repository."""
    from transformers.utils import cached_file

    if Path(source).is_dir() and not (Path(source) / "config.json").is_file():
        raise ModelError(f"{source}: this folder has no config.json, so it is no checkpoint")
    if _looks_like_path(source) and not Path(source).is_dir():
        return None
    try:
        path = cached_file(source, "config.json", revision=revision)
    except OSError:
        return None
    try:
        config = json.loads(Path(str(path)).read_text())
    except ValueError as error:
        raise ModelError(f"{source}: config.json is not valid JSON ({error})") from error
    if not isinstance(config, dict):
        raise ModelError(f"{source}: config.json holds no object")
    return config


def _looks_like_path(source: str) -> bool:
    return Path(source).exists() or source.startswith((".", "/", "~")) or source.count("/") != 1


def field(config: Mapping[str, Any], name: str, source: str) -> Any:
    """config[name], or a `ModelError` that names the missing key."""
    if config.get(name) is None:
        raise ModelError(f"{source}: config.json lacks {name!r}")
    return config[name]


def refuse_unsupported(config: Mapping[str, Any], supported: Mapping[str, tuple[Any, ...]], source: str) -> None:
    """Raise `ModelError` where a config asks for something that the native class does not compute."""
    for name, values in supported.items():
        if name in config and config[name] not in values:
            raise ModelError(
                f"{source}: config.json says {name}={config[name]!r}, supported: {', '.join(map(repr, values))}"
            )


def dtype_of(name: str, config: Mapping[str, Any]) -> torch.dtype:
    """The torch dtype of an option: a torch name, or "auto" for the one in the config (float32 if it has none)."""
    if name == "auto":
        name = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    dtype = getattr(torch, name.removeprefix("torch."), None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ModelError(f"unknown dtype {name!r}; use float32, bfloat16 or float16")
    return dtype


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
    quantization = options.quantization_config or config.get("quantization_config")
    device_map = options.device_map or ({"": options.device} if options.device and quantization else None)
    try:
        model, info = model_class.from_pretrained(
            source,
            config=native,
            key_mapping=renamed or None,
            dtype=dtype_of(options.dtype, config),
            device_map=device_map,
            attn_implementation=options.attn_implementation,
            quantization_config=quantization,
            revision=options.revision,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except (OSError, ImportError, RuntimeError, ValueError, KeyError) as error:
        raise ModelError(f"{source}: {_first_sentence(error)}") from error
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
    """A tokenizer by its class, since the published folders name remote code. None where no tokenizer is stored."""
    try:
        return tokenizer_class.from_pretrained(source, revision=revision)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if Path(source).is_dir() and not any(Path(source).glob("*token*")) and not any(Path(source).glob("vocab*")):
            return None
        raise ModelError(f"{source}: the tokenizer cannot be read: {_first_sentence(error)}") from error


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return re.split(r"(?<=[a-z)'\"])\. ", text)[0][:400]
