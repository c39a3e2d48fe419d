"""How often a step makes the host wait for the device: not once for each candidate, nor for each row."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from toys import MASK, toy_transformer

import mdm_sampling as mdm

WAITS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::is_nonzero", "aten::masked_select"}


class Waits(TorchDispatchMode):
    """Counts the operations whose result, on a GPU, the host would wait for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.count = 0
        tolist = torch.Tensor.tolist

        def counted(tensor: torch.Tensor) -> Any:
            self.count += 1
            return tolist(tensor)

        monkeypatch.setattr(torch.Tensor, "tolist", counted)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # An index that is a mask is turned into positions, whose number the host must know.
        indices = args[1] if "index" in func.name() and len(args) > 1 and isinstance(args[1], Sequence) else ()
        masks = any(isinstance(index, torch.Tensor) and index.dtype == torch.bool for index in indices)
        self.count += func.name() in WAITS or masks
        return func(*args, **(kwargs or {}))


def waits_per_step(sampler: mdm.Sampler, rows: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """For each step that looked ahead, how often it waited."""
    canvas = sampler.canvas([([n + 1], [MASK] * 8) for n in range(rows)])
    steps = sampler.iterate(canvas, list(range(rows)))
    found = []
    while True:
        with monkeypatch.context() as patch, Waits(patch) as waits:
            record = next(steps, None)
        if record is None:
            return found
        if record.candidates is not None:
            found.append(waits.count)


@pytest.mark.parametrize("cache", ["none", "prefix", "dual"])
@pytest.mark.parametrize("token_sampler", [mdm.Greedy(), mdm.GumbelMax(0.7)])
def test_waits_do_not_grow_with_candidates_or_rows(
    cache: str, token_sampler: mdm.TokenSampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def most(candidates: int, rows: int) -> int:
        sampler = mdm.Sampler(
            toy_transformer(),
            planner=mdm.InfoGain(candidates=candidates, position_temperature=1.0),
            cache=mdm.build("caches", cache),
            token_sampler=token_sampler,
            block_size=8,
            steps=8,
        )
        return max(waits_per_step(sampler, rows, monkeypatch))

    least = most(candidates=2, rows=1)
    assert 0 < least <= 40
    assert most(candidates=16, rows=1) <= least
    # A batch also keeps books of which rows are unfinished.
    assert most(candidates=16, rows=6) <= least + 4
