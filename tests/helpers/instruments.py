"""Instruments: a run seen from inside, step by step, beside plain forwards of the same canvases.

Most tests that use them run a transformer with one layer. Its keys and values depend on tokens and positions alone, so
that what a cache keeps is never stale, and a forward under any cache must equal a plain forward of the same canvas.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache

import pytest
import torch
from torch import Tensor
from toys import EOS, MASK, VOCAB, random_llama

import mdm_sampling as mdm
from mdm_sampling.canvas import Canvas, Span
from mdm_sampling.forwards import BlockForwards
from mdm_sampling.records import StepRecord

Row = tuple[list[int], list[int]]

CACHES = [mdm.NoCache(), mdm.PrefixCache(), mdm.DualCache()]
INFO_GAIN = mdm.InfoGain(candidates=4, position_temperature=1.0)
PLANNERS = [
    mdm.Random(),
    mdm.LeftToRight(),
    mdm.Confidence(),
    mdm.Margin(),
    mdm.Entropy(),
    mdm.InfoGain(candidates=4, position_temperature=1.0),
    mdm.InfoGain(candidates=4, position_temperature=1.0, variant="lookum"),
    mdm.Bypass(0.5),
    mdm.Bypass(0.5, mdm.InfoGain(candidates=4, position_temperature=1.0)),
    mdm.Defer(mdm.InfoGain(candidates=4, position_temperature=1.0)),
    mdm.EBSampler(1.0),
    mdm.Factor(1.0),
    mdm.Speculate(drafts=3),
    mdm.BoundedChain(1.0, drafts=4),
    mdm.Bypass(0.5, mdm.Speculate("random", drafts=2)),
]
ROWS: list[Row] = [([3, 5, 7], [MASK] * 8), ([4], [MASK] * 8), ([9, 8, 7, 6, 5], [MASK] * 8)]

every_cache = pytest.mark.parametrize("cache", CACHES, ids=mdm.describe)
every_planner = pytest.mark.parametrize("planner", PLANNERS, ids=mdm.describe)
both_shifts = pytest.mark.parametrize("look_back", [0, 1], ids=["llada-like", "dream-like"])


def one_layer(look_back: int = 0, vocab: int = VOCAB) -> mdm.TransformerBackend:
    """A fresh bidirectional Llama with a single layer, in float64; end token 0, mask 12."""
    return random_llama(layers=1, seed=7, look_back=look_back, vocab=vocab)


@lru_cache(maxsize=10_000)
def plain_row(backend: mdm.TransformerBackend, tokens: tuple[int, ...]) -> Tensor:
    """Logits [t v] by transformers' own forward of one sequence alone: no padding, no cache; row i predicts position
    i.
    """
    with torch.no_grad():
        out = backend.model(input_ids=torch.tensor([tokens]), use_cache=False, is_causal=False).logits[0]
    logits = torch.cat([out[:1], out[:-1]]) if backend.look_back else out
    return logits.index_fill(1, torch.tensor([backend.mask_id]), -torch.inf)


def plain_logits(backend: mdm.TransformerBackend, canvas: Canvas) -> Tensor:
    """Logits [b t v] of each row alone, see `plain_row`; 0 at padding."""
    logits = torch.zeros(*canvas.tokens.shape, backend.vocab_size, dtype=torch.float64)
    for i in range(canvas.batch):
        logits[i, canvas.valid[i]] = plain_row(backend, tuple(canvas.row(i)))
    return logits


def entropy_of(logits: Tensor) -> Tensor:
    return torch.special.entr(logits.softmax(-1)).sum(-1)


def assert_predicts(
    backend: mdm.TransformerBackend, prediction: mdm.Prediction, canvas: Canvas, seen: Span, penalty: float = 0.0
) -> None:
    """A prediction over the positions `seen` of a canvas equals a plain forward, with end tokens lowered by
    `penalty`.
    """
    assert torch.equal(prediction.masked, canvas.masked[:, seen.positions])
    expected = plain_logits(backend, canvas)
    expected[..., EOS] -= penalty
    expected = expected[:, seen.positions][prediction.masked]
    torch.testing.assert_close(prediction.logits(prediction.masked), expected, atol=1e-9, rtol=0)
    torch.testing.assert_close(prediction.entropy[prediction.masked], entropy_of(expected), atol=1e-9, rtol=0)


@contextmanager
def forgetting() -> Iterator[None]:
    """What was looked at is not kept, so that every step does its own forward."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BlockForwards, "_keep", lambda *_: None)
        yield


@dataclass(frozen=True)
class Looked:
    """A lookahead: the row each move belongs to, the canvases after the moves and what was predicted for them."""

    rows: Tensor
    futures: Canvas
    prediction: mdm.Prediction


@dataclass(frozen=True)
class Moment:
    """A step seen from inside and outside. `canvas` holds the rows that take part, as they were before it."""

    canvas: Canvas
    step: mdm.Step
    lookaheads: list[Looked]
    record: StepRecord

    @property
    def reused(self) -> bool:
        """Whether the step's own prediction cost no forward."""
        looked = sum(len(looked.rows) for looked in self.lookaheads)
        return int(self.record.forwards.sum()) == looked


@dataclass(frozen=True)
class Watched(mdm.PositionPlanner):
    """Another planner; its steps and lookaheads are kept."""

    otherwise: mdm.PositionPlanner
    steps: list[mdm.Step] = field(default_factory=list)
    calls: list[tuple[Tensor, Tensor, Tensor, mdm.Prediction]] = field(default_factory=list)

    def plan(self, step: mdm.Step) -> mdm.Plan:
        def lookahead(rows: Tensor, unmask: Tensor, tokens: Tensor, scope: str = "block") -> mdm.Prediction:
            prediction = step.lookahead(rows, unmask, tokens, scope)  # type: ignore[arg-type]
            self.calls.append((rows, unmask, tokens, prediction))
            return prediction

        self.steps.append(step)
        return self.otherwise.plan(replace(step, lookahead=lookahead))  # type: ignore[arg-type]


def watch(sampler: mdm.Sampler, rows: list[Row] | Canvas, seed: int = 0) -> Iterator[Moment]:
    """Run a sampler and yield every step."""
    planner = Watched(sampler.planner)
    canvas = rows if isinstance(rows, Canvas) else sampler.canvas(rows)
    for record in replace(sampler, planner=planner).iterate(canvas, seed):
        before = canvas.select(record.rows)
        lookaheads = [
            Looked(owners, before.fork(owners, record.block, unmask, tokens), prediction)
            for owners, unmask, tokens, prediction in planner.calls
        ]
        yield Moment(before, planner.steps[-1], lookaheads, record)
        planner.calls.clear()
        canvas = record.canvas


@dataclass(frozen=True)
class Forward:
    """A call of a backend's trunk."""

    canvas: Canvas
    span: Span
    is_fork: bool
    hidden: Tensor
    slots_before: list[Tensor]
    slots_after: list[Tensor]


def spy_on_trunk(backend: mdm.TransformerBackend) -> list[Forward]:
    """The forwards that the backend will do from now on, with copies of its slots before and after each."""
    forwards: list[Forward] = []
    trunk = backend.trunk

    def copies(slots: mdm.Slots | None) -> list[Tensor]:
        return [] if slots is None else [x.clone() for x in (*slots.keys, *slots.values)]  # type: ignore[attr-defined]

    def spy(canvas: Canvas, span: Span, slots: mdm.Slots | None, rows: Tensor | None = None) -> Tensor:
        before = copies(slots)
        hidden = trunk(canvas, span, slots, rows)
        forwards.append(Forward(canvas, span, rows is not None, hidden, before, copies(slots)))
        return hidden

    backend.trunk = spy  # type: ignore[method-assign]
    return forwards


def table_of(*positions: dict[int, float], vocab: int = 6) -> Tensor:
    """Logits [t v] from probabilities; what a position does not name is shared evenly by the other tokens but the
    last.
    """
    table = torch.zeros(len(positions), vocab, dtype=torch.float64)
    for i, named in enumerate(positions):
        others = [token for token in range(vocab - 1) if token not in named]
        table[i, others] = (1 - sum(named.values())) / max(len(others), 1)
        for token, probability in named.items():
            table[i, token] = probability
    return table.clamp(min=1e-9).log()


@dataclass(frozen=True)
class RightToLeft(mdm.ScorePlanner):
    """Fill the rightmost position first, so that a block's first position comes last."""

    def score(self, step: mdm.Step) -> Tensor:
        return torch.arange(step.masked.shape[1]).expand(step.masked.shape).double()
