"""What a checkpoint's files of weights say of themselves: names, shapes and number formats, without the numbers.

A safetensors file says so in its header. PyTorch's own `.bin` files are read onto `meta`, which reads no numbers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import ModelError
from .files import first_sentence, read_json, stored_file

FLOATS = ("float32", "bfloat16", "float16", "float64")
_HEADER_KINDS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_NAMES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Files of weights, in the order in which transformers looks for them."""

Shapes = dict[str, tuple[int, ...]]
"""The sizes of weights by their names."""

_EXPERTS = {"gate_up_proj": ("gate_proj", "up_proj"), "down_proj": ("down_proj",)}
"""Weights of all experts that transformers holds in one tensor, [e o i] -> the weights of each, along o."""


@dataclass(frozen=True)
class StoredWeight:
    """One weight as it is stored.

    Attributes:
        name: as it stands in the file.
        kind: its number format, such as "bfloat16"; what is not a float that models compute in has another name.
        shape: its sizes.
        file: where it is stored.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    file: Path

    def read(self) -> Tensor:
        """The numbers."""
        if self.file.suffix == ".safetensors":
            with safe_open(self.file, "pt") as opened:
                tensor: Tensor = opened.get_tensor(self.name)
                return tensor
        return _loaded(self.file, "cpu")[self.name]  # type: ignore[no-any-return]


def stored_weights(source: str, revision: str | None, renamed: Mapping[str, str]) -> dict[str, StoredWeight]:
    """The stored weights by the names that the model gives them; none where no file of weights is found.

    Args:
        renamed: regular expressions of published names -> the model's names.

    Raises `ModelError` for a file that is damaged or missing.
    """
    for name in _NAMES:
        file = stored_file(source, name, revision)
        if file is None:
            continue
        files = _shards(source, file, revision) if name.endswith(".index.json") else [file]
        weights = [weight for each in files for weight in _described(source, each)]
        return {_renamed(weight.name, renamed): weight for weight in weights}
    return {}


def main_kind(stored: Mapping[str, StoredWeight]) -> str | None:
    """The float in which most of the numbers are stored; None where no weight is a float that models compute in."""
    numbers: Counter[str] = Counter()
    for weight in stored.values():
        if weight.kind in FLOATS:
            numbers[weight.kind] += prod(weight.shape)
    return max(numbers, key=lambda kind: numbers[kind]) if numbers else None


def size_in_bytes(stored: Mapping[str, StoredWeight], dtype: torch.dtype) -> int:
    """What the weights take in memory as numbers of this dtype."""
    return sum(prod(weight.shape) for weight in stored.values()) * dtype.itemsize


def each_expert(shapes: Shapes) -> Shapes:
    """The weights of a model as checkpoints store them: each expert's apart, which transformers holds in one tensor."""
    apart: Shapes = {}
    for name, shape in shapes.items():
        layer, found, merged = name.rpartition(".experts.")
        if found and merged in _EXPERTS:
            count, outer, inner = shape
            parts = _EXPERTS[merged]
            each = (outer // len(parts), inner)
            apart |= {f"{layer}.experts.{i}.{part}.weight": each for i in range(count) for part in parts}
        else:
            apart[name] = shape
    return apart


def _shards(source: str, index: Path, revision: str | None) -> list[Path]:
    """The files that an index names."""
    failed = f"{source}: the model cannot be loaded: "
    try:
        weight_map = read_json(source, index).get("weight_map")
    except ModelError as error:
        raise ModelError(failed + str(error).removeprefix(f"{source}: ")) from error
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise ModelError(f"{failed}{index.name} has no weight_map of names to files")
    files = []
    for name in dict.fromkeys(weight_map.values()):
        file = stored_file(source, name, revision)
        if file is None:
            raise ModelError(f"{failed}{name} is missing, which {index.name} names")
        files.append(file)
    return files


def _described(source: str, file: Path) -> list[StoredWeight]:
    """The weights of one file."""
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, "pt") as opened:
                slices = [(name, opened.get_slice(name)) for name in opened.keys()]  # noqa: SIM118
                return [
                    StoredWeight(
                        name, _HEADER_KINDS.get(each.get_dtype(), each.get_dtype()), tuple(each.get_shape()), file
                    )
                    for name, each in slices
                ]
        return [
            StoredWeight(name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), file)
            for name, tensor in _loaded(file, "meta").items()
            if isinstance(tensor, Tensor)
        ]
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"{source}: a file of weights is damaged or incomplete, copy or download it again "
            f"({file.name}: {first_sentence(error)})"
        ) from error


def _loaded(file: Path, device: str) -> Mapping[str, Any]:
    """What a `.bin` file holds; on `meta` without its numbers. Raises `ValueError` for anything but named weights."""
    try:
        values = torch.load(file, map_location=device, weights_only=True, mmap=is_zipfile(file))
    except Exception as error:  # damaged bytes can make an unpickler raise anything
        raise ValueError(first_sentence(error)) from error
    if not isinstance(values, dict):
        raise ValueError("it holds no weights by their names")
    return values


def _renamed(name: str, renamed: Mapping[str, str]) -> str:
    for pattern, new in renamed.items():
        name, times = re.subn(pattern, new, name)
        if times:
            break
    return name
