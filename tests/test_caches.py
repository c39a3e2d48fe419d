"""Cache strategies: which spans they choose, and that the loop holds them to their contract."""

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import caches, rows, samplers, untied_bodies
from toys import MASK, toy_callable, toy_transformer

import mdm_sampling as mdm
from mdm_sampling.canvas import Span

Rows = list[tuple[list[int], list[int]]]
BLOCK = Span(5, 9)


@pytest.mark.parametrize(
    ("cache", "spans"),
    [
        (mdm.NoCache(), [(0, 20), (0, 20), (0, 20)]),
        (mdm.PrefixCache(), [(0, 20), (5, 20), (5, 20)]),
        (mdm.DualCache(), [(0, 20), (5, 9), (5, 9)]),
        (mdm.Refresh(mdm.DualCache(), every=2), [(0, 20), (5, 9), (0, 20)]),
        (mdm.Refresh(mdm.PrefixCache(), every=3), [(0, 20), (5, 20), (5, 20)]),
    ],
    ids=str,
)
def test_spans(cache: mdm.CacheStrategy, spans: list[tuple[int, int]]) -> None:
    assert [cache.span(BLOCK, 20, step) for step in range(3)] == [Span(*span) for span in spans]


@given(cache=caches, start=st.integers(0, 5), width=st.integers(1, 5), after=st.integers(0, 5), step=st.integers(0, 9))
def test_a_span_covers_the_block_and_the_first_is_the_whole_canvas(
    cache: mdm.CacheStrategy, start: int, width: int, after: int, step: int
) -> None:
    block, length = Span(start, start + width), start + width + after
    span = cache.span(block, length, step)
    assert span.covers(block)
    assert span.stop <= length
    assert cache.span(block, length, 0) == Span(0, length)
    assert cache.span(block, length, step) == span


@dataclass(frozen=True)
class Whole(mdm.CacheStrategy):
    """Keeps slots but recomputes everything."""

    def span(self, block: Span, length: int, step: int) -> Span:
        return Span(0, length)


@settings(max_examples=40)
@given(sampler=samplers(cache=mdm.NoCache()), rows=rows)
def test_a_strategy_that_recomputes_everything_equals_no_cache_bit_for_bit(sampler: mdm.Sampler, rows: Rows) -> None:
    canvas = sampler.canvas(rows)
    for other in (Whole(), mdm.Refresh(mdm.DualCache(), every=1)):
        kept = replace(sampler, cache=other)
        for a, b in zip(sampler.iterate(canvas), kept.iterate(canvas), strict=True):
            assert torch.equal(a.canvas.tokens, b.canvas.tokens)
            assert torch.equal(a.entropy, b.entropy)


@settings(max_examples=30)
@given(sampler=samplers(backend=toy_callable(), cache=mdm.NoCache()), rows=rows, cache=caches)
def test_a_callable_gives_the_result_of_no_cache_under_every_cache(
    sampler: mdm.Sampler, rows: Rows, cache: mdm.CacheStrategy
) -> None:
    """A callable cannot keep keys and values. Scope `canvas` reads only the span, so it is left out."""
    if "canvas" in repr(sampler.planner):
        return
    assert replace(sampler, cache=cache).fill(rows).sequences == sampler.fill(rows).sequences


@settings(max_examples=40)
@given(
    sampler=samplers(block_size=10),
    bodies=st.lists(untied_bodies, min_size=1, max_size=3),
    cache=st.sampled_from([mdm.PrefixCache(), mdm.DualCache()]),
)
def test_one_block_without_a_prompt_is_exact_under_every_cache(
    sampler: mdm.Sampler, bodies: list[list[int]], cache: mdm.CacheStrategy
) -> None:
    """Where the block is the whole canvas nothing can be stale."""
    rows: Rows = [([], body) for body in bodies]
    none = replace(sampler, cache=mdm.NoCache()).fill(rows)
    assert replace(sampler, cache=cache).fill(rows).sequences == none.sequences


def test_a_refresh_that_comes_due_is_done_even_if_the_lookahead_was_computed() -> None:
    """A lookahead writes no slots, so a refreshing forward may not be skipped: later steps read what it writes."""
    written = []
    backend = toy_transformer()
    trunk = backend.trunk

    def spy(canvas: mdm.Canvas, span: Span, slots: mdm.Slots | None, rows: torch.Tensor | None = None) -> torch.Tensor:
        if rows is None:
            written.append(len(span))
        return trunk(canvas, span, slots, rows)

    sampler = mdm.Sampler(
        backend, planner=mdm.InfoGain(position_temperature=1.0), cache=mdm.Refresh(mdm.DualCache(), every=3),
        steps=8, block_size=8,
    )  # fmt: skip
    backend.trunk = spy  # type: ignore[method-assign]
    try:
        sampler.fill([([1, 2], [MASK] * 8 + [3, 4])])
    finally:
        backend.trunk = trunk  # type: ignore[method-assign]
    assert written == [12, 12, 12]


@dataclass(frozen=True)
class Lazy(mdm.CacheStrategy):
    """Broken: never sees the whole canvas."""

    def span(self, block: Span, length: int, step: int) -> Span:
        return block


@dataclass(frozen=True)
class Short(mdm.CacheStrategy):
    """Broken: leaves out the end of the block."""

    def span(self, block: Span, length: int, step: int) -> Span:
        return Span(0, length) if step == 0 else Span(block.start, block.stop - 1)


@pytest.mark.parametrize(("broken", "fault"), [(Lazy(), "whole canvas"), (Short(), "does not cover")])
def test_a_broken_strategy_is_named(broken: mdm.CacheStrategy, fault: str) -> None:
    sampler = mdm.Sampler(toy_transformer(), planner=mdm.Confidence(), cache=broken, block_size=4, steps=8)
    with pytest.raises(mdm.ContractError, match=rf"cache {type(broken).__name__}\(\) .*{fault}"):
        sampler.fill([([1], [MASK] * 8)])


@dataclass(frozen=True)
class Lying(mdm.CacheStrategy):
    """Broken: says that it reads no slots, and then recomputes the block alone."""

    @property
    def reads_slots(self) -> bool:
        return False

    def span(self, block: Span, length: int, step: int) -> Span:
        return Span(0, length) if step == 0 else block


def test_a_strategy_that_reads_slots_it_does_not_keep_is_named() -> None:
    sampler = mdm.Sampler(toy_transformer(), planner=mdm.Confidence(), cache=Lying(), block_size=4, steps=8)
    with pytest.raises(mdm.ContractError, match=r"cache Lying\(\) reads no slots"):
        sampler.fill([([1], [MASK] * 8)])
