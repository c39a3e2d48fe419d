"""Draws: what temperature, top-k and top-p draw, and the noise that they draw with."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from instruments import INFO_GAIN, ROWS, both_shifts, one_layer, plain_logits, watch
from torch import Tensor

import mdm_sampling as mdm


@pytest.mark.defect(9)
@both_shifts
def test_token_temperature_draws_tokens(look_back: int) -> None:
    """Temperature, top-k and top-p decide which token is drawn, and each candidate draws anew, for a right-shifted
    model too."""
    greedy = mdm.Sampler(one_layer(look_back), planner=INFO_GAIN, block_size=4, steps=8)
    hot = replace(greedy, token_sampler=mdm.GumbelMax(2.0))
    draws = {tuple(hot.fill(ROWS[:1], seed).sequences[0]) for seed in range(4)}
    assert len(draws) > 2
    confidence = replace(greedy, planner=mdm.Confidence())
    for cut in (mdm.GumbelMax(2.0, top_k=1), mdm.GumbelMax(2.0, top_p=1e-9), mdm.GumbelMax(1e-6)):
        assert replace(confidence, token_sampler=cut).fill(ROWS).sequences == confidence.fill(ROWS).sequences
    few = replace(confidence, token_sampler=mdm.GumbelMax(5.0, top_k=2))
    unlikely = 0
    for moment in watch(few, ROWS[:2]):
        unmask = moment.record.unmask
        logits = plain_logits(one_layer(look_back), moment.canvas)[:, moment.record.block.positions][unmask]
        written = moment.record.tokens[unmask]
        assert (logits.topk(2).indices == written[:, None]).any(1).all()
        unlikely += int((logits.argmax(-1) != written).sum())
    assert unlikely
    candidates = next(hot.iterate(hot.canvas(ROWS[:1]))).candidates
    assert candidates is not None
    assert len({tuple(tokens.tolist()) for tokens in candidates.tokens[:, 0]}) > 3


@pytest.mark.defect(24)
def test_noise_does_not_lose_precision_with_the_model() -> None:
    """Gumbel noise is float64 whatever the model's dtype, so that its maximum over a vocabulary is not tied and low
    ids are not favoured."""
    vocab, positions = 126_464, 48
    noise = mdm.RowNoise.from_seeds([0], torch.device("cpu")).gumbel([0], vocab)
    assert noise.dtype == torch.float64
    assert int((noise == noise.max()).sum()) == 1
    assert len(noise.unique()) > vocab - 10
    backend = mdm.wrap(
        lambda tokens: torch.zeros(*tokens.shape, vocab, dtype=torch.bfloat16), mask_id=vocab - 1, vocab_size=vocab
    )
    sampler = mdm.Sampler(
        backend, planner=mdm.Confidence(), token_sampler=mdm.GumbelMax(), block_size=positions, steps=1
    )
    (drawn,) = sampler.fill([([], [vocab - 1] * positions)]).sequences
    assert 0.35 < sum(drawn) / positions / vocab < 0.65


@pytest.mark.defect(24)
def test_position_noise_is_float64_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """All noise of a bfloat16 model's run, for tokens and for positions, is float64."""
    backend = one_layer()
    backend.model.bfloat16()
    kinds: dict[str, set[torch.dtype]] = {"uniform": set(), "gumbel": set()}
    for name, seen in kinds.items():
        draw = getattr(mdm.RowNoise, name)

        def spy(*args: object, draw: Callable[..., Tensor] = draw, seen: set[torch.dtype] = seen) -> Tensor:
            drawn = draw(*args)
            seen.add(drawn.dtype)
            return drawn

        monkeypatch.setattr(mdm.RowNoise, name, spy)
    sampler = mdm.Sampler(backend, planner=INFO_GAIN, token_sampler=mdm.GumbelMax(), block_size=8, steps=4)
    sampler.fill(ROWS)
    replace(sampler, planner=mdm.Random()).fill(ROWS)
    assert kinds == {"uniform": {torch.float64}, "gumbel": {torch.float64}}
