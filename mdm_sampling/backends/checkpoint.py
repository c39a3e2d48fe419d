"""Reading checkpoints through transformers: strict weights, tokenizers. Shared by the families."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.tensor import DTensor

from ..errors import ModelError
from .devices import check_device, check_device_map, choose_device
from .files import first_sentence, read_json, refuse_adapter, stored_file
from .options import LoadOptions
from .stored import FLOATS, Shapes, StoredWeight, main_kind, size_in_bytes, stored_weights
from .tensor_parallel import distributed_config


def _dtype_of(name: str, config: Mapping[str, Any], stored: Mapping[str, StoredWeight]) -> torch.dtype:
    """The torch dtype of an option: a torch name, or "auto".

    "auto" is the one that config.json names; where it names none, the one in which most of the stored numbers are.
    """
    name, where = str(name), ""
    if name == "auto":
        named = {key: str(config[key]).removeprefix("torch.") for key in ("dtype", "torch_dtype") if config.get(key)}
        if len(set(named.values())) > 1:
            both = " and ".join(f"{key}={value!r}" for key, value in named.items())
            raise ModelError(f"config.json contradicts itself: {both}; pass a dtype (--dtype)")
        name = next(iter(named.values()), None) or main_kind(stored) or "float32"
        where = " in config.json"
    if name.removeprefix("torch.") not in FLOATS:
        raise ModelError(f"unknown dtype {name!r}{where}; use {', '.join(FLOATS)}")
    dtype: torch.dtype = getattr(torch, name.removeprefix("torch."))
    return dtype


@dataclass(frozen=True)
class StoredLayout:
    """How the weights of a class are stored.

    Attributes:
        renamed: regular expressions of published weight names -> the class's names.
        shapes: the shapes of the class's weights -> those of the weights that are stored.
        left_out: regular expressions of stored weights that are not read.
        tied: weights that may be missing if the head is tied, each with the one that it then is.
    """

    renamed: dict[str, str]
    shapes: Callable[[Shapes], Shapes]
    left_out: tuple[str, ...]
    tied: dict[str, str]


def load_strictly(
    model_class: Any,
    source: str,
    native: Any,
    config: Mapping[str, Any],
    options: LoadOptions,
    layout: StoredLayout,
) -> Any:
    """`model_class.from_pretrained` that refuses missing, extra, wrongly shaped and other wrong weights, each by name.

    Shapes and number formats are compared with what the files say of themselves, before anything of the model's size
    is made. A quantised checkpoint stores other weights than the model has; it is left to transformers.

    Args:
        native: the translated config.
        config: the checkpoint's own config.json.
    """
    if options.device is not None:
        check_device(options.device)
    check_device_map(options.device_map)
    stored = stored_weights(source, options.revision, layout.renamed)
    if not stored:
        refuse_adapter(source, options.revision)
    dtype = _dtype_of(options.dtype, config, stored)
    quantization = options.quantization_config or config.get("quantization_config")
    if stored and not config.get("quantization_config"):
        _refuse_misfits(model_class, native, stored, source, layout)
    device, device_map = options.device, options.device_map
    if device is None and device_map is None and options.tp_plan is None and not quantization:
        device = choose_device(size_in_bytes(stored, dtype))
    if device is not None and quantization:
        device_map = {"": device}
    try:
        model, info = model_class.from_pretrained(
            source,
            config=native,
            key_mapping=layout.renamed or None,
            dtype=dtype,
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
    extra = [name for name in info["unexpected_keys"] if not any(re.search(each, name) for each in layout.left_out)]
    _refuse_bad_weights(source, info["mismatched_keys"], info["missing_keys"], extra)
    model = model.to(device) if device is not None and not device_map else model
    if not quantization:
        _refuse_infinite_weights(model, source)
    if dtype == torch.float64 and any(".experts." in name for name, _ in model.named_parameters()):
        model.set_experts_implementation("eager")  # the grouped product of experts has no float64
    return model


def _refuse_misfits(
    model_class: Any, native: Any, stored: Mapping[str, StoredWeight], source: str, layout: StoredLayout
) -> None:
    """Raise `ModelError` where the stored weights are not those of the model, by their names, shapes and kinds."""
    if native.num_hidden_layers > len(stored):
        raise ModelError(
            f"{source}: the checkpoint has missing weights: config.json says {native.num_hidden_layers} layers, and it "
            f"holds {len(stored)} weights in all"
        )
    try:
        with torch.device("meta"):
            weights = {name: tuple(weight.shape) for name, weight in model_class(native).state_dict().items()}
    except RuntimeError as error:  # a size with more than 64 bits
        raise ModelError(
            f"{source}: config.json describes weights that no memory can hold ({first_sentence(error)})"
        ) from error
    shapes = layout.shapes(weights)
    base = f"{model_class.base_model_prefix}."
    found = {
        name if name in shapes or base + name not in shapes else base + name: each for name, each in stored.items()
    }
    tied = layout.tied if native.tie_word_embeddings else {}
    needed = set(shapes) - set(tied)
    both = shapes.keys() & found.keys()
    misfits = [(name, found[name].shape, shapes[name]) for name in both if found[name].shape != shapes[name]]
    _refuse_bad_weights(source, misfits, needed - set(found), ())
    kinds = sorted(f"{name} is {found[name].kind}" for name in both if found[name].kind not in FLOATS)
    _refuse(source, "weights that are not floating-point numbers", kinds)
    for name, other in tied.items():
        if name in found and not torch.equal(found[name].read(), found[other].read()):
            raise ModelError(
                f"{source}: config.json says that the head is the embedding (tied weights), but a head is stored that "
                "differs from it"
            )


def _refuse_infinite_weights(model: Any, source: str) -> None:
    """Raise `ModelError` for a weight that holds nan or infinity; every number is read once, and none is copied."""
    weights = {name: _own_part(weight.detach()) for name, weight in model.named_parameters()}
    read = {name: each for name, each in weights.items() if each.numel() and each.device.type != "meta"}
    ends = {name: torch.stack(torch.aminmax(each)) for name, each in read.items()}
    names = sorted(name for name, both in ends.items() if not bool(both.isfinite().all()))
    _refuse(source, f"weights that are not finite in {str(model.dtype).removeprefix('torch.')}", names)


def _own_part(weight: Tensor) -> Tensor:
    """A weight, or the part of it that this process holds."""
    return weight.to_local() if isinstance(weight, DTensor) else weight


def _refuse_bad_weights(source: str, misfits: Any, missing: Any, unexpected: Any) -> None:
    """Raise `ModelError` for weights of wrong shapes, each as (name, stored shape, shape), or wrong names."""
    shapes = [f"{name} is {list(got)}, expected {list(want)}" for name, got, want in sorted(misfits)]
    _refuse(source, "wrongly shaped weights", shapes)
    _refuse(source, "missing weights", sorted(missing))
    _refuse(source, "weights that the model does not have", sorted(unexpected))


def _refuse(source: str, fault: str, names: list[str]) -> None:
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
        reason = _broken_json(source, (whole, "tokenizer_config.json"), revision) or first_sentence(error)
        raise ModelError(f"{source}: the tokenizer cannot be read: {reason}") from error


def _broken_json(source: str, names: tuple[str, ...], revision: str | None) -> str | None:
    """What is wrong with the first of these files that holds no JSON object; None if all that are there do."""
    for name in names:
        file = stored_file(source, name, revision)
        try:
            if file is not None:
                read_json(source, file)
        except ModelError as error:
            return str(error).removeprefix(f"{source}: ")
    return None
