"""What is measured, and what is held meanwhile: a row's seconds, a run's memory, the GPU of a benchmark."""

import importlib.util
import sys
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from toys import MASK, toy_callable

import mdm_sampling as mdm
from mdm_sampling.backends.slots import TransformerSlots
from mdm_sampling.result import Collector

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def test_selecting_rows_holds_each_layer_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a layer's rows are selected, those of the layers before it are gone."""
    layers = 5
    slots = TransformerSlots()
    slots.keys = [torch.full((3, 1, 4, 2), float(i)) for i in range(layers)]
    slots.values = [torch.full((3, 1, 4, 2), float(-i)) for i in range(layers)]
    expected = [each[[0, 2]].clone() for each in [*slots.keys, *slots.values]]
    old = [weakref.ref(each) for each in [*slots.keys, *slots.values]]
    alive: list[int] = []

    class Rows:
        """Row indices that count, each time they are moved to a layer's device, which layers are alive."""

        def to(self, device: torch.device) -> Tensor:
            alive.append(sum(each() is not None for each in old))
            return torch.tensor([0, 2], device=device)

    chosen = slots.select(Rows())  # type: ignore[arg-type]
    assert alive == list(range(2 * layers, 0, -1))
    assert all(each() is None for each in old)
    assert all(torch.equal(a, b) for a, b in zip([*chosen.keys, *chosen.values], expected, strict=True))


def test_a_row_s_seconds_hold_the_wait_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading which rows took a step waits for a GPU; what it waits for is the step's own work."""
    backend = toy_callable()
    sampler = mdm.Sampler(backend, steps=1)
    canvas = sampler.canvas([([1], [MASK] * 2)])
    record = next(sampler.iterate(canvas))
    collector = Collector(canvas, [0], codec=None, until_eos=False)
    original = torch.Tensor.tolist

    def slow(tensor: Tensor) -> Any:
        time.sleep(0.05)
        return original(tensor)

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "tolist", slow)
        collector.add(record)
    assert collector.seconds[0] >= 0.05


@pytest.mark.parametrize(("device", "index"), [("cuda", 0), ("cuda:1", 1)])
def test_a_benchmark_chooses_its_gpu(device: str, index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the number that torch asks for, which the name alone does not give."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("runs", BENCHMARKS / "runs.py")
    assert spec is not None
    assert spec.loader is not None
    runs = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "runs", runs)
    spec.loader.exec_module(runs)
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "set_device", lambda d: chosen.append(torch.cuda._utils._get_device_index(d)))
    monkeypatch.setitem(runs.FAMILIES, "llada", lambda shape, vocabulary, device, dtype: device)
    assert runs.Run(device=device).backend() == device
    assert chosen == [index]
