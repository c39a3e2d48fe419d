"""KLASS against a plain implementation of its rule, one row at a time, on small random models that settle down."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
import torch
from mdm_klass import KLASS, divergence
from torch import Tensor

import mdm_sampling as mdm
from mdm_sampling.testing import check_planner

VOCAB, MASK = 9, 8
ROWS = [
    ([1, 2], [MASK] * 9),
    ([3], [MASK, 5, MASK, MASK, MASK]),
    ([4, 0, 6, 2, 7], [MASK] * 4 + [1, 2] + [MASK] * 6),
]
LOOSE = KLASS(threshold=0.55, kl_threshold=0.02, length=2)


class Toy:
    """Logits mostly of the position, a little of the row's tokens, in float64."""

    def __init__(self, seed: int, context: float = 0.8) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.embed, self.position, self.out = (
            torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((VOCAB, 8), (32, 8), (8, VOCAB))
        )
        self.context = context
        self.backend = mdm.wrap(self.batch, MASK, VOCAB, takes_attention_mask=True)

    def row(self, tokens: Tensor) -> Tensor:
        """[t] -> [t v]"""
        return (torch.tanh(self.position[: len(tokens)]) + self.context * self.embed[tokens].mean(0)) @ self.out

    def batch(self, tokens: Tensor, attention_mask: Tensor) -> Tensor:
        logits = torch.zeros(*tokens.shape, VOCAB, dtype=torch.float64)
        for i, valid in enumerate(attention_mask):
            logits[i, valid] = self.row(tokens[i, valid])
        return logits


@dataclass(frozen=True)
class Spy(mdm.PositionPlanner):
    """Keeps what the planner was shown and what it answered."""

    otherwise: mdm.PositionPlanner
    seen: list[tuple[mdm.Step, mdm.Plan]] = field(default_factory=list, compare=False, repr=False)

    def plan(self, step: mdm.Step) -> mdm.Plan:
        plan = self.otherwise.plan(step)
        self.seen.append((step, plan))
        return plan


def chances(logits: list[float]) -> list[float]:
    """The probabilities of all tokens but the mask."""
    weights = [math.exp(x) for x in logits[:MASK]]
    return [weight / sum(weights) for weight in weights]


def naive(
    toy: Toy, prefix: list[int], body: list[int], block: int, planner: KLASS, quota: int
) -> tuple[list[dict[int, int]], int]:
    """A row's moves, {position: token}, and how many of them were made by ready positions.

    As the published code does it, with a buffer of the last divergences of each position, anew in each block.
    """
    canvas, moves, by_ready = prefix + body, [], 0
    for first in range(0, len(body), block):
        before: dict[int, list[float]] = {}
        buffer: dict[int, list[float]] = {i: [] for i in range(first, first + block)}
        while True:
            masked = [i for i in range(first, min(first + block, len(body))) if canvas[len(prefix) + i] == MASK]
            if not masked:
                break
            logits = toy.row(torch.tensor(canvas)).tolist()
            p = {i: chances(logits[len(prefix) + i]) for i in masked}
            for i in masked:
                kl = sum(x * math.log(x / y) for x, y in zip(p[i], before[i], strict=True)) if before else math.inf
                buffer[i] = [*buffer[i], kl][-planner.length :]
            ready = [
                i
                for i in masked
                if max(p[i]) > planner.threshold
                and len(buffer[i]) == planner.length
                and all(kl < planner.kl_threshold for kl in buffer[i])
            ]
            by_ready += bool(ready)
            chosen = ready or sorted(sorted(masked, key=lambda i: -max(p[i]))[:quota])
            moves.append({i: p[i].index(max(p[i])) for i in chosen})
            for i, token in moves[-1].items():
                canvas[len(prefix) + i] = token
            before = p
    return moves, by_ready


def moves_of(sampler: mdm.Sampler, rows: list[tuple[list[int], list[int]]]) -> list[list[dict[int, int]]]:
    """What a sampler filled in each row at each of its steps."""
    canvas = sampler.canvas(rows)
    moves: list[list[dict[int, int]]] = [[] for _ in rows]
    for record in sampler.iterate(canvas):
        first = record.block.start - canvas.start
        for i, row in enumerate(record.rows.tolist()):
            positions = record.unmask[i].nonzero()[:, 0].tolist()
            moves[row].append({first + position: int(record.tokens[i, position]) for position in positions})
    return moves


def steady(planner: mdm.PositionPlanner, positions: int = 8, confidence: float = 0.95) -> mdm.Sampler:
    """A model that never changes its mind, at one position a step."""
    table = torch.tensor([confidence, 1 - confidence, 1.0], dtype=torch.float64).log().expand(positions, 3)
    backend = mdm.wrap(lambda tokens: table.expand(len(tokens), positions, 3).clone(), mask_id=2, vocab_size=3)
    return mdm.Sampler(backend, planner, schedule=mdm.Constant(1), steps=1000)


def prediction(logits: Tensor, masked: Tensor, rows_seen: list[int] | None = None) -> mdm.Prediction:
    """A prediction of given logits, [b l v]; the numbers of rows that are projected at once are noted."""

    def process(context: Tensor, logits: Tensor) -> Tensor:
        if rows_seen is not None:
            rows_seen.append(len(logits))
        return logits

    vocabulary = logits.shape[-1]
    head = mdm.wrap(torch.nn.Identity(), mask_id=vocabulary - 1, vocab_size=vocabulary).distributions((process,))
    return mdm.Prediction(logits, masked, head, torch.zeros(len(logits), 1, dtype=torch.long))


@pytest.mark.parametrize("planner", [KLASS(), KLASS(0.2, 0.5, 1)], ids=repr)
def test_it_conforms(planner: KLASS) -> None:
    check_planner(planner, examples=30)


@pytest.mark.parametrize("planner", [LOOSE, replace(LOOSE, length=1), replace(LOOSE, length=3)], ids=repr)
@pytest.mark.parametrize("cache", [mdm.NoCache(), mdm.DualCache()], ids=mdm.describe)
def test_it_fills_what_a_plain_implementation_fills(planner: KLASS, cache: mdm.CacheStrategy) -> None:
    """A model in memory sees the whole canvas under every cache."""
    sizes, by_ready, by_quota = set(), 0, 0
    for seed in range(4):
        toy = Toy(seed)
        for block in (12, 5):
            sampler = mdm.Sampler(
                toy.backend, planner, cache=cache, schedule=mdm.Constant(1), block_size=block, steps=10**6
            )
            found = moves_of(sampler, ROWS)
            expected = [naive(toy, *row, block, planner, quota=1) for row in ROWS]
            assert found == [moves for moves, _ in expected]
            sizes |= {len(move) for row in found for move in row}
            by_ready += sum(ready for _, ready in expected)
            by_quota += sum(len(moves) - ready for moves, ready in expected)
    assert len(sizes) >= 3
    assert min(by_ready, by_quota) >= 10


@pytest.mark.parametrize("length", [1, 2, 3])
def test_nothing_is_ready_before_so_many_comparisons(length: int) -> None:
    """The published rule: the first step has nothing to compare with, so `length` steps fill their quota."""
    rows = [([], [2] * 8)]
    moves = moves_of(steady(KLASS(length=length)), rows)[0]
    assert [len(move) for move in moves] == [1] * length + [8 - length]
    in_blocks = moves_of(replace(steady(KLASS(length=length)), block_size=4), rows)[0]
    assert [len(move) for move in in_blocks] == ([1] * length + [4 - length]) * 2


def test_a_stable_position_that_is_not_confident_waits() -> None:
    moves = moves_of(steady(KLASS(), confidence=0.85), [([], [2] * 8)])[0]
    assert [len(move) for move in moves] == [1] * 8


def test_an_unstable_comparison_starts_the_count_anew() -> None:
    """A model whose predictions jump at the third step only: stable at steps 1, 3 and 4, so ready at the fifth."""

    def model(tokens: Tensor) -> Tensor:
        filled = (tokens != 2).sum(-1)[:, None]
        confidence = torch.where(filled >= 2, 0.999, 0.95).double().expand(tokens.shape)
        return torch.stack([confidence, 1 - confidence, torch.ones_like(confidence)], -1).log()

    sampler = mdm.Sampler(
        mdm.wrap(model, mask_id=2, vocab_size=3), KLASS(), schedule=mdm.Constant(1), steps=1000, cache=mdm.NoCache()
    )
    assert [len(move) for move in moves_of(sampler, [([], [2] * 9)])[0]] == [1, 1, 1, 1, 5]


def test_the_last_step_fills_what_is_left() -> None:
    sampler = replace(steady(KLASS()), steps=2)
    assert [len(move) for move in moves_of(sampler, [([], [2] * 8)])[0]] == [1, 7]
    table = torch.tensor([[0.95, 0.05, 1.0]] * 4 + [[0.6, 0.4, 1.0]] * 4, dtype=torch.float64).log()
    backend = mdm.wrap(lambda tokens: table.expand(len(tokens), 8, 3).clone(), mask_id=2, vocab_size=3)
    ready_at_the_last = mdm.Sampler(backend, KLASS(), schedule=mdm.Constant(1), steps=3)
    assert [len(move) for move in moves_of(ready_at_the_last, [([], [2] * 8)])[0]] == [1, 1, 6]


@pytest.mark.parametrize("wrap", [lambda p: mdm.Bypass(0.9, p), lambda p: mdm.Defer(p, ids=(0, 2, 4, 7))])
def test_a_wrapper_that_narrows_the_positions_does_not_disturb_the_count(
    wrap: Callable[[mdm.PositionPlanner], mdm.PositionPlanner],
) -> None:
    """What is compared are all positions that the model predicts, those included that may not be chosen now."""
    narrowed, longest = 0, 0
    for seed in range(3):
        spy = Spy(LOOSE)
        toy = Toy(seed)
        moves_of(mdm.Sampler(toy.backend, wrap(spy), schedule=mdm.Constant(1), block_size=12, steps=1000), ROWS[:1])
        counts = dict.fromkeys(range(9), 0)
        before: dict[int, list[float]] = {}
        for step, plan in spy.seen:
            tokens = torch.tensor([*ROWS[0][0], *step.block_tokens[0].tolist()])
            logits = toy.row(tokens).tolist()
            now = {i: chances(logits[2 + i]) for i in step.prediction.masked[0].nonzero()[:, 0].tolist()}
            for i in counts:
                small = (
                    i in now
                    and i in before
                    and sum(x * math.log(x / y) for x, y in zip(now[i], before[i], strict=True)) < LOOSE.kl_threshold
                )
                counts[i] = counts[i] + 1 if small else 0
            assert plan.memory["stable"][0].tolist() == list(counts.values())
            assert plan.memory["stable"].dtype == torch.long
            before = now
            narrowed += int((step.prediction.masked & ~step.masked).sum())
            longest = max(longest, *counts.values())
    assert narrowed > 5
    assert longest >= 2


def test_divergence_is_that_of_the_distributions() -> None:
    """Banned tokens are at -inf in both and add nothing; what was impossible and no longer is diverges."""
    inf = math.inf
    now = torch.tensor([[[0.0, 1.0, -inf, 9.0], [0.5, 0.0, 2.0, 9.0], [1.0, -inf, 0.0, 9.0], [0.0, 0.0, 0.0, 9.0]]])
    old = torch.tensor([[[0.3, 0.2, -inf, 9.0], [0.5, 0.0, -inf, 9.0], [1.0, 0.3, 0.0, 9.0], [0.0, 0.0, 0.0, 9.0]]])
    masked = torch.tensor([[True, True, True, True]])
    before = torch.tensor([[True, True, True, False]])
    found = divergence(prediction(now, masked), prediction(old, before))[0].tolist()
    e = math.exp
    p, q = [1 / (1 + e(1)), e(1) / (1 + e(1))], [e(0.3) / (e(0.3) + e(0.2)), e(0.2) / (e(0.3) + e(0.2))]
    assert found[0] == pytest.approx(sum(x * math.log(x / y) for x, y in zip(p, q, strict=True)), abs=1e-6)
    p, q = [e(1) / (1 + e(1)), 1 / (1 + e(1))], [e(1) / (e(1) + e(0.3) + 1), 1 / (e(1) + e(0.3) + 1)]
    assert found[2] == pytest.approx(sum(x * math.log(x / y) for x, y in zip(p, q, strict=True)), abs=1e-6)
    assert found[1] == found[3] == inf


def test_the_distributions_of_all_positions_never_exist_together(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    now, old = (torch.randn(3, 7, 11, generator=generator, dtype=torch.float64) for _ in range(2))
    masked = torch.rand(3, 7, generator=generator) < 0.7
    whole = divergence(prediction(now, masked), prediction(old, masked))
    monkeypatch.setattr(mdm.Prediction, "chunk_size", lambda self, copies: 8 // copies)
    rows: list[int] = []
    torch.testing.assert_close(divergence(prediction(now, masked, rows), prediction(old, masked, rows)), whole)
    assert max(rows) == 2


def test_banned_tokens_keep_no_position_from_being_ready() -> None:
    toy = Toy(0, context=0.0)
    sampler = mdm.Sampler(toy.backend, KLASS(threshold=0.0), schedule=mdm.Constant(1), steps=1000)
    for processors in ((), (mdm.Ban(ids=(0, 3)),)):
        moves = moves_of(replace(sampler, processors=processors), ROWS[:1])[0]
        assert [len(move) for move in moves] == [1, 1, 7]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("klass:1", r"threshold must be in \[0, 1\), got 1.0"),
        ("klass:-0.1", r"threshold must be in \[0, 1\), got -0.1"),
        ("klass:nan", "threshold must be a number"),
        ("klass:kl_threshold=0", "kl_threshold must be finite and above 0, got 0.0"),
        ("klass:kl_threshold=inf", "kl_threshold must be finite and above 0, got inf"),
        ("klass:length=0", "length must be at least 1, got 0"),
    ],
)
def test_bad_parameters_are_refused(spec: str, message: str) -> None:
    with pytest.raises(mdm.SpecError, match=message):
        mdm.build("planners", spec)
    with pytest.raises(mdm.SpecError, match="klass: "):
        KLASS(kl_threshold=math.nan)


def test_it_is_built_from_its_spec_and_described_by_it() -> None:
    assert mdm.build("planners", "klass:0.8,kl_threshold=0.005,length=3") == KLASS(0.8, 0.005, 3)
    assert mdm.describe(KLASS(0.8, length=3)) == "klass:threshold=0.8,length=3"
    assert mdm.describe(KLASS()) == "klass"
