"""LLaDA and Dream checkpoints against independent naive forwards, at every position, under every cache, padded or
not.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from naive import Naive, NaiveDream, NaiveLLaDA, save_dream, save_llada

import mdm_sampling as mdm
from mdm_sampling.canvas import Canvas, Span

CACHES = [mdm.NoCache(), mdm.PrefixCache(), mdm.DualCache()]
FAMILIES = [(NaiveLLaDA, save_llada), (NaiveDream, save_dream)]


@pytest.fixture(scope="module", params=FAMILIES, ids=["llada", "dream"])
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Naive, Path]:
    naive_class, save = request.param
    naive = naive_class(seed=1)
    return naive, save(naive, tmp_path_factory.mktemp("checkpoint"))


def rows_of(naive: Naive, *prompt_lengths: int, body: int = 11) -> list[tuple[list[int], list[int]]]:
    generator = torch.Generator().manual_seed(5)
    rows = []
    for length in prompt_lengths:
        prompt = torch.randint(3, 30, (length,), generator=generator).tolist()
        rows.append((prompt, [naive.mask_id] * body))
    return rows


def logits_of(backend: mdm.ModelBackend, canvas: Canvas, span: Span, slots: mdm.Slots | None) -> torch.Tensor:
    with torch.no_grad():
        return backend.head(backend.trunk(canvas, span, slots))


@pytest.mark.parametrize("lengths", [(7,), (0,), (7, 3, 12), (0, 5)], ids=str)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_logits_equal_a_naive_forward(family: tuple[Naive, Path], lengths: tuple[int, ...], attention: str) -> None:
    naive, folder = family
    backend = mdm.load_backend(str(folder), attn_implementation=attention)
    sampler = mdm.Sampler(backend)
    canvas = sampler.canvas(rows_of(naive, *lengths))
    logits = logits_of(backend, canvas, Span(0, canvas.length), None)
    for i in range(len(lengths)):
        expected = naive.predict(torch.tensor(canvas.row(i)))
        torch.testing.assert_close(logits[i][canvas.valid[i]], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("cache", CACHES, ids=mdm.describe)
@pytest.mark.parametrize("lengths", [(7,), (7, 3, 12)], ids=str)
def test_every_block_entry_equals_a_naive_forward(
    family: tuple[Naive, Path], cache: mdm.CacheStrategy, lengths: tuple[int, ...]
) -> None:
    """The forward that enters a block sees the canvas as it is, at every position, whatever the cache."""
    naive, folder = family
    backend = mdm.load_backend(str(folder))
    sampler = mdm.Sampler(backend, planner=mdm.Confidence(), cache=cache, block_size=4, steps=6)
    canvas = sampler.canvas(rows_of(naive, *lengths))
    seen: list[tuple[Canvas, torch.Tensor]] = []
    trunk = backend.trunk

    def spy(canvas: Canvas, span: Span, slots: mdm.Slots | None, rows: torch.Tensor | None = None) -> torch.Tensor:
        hidden = trunk(canvas, span, slots, rows)
        if len(span) == canvas.length:
            seen.append((canvas, hidden))
        return hidden

    backend.trunk = spy  # type: ignore[method-assign]
    list(sampler.iterate(canvas))
    assert len(seen) >= 3
    with torch.no_grad():
        for state, hidden in seen:
            for i in range(state.batch):
                expected = naive.predict(torch.tensor(state.row(i)))
                got = backend.head(hidden[i][state.valid[i]])
                torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_a_block_forward_equals_recomputing_everything_when_nothing_outside_changed(family: tuple[Naive, Path]) -> None:
    """Right after entering a block, recomputing only the block (with its look-back) gives the same block logits."""
    naive, folder = family
    backend = mdm.load_backend(str(folder), dtype="float64")
    canvas = mdm.Sampler(backend).canvas(rows_of(naive, 7, 3))
    slots = backend.allocate()
    whole = logits_of(backend, canvas, Span(0, canvas.length), slots)
    for span in (Span(7, 11), Span(11, 15), Span(11, 18), Span(7, 18)):
        part = logits_of(backend, canvas, span, slots)
        torch.testing.assert_close(part, whole[:, span.positions], atol=1e-12, rtol=1e-12)


def test_a_fork_equals_a_forward_of_the_forked_canvas_and_writes_nothing(family: tuple[Naive, Path]) -> None:
    naive, folder = family
    backend = mdm.load_backend(str(folder), dtype="float64")
    canvas = mdm.Sampler(backend).canvas(rows_of(naive, 7, 3))
    slots = backend.allocate()
    block, span = Span(11, 15), Span(11, 18)
    logits_of(backend, canvas, Span(0, canvas.length), slots)
    kept = [k.clone() for k in slots.keys] + [v.clone() for v in slots.values]  # type: ignore[attr-defined]
    rows = torch.tensor([0, 1, 0, 1, 1])
    unmask = torch.rand(5, 4, generator=torch.Generator().manual_seed(0)) < 0.5
    tokens = torch.randint(3, 30, (5, 4), generator=torch.Generator().manual_seed(1))
    futures = canvas.fork(rows, block, unmask, tokens)
    with torch.no_grad():
        forked = backend.head(backend.trunk(futures, span, slots, rows))
    assert all(torch.equal(a, b) for a, b in zip(kept, [*slots.keys, *slots.values], strict=True))  # type: ignore[attr-defined]
    for i, row in enumerate(rows.tolist()):
        written = backend.allocate()
        alone = torch.tensor([row])
        logits_of(backend, canvas.select(alone), Span(0, canvas.length), written)
        expected = logits_of(backend, futures.select(torch.tensor([i])), span, written)
        torch.testing.assert_close(forked[i : i + 1], expected, atol=1e-12, rtol=1e-12)


def test_bfloat16_stays_within_the_rounding_of_a_naive_bfloat16_forward(family: tuple[Naive, Path]) -> None:
    naive, folder = family
    backend = mdm.load_backend(str(folder), dtype="bfloat16")
    tokens = torch.randint(3, 30, (96,), generator=torch.Generator().manual_seed(3))
    canvas = mdm.Sampler(backend).canvas([(tokens[:-1].tolist(), [naive.mask_id])])
    exact = naive.predict(torch.tensor(canvas.row(0)), torch.float64)
    plain = (naive.predict(torch.tensor(canvas.row(0)), torch.bfloat16).double() - exact).square().mean().sqrt()
    ours = logits_of(backend, canvas, Span(0, canvas.length), None)[0].double()
    assert backend.model.model.rotary_emb.inv_freq.dtype == torch.float32  # type: ignore[attr-defined]
    assert (ours - exact).square().mean().sqrt() < 1.1 * plain


def test_llada_rotates_in_float32_in_bfloat16(tmp_path: Path) -> None:
    """The queries and keys that attention receives equal a float32 rotation rounded once, not a bfloat16 rotation."""
    from transformers import AttentionInterface

    backend = mdm.load_backend(str(save_llada(NaiveLLaDA(seed=1), tmp_path)), dtype="bfloat16")
    attention = backend.model.model.layers[0].self_attn  # type: ignore[attr-defined]
    assert "float32-rotation-" in attention.config._attn_implementation
    x = torch.randn(1, 64, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    positions = torch.arange(60, 124)[None]
    seen = {}

    def spy(module: object, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *_: object, **__: object) -> object:
        seen["query"], seen["key"] = q, k
        return v.transpose(1, 2), None

    AttentionInterface.register("spy", spy)
    attention.config._attn_implementation = "spy"
    with torch.no_grad():
        attention(x, backend.model.model.rotary_emb(x, positions), None)  # type: ignore[attr-defined]
        query = attention.q_proj(x).view(1, 64, 4, 8).transpose(1, 2)
    from naive import rotate

    expected = torch.stack([rotate(query[0, h].float(), positions[0], 500_000.0, True) for h in range(4)])
    torch.testing.assert_close(seen["query"][0].float(), expected, atol=1e-5, rtol=1e-5)


def test_sharded_and_grouped_checkpoints_load(tmp_path: Path) -> None:
    naive = NaiveLLaDA(seed=3, kv_heads=2)
    backend = mdm.load_backend(str(save_llada(naive, tmp_path, shards=3)))
    canvas = mdm.Sampler(backend).canvas(rows_of(naive, 5))
    logits = logits_of(backend, canvas, Span(0, canvas.length), None)
    torch.testing.assert_close(logits[0], naive.predict(torch.tensor(canvas.row(0))), atol=1e-5, rtol=1e-5)


def test_tied_llada_needs_no_head_weight(tmp_path: Path) -> None:
    naive = NaiveLLaDA(seed=4)
    del naive.weights[naive.top["head"]]
    backend = mdm.load_backend(str(save_llada(naive, tmp_path, weight_tying=True)))
    naive.weights[naive.top["head"]] = naive.weights[naive.top["embed"]]
    canvas = mdm.Sampler(backend).canvas(rows_of(naive, 5))
    logits = logits_of(backend, canvas, Span(0, canvas.length), None)
    torch.testing.assert_close(logits[0], naive.predict(torch.tensor(canvas.row(0))), atol=1e-5, rtol=1e-5)


def test_ids_come_from_the_checkpoint(family: tuple[Naive, Path]) -> None:
    naive, folder = family
    backend = mdm.load_backend(str(folder))
    assert (backend.mask_id, backend.eos_ids, backend.max_length) == (naive.mask_id, naive.eos_ids, 128)
    assert backend.pad_id != backend.mask_id


def test_text_round_trips_through_both_tokenizers(family: tuple[Naive, Path]) -> None:
    naive, folder = family
    codec = mdm.load_backend(str(folder)).codec
    assert codec is not None
    assert codec.decode(codec.encode("what is this?", chat=False)) == "what is this?"
    chat = codec.tokenizer.decode(codec.encode("hi"))
    assert "hi" in chat
    assert "assistant" in chat
    assert codec.encode("hi") == codec.encode([{"role": "user", "content": "hi"}])
    prefix, body = codec.encode_masked("a[MASK]b[MASK:3]")
    assert [token == naive.mask_id for token in body] == [False, True, False, True, True, True]
    assert prefix == []


def test_every_planner_and_cache_fills_both_families(family: tuple[Naive, Path]) -> None:
    naive, folder = family
    base = mdm.load(str(folder), max_new_tokens=10, block_size=4, steps=6)
    for planner in ("random", "margin", "bypass", "info-gain:candidates=3"):
        for cache in ("none", "prefix", "dual", "refresh:every=2"):
            sampler = replace(base, planner=mdm.build("planners", planner), cache=mdm.build("caches", cache))
            result = sampler.generate(["hello", "a"], seed=1)
            assert all(naive.mask_id not in sequence for sequence in result.sequences)


def test_bfloat16_slots_hold_bfloat16_keys(tmp_path: Path) -> None:
    """LLaDA's keys leave the rotation in float32; kept like that they would cost twice the memory."""
    naive = NaiveLLaDA(seed=1)
    backend = mdm.load_backend(str(save_llada(naive, tmp_path)), dtype=torch.bfloat16)
    canvas = mdm.Sampler(backend).canvas(rows_of(naive, 5))
    slots = backend.allocate()
    logits_of(backend, canvas, Span(0, canvas.length), slots)
    assert {keys.dtype for keys in slots.keys} == {torch.bfloat16}  # type: ignore[attr-defined]
