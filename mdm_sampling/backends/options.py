"""How a checkpoint is loaded."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LoadOptions:
    """Passed through to transformers, but for the last three.

    Args:
        dtype: such as "bfloat16"; "auto" for the checkpoint's own: what config.json names, else what is stored.
        device: such as "cuda"; None for what `choose_device` finds when the model is loaded. A spec that names no
            device so is rebuilt on any machine.
        device_map: such as "auto", to spread a model over devices.
        tp_plan: such as "auto", to split each layer over the processes that torchrun started.
        attn_implementation: such as "sdpa", "eager" or "flash_attention_2".
        quantization_config: a transformers quantisation config.
        revision: branch, tag or commit of a hub repository.
        mask_id: id of the mask token, for a checkpoint that does not say.
        attention_block: positions of an attention block, for a block-causal checkpoint that does not say; 0 for full
            attention.
        compile: whether to compile the model with `torch.compile`; the first steps then take about a minute longer.
            Tested with torch 2.13; older ones may mistake a shape.
    """

    dtype: str = "auto"
    device: str | None = None
    device_map: Any = None
    tp_plan: Any = None
    attn_implementation: str | None = None
    quantization_config: Any = None
    revision: str | None = None
    mask_id: int | None = None
    attention_block: int | None = None
    compile: bool = False


class Loading(TypedDict, total=False):
    """The fields of `LoadOptions` as `load` takes them: dtype and device may be torch's own, and the device "auto"."""

    dtype: str | torch.dtype
    device: str | torch.device | None
    device_map: Any
    tp_plan: Any
    attn_implementation: str | None
    quantization_config: Any
    revision: str | None
    mask_id: int | None
    attention_block: int | None
    compile: bool


@dataclass(frozen=True)
class ModelSource:
    """Where a model came from.

    Attributes:
        model: folder or hub id.
        family: registered name of its family.
        options: how it was loaded.
    """

    model: str
    family: str
    options: LoadOptions

    def spec(self) -> dict[str, Any]:
        """The settings that load the model again; options at their defaults are left out."""
        given = {f.name: getattr(self.options, f.name) for f in fields(self.options)}
        options = {name: value for name, value in given.items() if value != getattr(LoadOptions, name)}
        if hasattr(self.options.quantization_config, "to_dict"):
            options["quantization_config"] = self.options.quantization_config.to_dict()
        return {"model": self.model, "family": self.family, **options}
