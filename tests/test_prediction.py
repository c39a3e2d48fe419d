"""Predictions: only the rows asked for are projected, and the statistics agree with a float64 reference."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import toy_callable

import mdm_sampling as mdm
from mdm_sampling import prediction as prediction_module
from mdm_sampling.prediction import Head
from mdm_sampling.reductions import row_statistics

numbers = st.floats(-60, 60, width=32)


@settings(max_examples=200)
@given(row=st.lists(numbers | st.just(-float("inf")), min_size=2, max_size=12).filter(lambda r: max(r) > -100))
def test_statistics_agree_with_a_float64_reference(row: list[float]) -> None:
    token, confidence, second, entropy = row_statistics([torch.tensor([row])])
    p = torch.tensor(row, dtype=torch.float64).softmax(0)
    best = p.sort(descending=True).values
    assert p[token[0]] == pytest.approx(float(best[0]), abs=1e-6)
    assert float(confidence[0]) == pytest.approx(float(best[0]), abs=1e-5)
    assert float(second[0]) == pytest.approx(float(best[1]), abs=1e-5)
    assert float(entropy[0]) == pytest.approx(float(torch.special.entr(p).sum()), abs=1e-5)


@settings(max_examples=200)
@given(
    row=st.lists(st.integers(-3, 3).map(float) | st.just(-float("inf")), min_size=2, max_size=12),
    cuts=st.lists(st.integers(1, 11), max_size=4),
)
def test_slices_of_the_vocabulary_give_what_the_whole_gives(row: list[float], cuts: list[int]) -> None:
    """Slices of nothing but banned tokens weigh nothing, and of equal tokens the first one counts."""
    logits = torch.tensor([row, row[::-1]], dtype=torch.float64)
    edges = sorted({0, len(row), *(cut for cut in cuts if cut < len(row))})
    slices = [logits[:, a:b].clone() for a, b in pairwise(edges)]
    found = row_statistics(slices)
    if max(row) == -float("inf"):
        assert not torch.isfinite(found[3]).any()
        return
    for a, b in zip(found, row_statistics([logits.clone()]), strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)
    assert found[0].tolist() == [row.index(max(row)), row[::-1].index(max(row))]


def test_a_head_in_slices_gives_the_statistics_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the mask token is the first or last of a slice, and with a chunk smaller than the positions."""
    monkeypatch.setattr(prediction_module, "SLICE", 5)
    monkeypatch.setattr(prediction_module, "CHUNK_BYTES", 3 * 5 * 4)
    spy = Spy(23)
    masked = torch.rand(3, 6, generator=torch.Generator().manual_seed(2)) < 0.6
    hidden = torch.randn(*masked.shape, 4, generator=torch.Generator().manual_seed(1)).double()
    context = torch.zeros_like(masked, dtype=torch.long)
    for mask_id in (0, 4, 5, 22):
        whole = mdm.Prediction(hidden, masked, Head(spy, (), mask_id, 23), context).statistics
        sliced = mdm.Prediction(hidden, masked, Head(spy, (), mask_id, 23, spy.weight), context).statistics
        assert torch.equal(whole.token, sliced.token)
        assert not (sliced.token[masked] == mask_id).any()
        for name in ("confidence", "second", "entropy"):
            torch.testing.assert_close(getattr(sliced, name), getattr(whole, name), atol=1e-12, rtol=0)
    rows = len(spy.rows)
    banned = Head(spy, (mdm.Ban((3,)).build(toy_callable()),), 0, 23, spy.weight)
    assert not (mdm.Prediction(hidden, masked, banned, context).statistics.token[masked] == 3).any()
    assert len(spy.rows) > rows, "a processor reads the whole row of logits"


def test_statistics_hold_for_a_large_vocabulary() -> None:
    logits = torch.randn(3, 126_464, generator=torch.Generator().manual_seed(0)) * 3
    p = logits.double().softmax(-1)
    _, confidence, _, entropy = row_statistics([logits.clone()])
    torch.testing.assert_close(entropy.double(), torch.special.entr(p).sum(-1), atol=1e-5, rtol=0)
    torch.testing.assert_close(confidence.double(), p.max(-1).values, atol=1e-5, rtol=0)


class Spy:
    """A head that records how many rows it was given."""

    def __init__(self, vocab: int) -> None:
        self.rows: list[int] = []
        self.weight = torch.randn(vocab, 4, generator=torch.Generator().manual_seed(0)).double()

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        self.rows.append(len(hidden))
        return hidden @ self.weight.T


def made(masked: torch.Tensor, spy: Spy) -> mdm.Prediction:
    hidden = torch.randn(*masked.shape, 4, generator=torch.Generator().manual_seed(1)).double()
    head = Head(spy, (), mask_id=0, vocab_size=len(spy.weight))
    return mdm.Prediction(hidden, masked, head, torch.zeros_like(masked, dtype=torch.long))


def test_only_masked_rows_are_projected_and_only_once() -> None:
    spy = Spy(7)
    masked = torch.tensor([[True, False, True], [False, False, True]])
    prediction = made(masked, spy)
    assert spy.rows == []
    assert (prediction.entropy[masked] > 0).all()
    assert (prediction.entropy[~masked] == 0).all()
    assert prediction.statistics is prediction.statistics
    assert spy.rows == [3]


def test_no_chunk_exceeds_its_size_and_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    masked = torch.rand(5, 9, generator=torch.Generator().manual_seed(2)) < 0.6
    whole = made(masked, Spy(7)).statistics
    spy = Spy(7)
    monkeypatch.setattr(prediction_module, "CHUNK_BYTES", 7 * 4 * 4)
    chunked = made(masked, spy).statistics
    assert max(spy.rows) == 4
    torch.testing.assert_close(chunked.entropy, whole.entropy)
    assert torch.equal(chunked.token, whole.token)


def test_narrow_and_select_are_the_same_numbers() -> None:
    masked = torch.rand(4, 6, generator=torch.Generator().manual_seed(3)) < 0.7
    prediction = made(masked, Spy(7))
    rows = torch.tensor([2, 0])
    before = prediction.select(rows).narrow(1, 3).entropy
    whole = prediction.entropy
    torch.testing.assert_close(before, whole[rows, 1:4])
    torch.testing.assert_close(prediction.select(rows).entropy, whole[rows])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_refused(value: float) -> None:
    def model(tokens: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(*tokens.shape, 5)
        logits[0, 2, 1] = value
        return logits

    sampler = mdm.Sampler(mdm.wrap(model, mask_id=4, vocab_size=5), planner=mdm.Confidence())
    with pytest.raises(mdm.PredictionError, match="not finite"):
        sampler.fill([([], [4] * 3)])


def test_banning_every_token_is_refused() -> None:
    sampler = mdm.Sampler(
        mdm.wrap(lambda tokens: torch.zeros(*tokens.shape, 4), mask_id=3, vocab_size=4),
        processors=(mdm.Ban((0, 1, 2)),),
    )
    with pytest.raises(mdm.PredictionError, match="banned"):
        sampler.fill([([], [3] * 3)])


@pytest.mark.parametrize("shape", [(1, 3, 4), (1, 2, 5), (3, 5)])
def test_a_model_that_returns_the_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    sampler = mdm.Sampler(mdm.wrap(lambda tokens: torch.zeros(shape), mask_id=4, vocab_size=5))
    with pytest.raises(mdm.PredictionError, match="must return logits of shape"):
        sampler.fill([([], [4] * 3)])
