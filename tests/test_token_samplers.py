"""Token samplers draw from the model's distribution, and only from each row's own generator."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mdm_sampling as mdm
from mdm_sampling import prediction as prediction_module
from mdm_sampling.prediction import Head

LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0, 5.0])  # the last one is the mask
NOISE_ROWS = 4


def prediction(rows: int, positions: int, logits: torch.Tensor = LOGITS) -> mdm.Prediction:
    hidden = logits.expand(rows, positions, len(logits)).clone()
    head = Head(lambda h: h, (), mask_id=len(logits) - 1, vocab_size=len(logits))
    masked = torch.ones(rows, positions, dtype=torch.bool)
    return mdm.Prediction(hidden, masked, head, torch.zeros(rows, positions, dtype=torch.long))


def noise(*seeds: int) -> mdm.RowNoise:
    return mdm.RowNoise.from_seeds(seeds, torch.device("cpu"))


def test_greedy_takes_the_likeliest_token_but_never_the_mask() -> None:
    proposal = mdm.Greedy().propose(prediction(2, 3), noise(0, 1), 4)
    assert proposal.tokens.shape == (4, 2, 3)
    assert (proposal.tokens == 0).all()
    torch.testing.assert_close(proposal.confidence[0, 0, 0], LOGITS[:4].softmax(0)[0])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_gumbel_draws_from_the_tempered_distribution(temperature: float) -> None:
    """20,000 draws: each frequency within five standard errors of softmax(logits / temperature)."""
    draws = mdm.GumbelMax(temperature).propose(prediction(1, 4000), noise(7), 5).tokens.flatten()
    expected = (LOGITS[:4] / temperature).softmax(0)
    got = torch.bincount(draws, minlength=5)[:4] / len(draws)
    error = (expected * (1 - expected) / len(draws)).sqrt()
    assert ((got - expected).abs() < 5 * error).all()
    assert not (draws == 4).any()


def test_confidence_is_the_models_probability_before_temperature() -> None:
    proposal = mdm.GumbelMax(2.0, top_k=2).propose(prediction(1, 50), noise(1), 1)
    torch.testing.assert_close(proposal.confidence, LOGITS[:4].softmax(0)[proposal.tokens])


@pytest.mark.parametrize(
    ("sampler", "allowed"),
    [
        (mdm.GumbelMax(5.0, top_k=1), {0}),
        (mdm.GumbelMax(5.0, top_k=3), {0, 1, 2}),
        (mdm.GumbelMax(1.0, top_p=0.8), {0, 1}),
    ],
)
def test_top_k_and_top_p_cut_the_tail(sampler: mdm.GumbelMax, allowed: set[int]) -> None:
    draws = sampler.propose(prediction(1, 400), noise(0), 2).tokens.flatten().tolist()
    assert set(draws) == allowed


@given(seeds=st.lists(st.integers(0, 9), min_size=1, max_size=4), chunk=st.sampled_from([1, 60, 10**6]))
def test_a_rows_draws_depend_on_its_seed_alone(seeds: list[int], chunk: int) -> None:
    """Not on its neighbours, its position in the batch or the size of a chunk."""
    sampler = mdm.GumbelMax(1.0)
    alone = [sampler.propose(prediction(1, 6), noise(seed), 3).tokens[:, 0] for seed in seeds]
    before = prediction_module.CHUNK_BYTES
    prediction_module.CHUNK_BYTES = chunk
    try:
        together = sampler.propose(prediction(len(seeds), 6), noise(*seeds), 3).tokens
    finally:
        prediction_module.CHUNK_BYTES = before
    for i, one in enumerate(alone):
        assert torch.equal(together[:, i], one)


@pytest.mark.defect(24)
def test_noise_is_float64_and_does_not_tie() -> None:
    """Half-precision noise over a large vocabulary ties hundreds of times at its maximum."""
    gumbel = noise(0).gumbel([0], 126_464)[0]
    assert gumbel.dtype == torch.float64
    assert gumbel.unique().numel() == gumbel.numel()
    assert 9 < float(gumbel.max()) < 25


@pytest.mark.parametrize(
    "bad", [{"temperature": 0.0}, {"temperature": -1.0}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.1}], ids=str
)
def test_parameters_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(mdm.SpecError, match="must be"):
        mdm.GumbelMax(**bad)  # type: ignore[arg-type]
