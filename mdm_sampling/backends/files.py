"""The small files of a checkpoint, in a folder or a hub repository: config.json and its kin."""

from __future__ import annotations

import re
from logging import ERROR
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..fields import parse_json


def read_config(source: str, revision: str | None) -> dict[str, Any]:
    """The config.json of a folder or hub repository. Raises `ModelError` if there is no such thing, or if it is bad."""
    from huggingface_hub import constants
    from huggingface_hub.utils import logging
    from transformers.utils import cached_file

    if not source.strip():
        raise ModelError("the model's name is empty")
    if not Path(source).is_dir() and _looks_like_path(source):
        raise ModelError(f"{source!r} is not a folder, a hub repository (owner/name) or 'embedded'")
    verbosity = logging.get_verbosity()
    logging.set_verbosity(ERROR)  # a hub that cannot be reached is reported below, and not at each attempt
    try:
        path = cached_file(source, "config.json", revision=revision)
    except OSError as error:
        refuse_adapter(source, revision)
        offline = " (HF_HUB_OFFLINE is set)" if constants.HF_HUB_OFFLINE else ""
        raise ModelError(
            f"{source!r} is not a folder, and as a hub repository it cannot be read{offline}: {first_sentence(error)}"
        ) from error
    finally:
        logging.set_verbosity(verbosity)
    if path is None:
        refuse_adapter(source, revision)
        raise ModelError(f"{source}: there is no config.json, so it is not a checkpoint")
    return read_json(source, Path(path))


def read_generation_config(source: str, revision: str | None) -> dict[str, Any]:
    """The generation_config.json of a checkpoint; empty if it has none."""
    file = stored_file(source, "generation_config.json", revision)
    return {} if file is None else read_json(source, file)


def refuse_adapter(source: str, revision: str | None) -> None:
    """Raise `ModelError` where a LoRA adapter is all that is stored."""
    file = stored_file(source, "adapter_config.json", revision)
    if file is not None:
        base = read_json(source, file).get("base_model_name_or_path") or "another model"
        raise ModelError(
            f"{source}: it holds a LoRA adapter of {base!s:.200} and no model; merge the two (merge_and_unload of "
            "peft), save the result, and load that"
        )


def read_json(source: str, file: Path) -> dict[str, Any]:
    """The object that a JSON file of a checkpoint holds. Raises `ModelError` if it holds none."""
    try:
        values = parse_json(file.read_bytes())
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


def first_sentence(error: Exception) -> str:
    """What another library's error says, cut to its first sentence."""
    text = " ".join(str(error).split())
    if not text or isinstance(error, KeyError | TypeError | AttributeError):
        text = f"{type(error).__name__} {text}".strip()
    return re.split(r"(?<=[a-z)'\"])(?<!e\.g)(?<!i\.e)\. ", text)[0][:400].removesuffix(".")
