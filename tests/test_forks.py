"""Forks: shared slots against copied ones, each kernel against its definition, and what a fork leaves untouched."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import MASK, random_llama, toy_transformer

import mdm_sampling as mdm
from mdm_sampling.backends import forks
from mdm_sampling.backends.forks import attend_with_lse, merged, plain_attention
from mdm_sampling.backends.visibility import bias_of

Rows = list[tuple[list[int], list[int]]]
tokens = st.integers(1, MASK - 1)


@st.composite
def forked(draw: st.DrawFn) -> tuple[Rows, mdm.Span, list[int]]:
    """Ragged rows, a span inside their bodies, and the row of each candidate; some rows may have none."""
    prefixes = draw(st.lists(st.lists(tokens, max_size=5), min_size=1, max_size=4))
    length = draw(st.integers(2, 8))
    rows = [(prefix, [MASK] * draw(st.integers(1, length))) for prefix in prefixes]
    start = max(len(prefix) for prefix in prefixes)
    width = start + max(len(body) for _, body in rows)
    first = draw(st.integers(start, width - 1))
    stop = draw(st.integers(first + 1, width))
    owners = draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=6))
    return rows, mdm.Span(first, stop), owners


@settings(max_examples=150)
@given(
    case=forked(),
    look_back=st.sampled_from([0, 1]),
    attention_block=st.sampled_from([None, 1, 3]),
    plain=st.booleans(),
    seed=st.integers(0, 99),
)
def test_shared_slots_equal_copied_ones(
    case: tuple[Rows, mdm.Span, list[int]], look_back: int, attention_block: int | None, plain: bool, seed: int
) -> None:
    """In float64, with padding on both sides, grouped queries, rows without candidates, and by either kernel."""
    rows, span, owners = case
    torch.manual_seed(seed)
    hidden = []
    for shares in (True, False):
        backend = toy_transformer(look_back, shares, attention_block)
        canvas = mdm.Canvas.from_rows(rows, mask_id=MASK, pad_id=backend.pad_id)
        slots = backend.allocate()
        backend.trunk(canvas, mdm.Span(0, canvas.length), slots)
        before = [tensor.clone() for tensor in (*slots.keys, *slots.values)]  # type: ignore[attr-defined]
        owner = torch.tensor(owners)
        futures = canvas.select(owner)
        filled = torch.rand(len(owners), len(span), generator=torch.Generator().manual_seed(seed)) < 0.5
        futures = futures.commit(
            span, filled & futures.masked[:, span.positions], torch.full_like(filled, 3, dtype=int)
        )
        with pytest.MonkeyPatch.context() as patch, torch.no_grad():
            if plain:
                patch.setattr(forks, "flash_on_cpu", plain_attention)
            found = backend.trunk(futures, span, slots, owner)
        hidden.append(found[futures.valid[:, span.positions]])
        for old, new in zip(before, (*slots.keys, *slots.values), strict=True):  # type: ignore[attr-defined]
            assert torch.equal(old, new), "a fork wrote a slot"
    torch.testing.assert_close(hidden[0], hidden[1], atol=1e-10, rtol=0)


@settings(max_examples=60)
@given(
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
    queries=st.integers(1, 9),
    keys=st.integers(1, 40),
    seed=st.integers(0, 99),
    padded=st.booleans(),
)
def test_the_kernel_computes_attention_and_its_log_sum_exp(
    dtype: torch.dtype, queries: int, keys: int, seed: int, padded: bool
) -> None:
    """Against the definition in float64; a row whose keys are all hidden stays finite."""
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(3, 2, queries, 8, generator=generator).to(dtype)
    key, value = (torch.randn(3, 2, keys, 8, generator=generator).to(dtype) for _ in range(2))
    valid = torch.rand(3, keys, generator=generator) < 0.7
    valid[0] = False
    bias = bias_of(valid[:, None], dtype) if padded else None
    tolerance = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 0.05}[dtype]
    exact = plain_attention(query.double(), key.double(), value.double(), bias_of(valid[:, None], torch.float64), 0.3)
    for attend in (attend_with_lse, plain_attention):
        output, lse = attend(query, key, value, bias, 0.3)
        assert torch.isfinite(output).all()
        assert torch.isfinite(lse).all()
        rows = slice(1, None)
        if padded and bool(valid[rows].any(-1).all()):
            torch.testing.assert_close(output.double()[rows], exact[0][rows], atol=tolerance, rtol=0)
            torch.testing.assert_close(lse.double()[rows], exact[1][rows], atol=tolerance, rtol=0)


@given(cut=st.integers(1, 19), seed=st.integers(0, 99))
def test_merged_parts_are_attention_over_all_keys(cut: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    query, key, value = (torch.randn(2, 2, n, 8, generator=generator).double() * 3 for n in (5, 20, 20))
    first, second = slice(0, cut), slice(cut, 20)
    parts = [plain_attention(query, key[:, :, part], value[:, :, part], None, 0.5) for part in (first, second)]
    hidden = plain_attention(query, key, value, bias_of(torch.zeros(2, 1, 20, dtype=torch.bool), torch.float64), 0.5)
    torch.testing.assert_close(merged([*parts, hidden]), plain_attention(query, key, value, None, 0.5)[0])


def test_a_wrapped_model_computes_what_it_did_and_is_wrapped_once() -> None:
    model = random_llama(layers=1, seed=0, shares_slots=False).model
    ids = torch.randint(0, MASK, (2, 6))
    before = model(ids, is_causal=False).logits
    for _ in range(2):
        backend = mdm.TransformerBackend(model, MASK)
        assert backend.shares_slots
        assert model.config._attn_implementation.count("shared-slots-") == 1
        assert torch.equal(model(ids, is_causal=False).logits, before)


def test_a_shared_fork_copies_no_slots() -> None:
    """The keys and values that attention reads are views of the slots."""
    backend = toy_transformer(0, True)
    canvas = mdm.Canvas.from_rows([([1, 2, 3], [MASK] * 6)], mask_id=MASK, pad_id=backend.pad_id)
    slots = backend.allocate()
    backend.trunk(canvas, mdm.Span(0, 9), slots)
    storages = {tensor.untyped_storage().data_ptr() for tensor in (*slots.keys, *slots.values)}  # type: ignore[attr-defined]
    seen: list[tuple[int, int]] = []

    def spy(query: torch.Tensor, key: torch.Tensor, *rest: object) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append((key.shape[2], key.untyped_storage().data_ptr()))
        return plain_attention(query, key, *rest)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forks, "attend_with_lse", spy)
        backend.trunk(canvas.select(torch.zeros(4, dtype=torch.long)), mdm.Span(4, 7), slots, torch.zeros(4).long())
    own = [pointer for keys, pointer in seen if keys == 3]
    shared = [(keys, pointer) for keys, pointer in seen if keys != 3]
    assert sorted(keys for keys, _ in shared) == [2, 2, 4, 4]
    assert {pointer for _, pointer in shared} <= storages
    assert not set(own) & storages


def test_plain_attention_computes_scores_above_half_precision() -> None:
    """Raw scores of 90,000 overflow float16; scaled and in float32 they are 900."""
    query, key = torch.full((1, 1, 1, 1), 300.0).half(), torch.tensor([300.0, 299.0]).half().view(1, 1, 2, 1)
    output, lse = plain_attention(query, key, torch.tensor([1.0, 0.0]).half().view(1, 1, 2, 1), None, 0.01)
    assert lse.item() == pytest.approx(900 + math.log1p(math.exp(-3)), abs=1e-3)
    assert output.item() == pytest.approx(1 / (1 + math.exp(-3)), abs=1e-3)
