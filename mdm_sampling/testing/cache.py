"""What a cache strategy must hold."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from ..caches import CacheStrategy, NoCache
from ..canvas import Span
from ..contract import check_span
from .cases import PLANNERS, Case, cases, decode
from .models import UNTIED
from .repeats import same_alone
from .rules import EXAMPLES, VALUE, Rule, blamed, expect, for_all, run_rules


def check_cache(cache: CacheStrategy, examples: int = EXAMPLES) -> None:
    """Raise `ConformanceError` unless a cache strategy keeps its contract."""
    run_rules(RULES, CacheStrategy, cache, examples)


@st.composite
def _positions(draw: st.DrawFn) -> tuple[Span, int, int]:
    """A block, the canvas's length and a step."""
    start = draw(st.integers(0, 9))
    stop = draw(st.integers(start + 1, start + 8))
    return Span(start, stop), draw(st.integers(stop, stop + 9)), draw(st.integers(0, 12))


def _check_spans(cache: CacheStrategy, examples: int) -> None:
    """A span covers the block and lies in the canvas; the first is the whole canvas; the method is pure."""

    def check(case: tuple[Span, int, int]) -> None:
        block, length, step = case
        with blamed(cache, "a span that covers the block, and the whole canvas at step 0", case):
            spans = [check_span(cache, cache.span(block, length, n), block, length, n) for n in (0, step, step)]
        expect(spans[1] == spans[2], cache, "the same span when asked again", f"{spans[1]}, then {spans[2]}", case)

    for_all(_positions(), examples * 4, check)


def _check_runs(cache: CacheStrategy, examples: int) -> None:
    """Any planner comes to an end under it, and gives the result of no cache where nothing can be stale."""

    def check(case: tuple[Case, int]) -> None:
        drawn = replace(case[0], cache=cache, planner=PLANNERS[case[1]])
        with blamed(cache, "a run that comes to its end", drawn):
            found = decode(drawn)
        if not drawn.model.startswith("attending"):  # keeps no keys and values
            exact = decode(replace(drawn, cache=NoCache()))
            got = f"{found.sequences}, without a cache {exact.sequences}"
            expect(found.sequences == exact.sequences, cache, "the result of no cache", got, drawn)

    for_all(st.tuples(cases(models=UNTIED), st.integers(0, len(PLANNERS) - 1)), examples, check)


RULES = (
    VALUE,
    Rule("names spans that cover the block, the whole canvas first, and always the same", _check_spans),
    Rule("lets any planner come to its end, exactly where nothing can be stale", _check_runs),
    same_alone("cache"),
)
