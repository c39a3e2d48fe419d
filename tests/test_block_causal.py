"""Block-causal attention (SDAR and its kin): what a position sees, and what that makes exact."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from instruments import spy_on_trunk
from naive_families import PLANS, NaiveDecoder
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


@settings(max_examples=100)
@given(
    data=st.data(),
    attention_block=st.sampled_from([mdm.AttentionBlocks(2), mdm.AttentionBlocks(3), mdm.AttentionBlocks(3, "prompt")]),
    cache=st.sampled_from([mdm.PrefixCache(), mdm.DualCache(), mdm.Refresh(mdm.DualCache(), every=2)]),
    look_back=st.integers(0, 1),
    shares=st.booleans(),
)
def test_every_cache_is_exact(
    data: st.DataObject, attention_block: mdm.AttentionBlocks, cache: mdm.CacheStrategy, look_back: int, shares: bool
) -> None:
    """What lies before a block never sees it, and what lies after is never seen, however long the prompts are."""
    backend = toy_transformer(look_back, shares, attention_block)
    size = data.draw(st.integers(1, 2)) * attention_block.length
    sampler = data.draw(samplers(backend=backend, block_size=size, cache=mdm.NoCache()))
    if "canvas" in repr(sampler.planner):
        return  # this scope reads the positions after the block, which dual leaves out
    row = st.tuples(st.lists(tokens, max_size=7), st.integers(1, 9).map(lambda count: [MASK] * count))
    rows = data.draw(st.lists(row, min_size=1, max_size=3))
    exact = sampler.fill(rows).sequences
    assert replace(sampler, cache=cache).fill(rows).sequences == exact
    assert [replace(sampler, cache=cache).fill([row]).sequences[0] for row in rows] == exact


@given(data=st.data(), prompts=st.lists(st.lists(tokens, max_size=7), min_size=1, max_size=3))
def test_texts_with_masks_between_them_are_exact(data: st.DataObject, prompts: list[list[int]]) -> None:
    """A row may have nothing to fill in a block that others fill; what it wrote before is then computed anew."""
    sampler = mdm.Sampler(toy_transformer(0, True, 2), planner=mdm.Confidence(), cache=mdm.NoCache(), block_size=2)
    mixed = st.lists(st.sampled_from([1, 2, MASK]), min_size=1, max_size=9).filter(lambda body: MASK in body)
    rows = [(prompt, data.draw(mixed)) for prompt in prompts]
    exact = sampler.fill(rows).sequences
    for cache in ("prefix", "dual"):
        assert sampler.replace(cache=cache).fill(rows).sequences == exact


def test_blocks_of_another_size_than_attention_blocks_are_computed_on_the_whole_canvas() -> None:
    """Then a block's positions see what comes after it."""
    backend = toy_transformer(0, True, 4)
    forwards = spy_on_trunk(backend)
    sampler = mdm.Sampler(backend, planner=mdm.Confidence(), cache=mdm.NoCache(), block_size=6)
    sampler.fill([([1] * 4, [MASK] * 12)])
    assert {(forward.span.start, forward.span.stop) for forward in forwards} == {(0, 16)}


def test_a_canvas_that_cuts_attention_blocks_is_computed_whole() -> None:
    backend = toy_transformer(0, True, 4)
    forwards = spy_on_trunk(backend)
    sampler = mdm.Sampler(backend, planner=mdm.Confidence(), cache=mdm.DualCache(), block_size=4)
    list(sampler.iterate(Canvas.from_rows([([1] * 5, [MASK] * 8)], mask_id=MASK, pad_id=0)))
    assert [(forward.span.start, forward.span.stop) for forward in forwards][::4] == [(0, 13), (0, 13)]


PROMPT, BLOCK, BLOCKS = [3, 1, 2, 5, 4, 2, 1, 3, 3, 2], 4, 3


def published_loop(model: Any, prompt: list[int]) -> tuple[list[int], int]:
    """SDAR's own loop, written plainly: its tokens, and how many positions its forwards compute with a cache.

    The prompt's whole blocks are written first. Each block, the first of which may begin with the prompt's tail, is
    filled by one position a step, the most confident one, and is written once more when it is done.
    """
    begin = len(prompt) // BLOCK * BLOCK
    row = prompt + [MASK] * (begin + BLOCK * BLOCKS - len(prompt))
    computed = begin
    for start in range(begin, len(row), BLOCK):
        stop = start + BLOCK
        hides = [[0.0 if k // BLOCK <= q // BLOCK else -torch.inf for k in range(stop)] for q in range(stop)]
        mask = torch.tensor(hides, dtype=torch.float64)[None, None]
        while MASK in row[start:stop]:
            logits = model(torch.tensor([row[:stop]]), attention_mask=mask, is_causal=False).logits[0]
            logits[:, MASK] = -torch.inf
            best = logits.softmax(-1).max(-1)
            at = max((i for i in range(start, stop) if row[i] == MASK), key=lambda i: float(best.values[i]))
            row[at] = int(best.indices[at])
            computed += BLOCK
        computed += BLOCK
    return row, computed


@pytest.mark.parametrize("cache", ["prefix", "dual"])
@pytest.mark.parametrize("length", [8, 10, 0, 3])
def test_tokens_and_cost_are_those_of_the_published_loop(length: int, cache: str) -> None:
    """Each position of a block is computed once for each step, and once more when the block is done."""
    prompt = PROMPT[:length]
    backend = random_llama(layers=2, seed=1, attention_block=BLOCK)
    with torch.no_grad():
        expected, computed = published_loop(random_llama(layers=2, seed=1, shares_slots=False).model, prompt)
    sampler = mdm.Sampler(backend, planner="confidence", cache=cache, block_size=BLOCK, steps=64, schedule="constant:1")
    result = sampler.fill([(prompt, [MASK] * (len(expected) - length))])
    assert result.sequences == [expected]
    # The published loop writes the last block, too, which nobody reads.
    assert result.rows[0].token_forwards == computed - BLOCK


def test_the_text_of_an_answer_begins_after_the_prompt(tmp_path: Path) -> None:
    """Also where the prompt's last tokens share an attention block with it."""
    backend = mdm.load_backend(NaiveDecoder(next(plan for plan in PLANS if plan.family == "sdar")).save(tmp_path))
    assert backend.codec is not None
    sampler = mdm.Sampler(backend, max_new_tokens=6, block_size=4, steps=6)
    for prompt in ("ab", "abc", "abcd", "abcde"):
        result = sampler.generate(prompt, chat=False)
        assert result.texts[0] == backend.codec.decode(result.sequences[0][len(prompt) :])
        assert [*sampler.stream(prompt, chat=False)][-1] == result.texts[0]


def test_an_attention_block_below_one_is_refused() -> None:
    with pytest.raises(mdm.ModelError, match="attention_block must be at least 1, got 0"):
        random_llama(layers=1, seed=0, attention_block=0)


@pytest.mark.parametrize("cache", ["none", "prefix", "dual"])
@pytest.mark.parametrize("planner", ["confidence", "info-gain:3", "speculate"])
def test_a_growing_canvas_ends_with_the_block_at_work(cache: str, planner: str) -> None:
    """A block is filled as if the canvas ended with it: block after block, each from what the last one left."""
    backend = toy_transformer(1)
    sampler = mdm.Sampler(backend, planner=planner, cache=cache, block_size=3, steps=64, schedule="constant:1")
    rows = [([1, 2], [MASK] * 8), ([3], [MASK] * 5)]
    grown = sampler.replace(growing=True).fill(rows).sequences
    for (prefix, body), found in zip(rows, grown, strict=True):
        row = list(prefix)
        for first in range(0, len(body), 3):
            masks = [MASK] * min(3, len(body) - first)
            row += sampler.fill([(row, masks)]).sequences[0][len(row) :]
        assert row == found
    assert grown != sampler.fill(rows).sequences
    forwards = spy_on_trunk(backend)
    sampler.replace(growing=True).fill(rows)
    assert max(forward.span.stop for forward in forwards[:3]) == 5
