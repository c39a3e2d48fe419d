"""Memory: no tensor of a run is larger than a chunk of the head's rows."""

from collections.abc import Callable

import pytest
from instruments import every_cache, one_layer, watch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from toys import MASK

import mdm_sampling as mdm
from mdm_sampling import prediction as prediction_module
from mdm_sampling.prediction import Head


class LargestTensor(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation returns."""

    numel = 0

    def __torch_dispatch__(
        self, func: Callable[..., object], types: object, args: tuple[object, ...] = (), kwargs: object = None
    ) -> object:
        out = func(*args, **(kwargs or {}))  # type: ignore[dict-item]
        sizes = [leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        self.numel = max([self.numel, *sizes])
        return out


@pytest.mark.defect(18)
@every_cache
@pytest.mark.parametrize("sliced", [True, False], ids=["head in slices", "head whole"])
@pytest.mark.parametrize("token_sampler", [mdm.Greedy(), mdm.GumbelMax(1.0)], ids=mdm.describe)
def test_no_tensor_over_candidates_canvas_and_vocabulary_is_made(
    cache: mdm.CacheStrategy, token_sampler: mdm.TokenSampler, sliced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the masked positions that somebody asks for are projected, chunk by chunk, and no tensor of the run is
    larger than a chunk."""
    vocab, chunk = 1024, 32
    monkeypatch.setattr(prediction_module, "CHUNK_BYTES", chunk * vocab * 4)
    monkeypatch.setattr(prediction_module, "SLICE", 300)
    backend = one_layer(vocab=vocab)
    assert backend.head_matrix is not None
    if not sliced:
        monkeypatch.setattr(mdm.TransformerBackend, "head_matrix", None)
    projected: list[int] = []
    statistics = Head.statistics

    def spy(head: Head, hidden: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        projected.append(len(hidden))
        return statistics(head, hidden, context)

    monkeypatch.setattr(Head, "statistics", spy)
    sampler = mdm.Sampler(
        backend, planner=mdm.InfoGain(8, 1.0), cache=cache, token_sampler=token_sampler, block_size=24, steps=3
    )
    with LargestTensor() as largest:
        moments = watch(sampler, [([5] * 16, [MASK] * 24)])
        first = next(moments)
        if token_sampler == mdm.Greedy():
            (looked,) = first.lookaheads
            assert looked.prediction.masked.shape == (len(looked.rows), 24)
            assert sum(projected) == 24 + int(looked.prediction.masked.sum())
        for moment in moments:
            assert not moment.canvas.masked.all()
    assert max(projected) == chunk * vocab // (300 if sliced else vocab)
    weights = max(p.numel() for p in backend.model.parameters())
    assert largest.numel <= max(chunk * vocab, weights)
