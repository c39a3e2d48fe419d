"""Cases: a sampler around the part under test, a batch of rows and a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product

from hypothesis import strategies as st

from ..caches import CacheStrategy, DualCache, NoCache, PrefixCache, Refresh
from ..errors import repr_of
from ..planners.base import PositionPlanner
from ..planners.bypass import Bypass
from ..planners.info_gain import InfoGain
from ..planners.scores import Confidence, Random
from ..planners.speculate import Speculate
from ..registry.specs import describe
from ..sampler import Sampler
from ..schedules import Constant, Cosine, Schedule, Uniform
from ..token_samplers import Greedy, GumbelMax, TokenSampler
from .models import MODELS

Rows = list[tuple[list[int], list[int]]]

CACHES = (NoCache(), PrefixCache(), DualCache(), Refresh(DualCache(), every=2))
_SCHEDULES = (Uniform(), Cosine(), Constant(3))
_TOKEN_SAMPLERS = (Greedy(), GumbelMax(temperature=1.0))
PLANNERS = (Confidence(), Random(), InfoGain(candidates=3), Bypass(0.5, InfoGain(candidates=2)), Speculate(drafts=2))


@dataclass(frozen=True)
class Case:
    """What a part is tried on.

    Attributes:
        model: a name in `MODELS`.
        rows: (prefix, body) token ids of one to four rows.
        block_size: positions of a block.
        steps: steps for the whole body.
        seed: the rows' seed.
        planner: the planner, around which `threshold` may put a bypass.
        cache: the cache strategy.
        token_sampler: the token sampler.
        schedule: the schedule.
        threshold: of a bypass around the planner; None for no bypass.
    """

    model: str
    rows: Rows
    block_size: int
    steps: int
    seed: int
    planner: PositionPlanner = field(default_factory=Confidence)
    cache: CacheStrategy = field(default_factory=NoCache)
    token_sampler: TokenSampler = field(default_factory=Greedy)
    schedule: Schedule = field(default_factory=Uniform)
    threshold: float | None = None

    @property
    def sampler(self) -> Sampler:
        planner = self.planner if self.threshold is None else Bypass(self.threshold, self.planner)
        return Sampler(
            MODELS[self.model](),
            planner=planner,
            cache=self.cache,
            token_sampler=self.token_sampler,
            schedule=self.schedule,
            block_size=self.block_size,
            steps=self.steps,
        )

    def __str__(self) -> str:
        parts = ", ".join(_shown(part) for part in (self.cache, self.schedule, self.token_sampler))
        bypass = "" if self.threshold is None else f", behind a bypass at {self.threshold}"
        return (
            f"model {self.model} (mask {MODELS[self.model]().mask_id}), rows {self.rows}, blocks of "
            f"{self.block_size}, {self.steps} steps, seed {self.seed}, {parts}{bypass}"
        )


def _shown(part: object) -> str:
    try:
        return describe(part)
    except Exception:  # a part that is not registered, or that is broken: that is for its own check to say
        return repr_of(part)


@st.composite
def cases(draw: st.DrawFn, /, models: Sequence[str] = tuple(MODELS), most_rows: int = 4, longest: int = 6) -> Case:
    """Cases; every row begins with a token, since transformers predict masks without any context alike.

    Args:
        models: which models to draw from.
        most_rows: of a batch.
        longest: most positions of a body.
    """
    model = draw(st.sampled_from(tuple(models)))
    return Case(
        model,
        draw(_rows(MODELS[model]().mask_id, most_rows, longest)),
        block_size=draw(st.integers(1, longest)),
        steps=draw(st.integers(1, longest + 4)),
        seed=draw(st.integers(0, 9)),
        cache=draw(st.sampled_from(CACHES)),
        token_sampler=draw(st.sampled_from(_TOKEN_SAMPLERS)),
        schedule=draw(st.sampled_from(_SCHEDULES)),
    )


@lru_cache
def _rows(mask: int, most_rows: int, longest: int) -> st.SearchStrategy[Rows]:
    """Rows of tokens below the mask. Kept, since Hypothesis takes longer to build a strategy than to draw from it."""
    token = st.integers(0, mask - 1)
    body = st.lists(token | st.just(mask), min_size=1, max_size=longest).filter(lambda body: mask in body)
    row = st.tuples(st.lists(token, min_size=1, max_size=3), body)
    return st.lists(row, min_size=1, max_size=most_rows)


def uneven_batches() -> Iterator[Case]:
    """Batches whose rows differ in all that a part could mix up: a long row of masks beside short, half-filled ones.

    In few steps, so that each row is asked for several positions, and not for as many as its neighbours.
    """
    for model, steps, block_size in product(("graded", "markov", "attending"), (2, 3), (4, 8)):
        mask = MODELS[model]().mask_id
        rows = [([1, 2], [mask] * 8), ([0], [mask] * 3), ([2, 0, 1], [mask, 1, mask, 2, mask])]
        for ordered in (rows, rows[::-1]):
            yield Case(model, ordered, block_size, steps, seed=steps)


@dataclass(frozen=True)
class _Decoded:
    """What became of each row.

    Attributes:
        moves: for each row its steps: positions filled, tokens and positions reopened; positions count from the body's
            start.
        sequences: token ids, prefix included.
    """

    moves: list[list[tuple[list[int], list[int], list[int]]]]
    sequences: list[list[int]]


def decode(case: Case) -> _Decoded:
    """Decode a case and note every move."""
    sampler = case.sampler
    canvas = sampler.canvas(case.rows)
    moves: list[list[tuple[list[int], list[int], list[int]]]] = [[] for _ in case.rows]
    final = canvas
    for record in sampler.iterate(canvas, case.seed):
        first = record.block.start - canvas.start
        for i, row in enumerate(record.rows.tolist()):
            filled, reopened = (where[i].nonzero()[:, 0] for where in (record.unmask, record.remask))
            moves[row].append(
                ((first + filled).tolist(), record.tokens[i][filled].tolist(), (first + reopened).tolist())
            )
        final = record.canvas
    return _Decoded(moves, [final.row(i) for i in range(final.batch)])
