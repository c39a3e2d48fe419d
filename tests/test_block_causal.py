"""Block-causal attention (SDAR and its kin): what a position sees, and what that makes exact."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import samplers
from toys import MASK, random_llama, toy_transformer

import mdm_sampling as mdm
from mdm_sampling.canvas import Canvas, Span

tokens = st.integers(1, MASK - 1)


def logits_of(backend: mdm.TransformerBackend, canvas: Canvas) -> torch.Tensor:
    with torch.no_grad():
        return backend.head(backend.trunk(canvas, Span(0, canvas.length), None))


def canvas_of(*rows: list[int]) -> Canvas:
    return Canvas.from_rows([(row, [MASK] * 5) for row in rows], mask_id=MASK, pad_id=0)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("block", [1, 3, 4, 99])
def test_logits_equal_the_plain_model_with_a_mask_written_by_hand(block: int, attention: str) -> None:
    backend = random_llama(layers=2, seed=1, attention_block=block)
    plain = random_llama(layers=2, seed=1, shares_slots=False).model
    backend.model.set_attn_implementation(attention)
    canvas = canvas_of([1, 2, 3, 4, 5, 6, 7], [8, 9], [3])
    found = logits_of(backend, canvas)
    for i in range(canvas.batch):
        row = torch.tensor([canvas.row(i)])
        count = row.shape[1]
        hides = [[0.0 if k // block <= q // block else -torch.inf for k in range(count)] for q in range(count)]
        mask = torch.tensor(hides, dtype=torch.float64)[None, None]
        with torch.no_grad():
            expected = plain(row, attention_mask=mask, is_causal=False).logits[0]
        tolerance = 1e-4 if attention == "eager" else 1e-10  # eager attention takes its softmax in float32
        torch.testing.assert_close(found[i][canvas.valid[i]], expected, atol=tolerance, rtol=0)


def test_blocks_of_one_position_are_a_causal_model() -> None:
    backend = random_llama(layers=2, seed=1, attention_block=1)
    causal = random_llama(layers=2, seed=1, shares_slots=False).model
    causal.config.is_causal = True
    canvas = canvas_of([1, 2, 3, 4])
    with torch.no_grad():
        expected = causal(canvas.tokens).logits
    torch.testing.assert_close(logits_of(backend, canvas), expected, atol=1e-10, rtol=0)


@settings(max_examples=60)
@given(
    data=st.data(),
    attention_block=st.sampled_from([2, 3]),
    prompts=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    cache=st.sampled_from([mdm.PrefixCache(), mdm.DualCache(), mdm.Refresh(mdm.DualCache(), every=2)]),
    shares=st.booleans(),
)
def test_every_cache_is_exact_where_blocks_are_attention_blocks(
    data: st.DataObject, attention_block: int, prompts: list[int], cache: mdm.CacheStrategy, shares: bool
) -> None:
    """What lies before a block never sees it, and what lies after is never seen."""
    backend = toy_transformer(0, shares, attention_block)
    blocks = data.draw(st.integers(1, 2))
    sampler = data.draw(samplers(backend=backend, block_size=blocks * attention_block, cache=mdm.NoCache()))
    if "canvas" in repr(sampler.planner):
        return  # this scope reads the positions after the block, which dual leaves out
    prefix = st.lists(tokens, min_size=attention_block, max_size=attention_block)
    rows = [(data.draw(prefix) * count, [MASK] * data.draw(st.integers(1, 9))) for count in prompts]
    assert replace(sampler, cache=cache).fill(rows).sequences == sampler.fill(rows).sequences


def test_an_attention_block_below_one_is_refused() -> None:
    with pytest.raises(mdm.ModelError, match="attention_block must be at least 1, got 0"):
        random_llama(layers=1, seed=0, attention_block=0)
