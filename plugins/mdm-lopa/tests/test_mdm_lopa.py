"""LoPA against a plain implementation of its rule, one row and one branch at a time, on small random models."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
import torch
from mdm_lopa import LoPA
from torch import Tensor

import mdm_sampling as mdm
from mdm_sampling.testing import check_planner

VOCAB, MASK = 9, 8
ROWS = [
    ([1, 2], [MASK] * 9),
    ([3], [MASK, 5, MASK, MASK, MASK]),
    ([4, 0, 6, 2, 7], [MASK] * 4 + [1, 2] + [MASK] * 6),
]


class Toy:
    """Logits of a position from its token, its position and the mean of its row, in float64."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.embed, self.position, self.out = (
            torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((VOCAB, 8), (32, 8), (8, VOCAB))
        )
        self.backend = mdm.wrap(self.batch, MASK, VOCAB, takes_attention_mask=True)

    def row(self, tokens: Tensor) -> Tensor:
        """[t] -> [t v]"""
        x = torch.tanh(self.embed[tokens] + self.position[: len(tokens)])
        return torch.tanh(x + 2 * x.mean(0)) @ self.out * 0.8

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


@dataclass(frozen=True)
class LeftAsWell(mdm.PositionPlanner):
    """Fills the leftmost position of a row with three or more, and what another planner chooses among the others."""

    otherwise: mdm.PositionPlanner

    def plan(self, step: mdm.Step) -> mdm.Plan:
        left = step.masked & (step.masked.cumsum(-1) == 1) & (step.masked.sum(-1, keepdim=True) > 2)
        rest = replace(step, masked=step.masked & ~left, fixed=left)
        plan = self.otherwise.plan(rest)
        return replace(plan, unmask=plan.unmask | left)


def surest_tokens(toy: Toy, canvas: list[int]) -> dict[int, tuple[float, int]]:
    """The likeliest token of each masked position and its probability: {position: (probability, token)}."""
    found = {}
    for i, logits in enumerate(toy.row(torch.tensor(canvas)).tolist()):
        if canvas[i] == MASK:
            weights = [math.exp(x) for x in logits[:MASK]]
            found[i] = (max(weights) / sum(weights), weights.index(max(weights)))
    return found


def naive_move(
    toy: Toy, canvas: list[int], block: range, may_choose: list[int], fixed: list[int], planner: LoPA
) -> tuple[list[int], int]:
    """The positions that one step fills, and the number of the branch that was taken."""
    now = surest_tokens(toy, canvas)
    order = sorted(may_choose, key=lambda i: -now[i][0])
    count = max(1, sum(now[i][0] > planner.threshold for i in order))
    branches = [order[:count]] + [[*order[:count], i] for i in order[count : count + planner.branches - 1]]
    best, best_score = 0, -1.0
    for number, branch in enumerate(branches):
        after = [now[i][1] if i in branch + fixed else token for i, token in enumerate(canvas)]
        left = [p for i, (p, _) in surest_tokens(toy, after).items() if i in block]
        if left and sum(left) / len(left) > best_score:
            best, best_score = number, sum(left) / len(left)
    return sorted(branches[best]), best


def naive(
    toy: Toy, prefix: list[int], body: list[int], size: int, planner: LoPA, numbers: Counter[int]
) -> list[list[int]]:
    """A row's moves, positions of the body; counts which branches were taken."""
    canvas, moves = prefix + body, []
    for first in range(len(prefix), len(canvas), size):
        block = range(first, min(first + size, len(canvas)))
        while masked := [i for i in block if canvas[i] == MASK]:
            move, number = naive_move(toy, canvas, block, masked, [], planner)
            numbers[number] += 1
            moves.append([i - len(prefix) for i in move])
            now = surest_tokens(toy, canvas)
            canvas = [now[i][1] if i in move else token for i, token in enumerate(canvas)]
    return moves


def moves_of(sampler: mdm.Sampler, rows: list[tuple[list[int], list[int]]]) -> list[list[list[int]]]:
    """The positions that a sampler filled in each row at each of its steps."""
    canvas = sampler.canvas(rows)
    moves: list[list[list[int]]] = [[] for _ in rows]
    for record in sampler.iterate(canvas):
        first = record.block.start - canvas.start
        for i, row in enumerate(record.rows.tolist()):
            moves[row].append([first + position for position in record.unmask[i].nonzero()[:, 0].tolist()])
    return moves


def steady(confidences: list[float]) -> mdm.ModelBackend:
    """A model that reads nothing, with a given confidence at each position."""
    p = torch.tensor(confidences, dtype=torch.float64)
    table = torch.stack([p, 1 - p, torch.ones_like(p)], -1).log()
    return mdm.wrap(lambda tokens: table.expand(len(tokens), *table.shape).clone(), mask_id=2, vocab_size=3)


@pytest.mark.parametrize("planner", [LoPA(), LoPA(0.3, 3), LoPA(0.5, 1)], ids=repr)
def test_it_conforms(planner: LoPA) -> None:
    check_planner(planner, examples=30)


@pytest.mark.parametrize("planner", [LoPA(), LoPA(0.6), LoPA(0.6, 2), LoPA(0.5, 30), LoPA(0.5, 1)], ids=repr)
@pytest.mark.parametrize("cache", [mdm.NoCache(), mdm.DualCache()], ids=mdm.describe)
def test_it_fills_what_a_plain_implementation_fills(planner: LoPA, cache: mdm.CacheStrategy) -> None:
    """A model in memory sees the whole canvas under every cache."""
    numbers: Counter[int] = Counter()
    sizes = set()
    for seed in range(4):
        toy = Toy(seed)
        for size in (12, 5):
            sampler = mdm.Sampler(toy.backend, planner, cache=cache, block_size=size, steps=10**6)
            found = moves_of(sampler, ROWS)
            assert found == [naive(toy, *row, size, planner, numbers) for row in ROWS]
            sizes |= {len(move) for row in found for move in row}
    assert len(numbers) >= min(planner.branches, 4)
    assert len(sizes) >= 2


def test_the_quota_plays_no_part_until_the_last_step() -> None:
    sampler = mdm.Sampler(Toy(0).backend, LoPA(0.6), block_size=6, steps=1000)
    expected = moves_of(sampler, ROWS)
    for positions in (1, 3, 100):
        assert moves_of(replace(sampler, schedule=mdm.Constant(positions)), ROWS) == expected


def test_the_last_step_fills_what_is_left() -> None:
    sampler = mdm.Sampler(steady([0.5] * 9), LoPA(), steps=3)
    assert [len(move) for move in moves_of(sampler, [([], [2] * 9)])[0]] == [1, 1, 7]


def test_a_confidence_at_the_threshold_does_not_exceed_it() -> None:
    """With two equal logits a confidence is 1/2 on any machine."""
    for threshold, sizes in ((0.5, [1, 1, 1, 1]), (0.49, [4])):
        sampler = mdm.Sampler(steady([0.5] * 4), LoPA(threshold), steps=1000)
        assert [len(move) for move in moves_of(sampler, [([], [2] * 4)])[0]] == sizes


def test_of_equal_branches_the_anchor_is_taken() -> None:
    """What is left is equally sure whichever position a branch fills."""
    sampler = mdm.Sampler(steady([0.5] * 5), LoPA(), steps=1000)
    assert moves_of(sampler, [([], [2] * 5)])[0] == [[0], [1], [2], [3], [4]]


def test_a_branch_takes_along_what_makes_the_rest_surer() -> None:
    """A model that reads nothing is surer of the rest without its least sure position, which 3 branches don't reach."""
    backend = steady([0.95, 0.6, 0.8, 0.92, 0.7])
    rows: list[tuple[list[int], list[int]]] = [([], [2] * 5)]
    assert moves_of(mdm.Sampler(backend, LoPA(branches=4), steps=1000), rows)[0] == [[0, 1, 3], [2], [4]]
    assert moves_of(mdm.Sampler(backend, LoPA(branches=3), steps=1000), rows)[0] == [[0, 3, 4], [2], [1]]


def test_a_branch_that_would_end_the_block_is_left_out() -> None:
    """The anchor leaves one position, however sure; or none, and ends the block itself."""
    rows: list[tuple[list[int], list[int]]] = [([], [2] * 3)]
    assert moves_of(mdm.Sampler(steady([0.95, 0.89, 0.95]), LoPA(), steps=1000), rows)[0] == [[0, 2], [1]]
    assert moves_of(mdm.Sampler(steady([0.95, 0.91, 0.95]), LoPA(), steps=1000), rows)[0] == [[0, 1, 2]]


def test_a_step_costs_one_call_of_the_model() -> None:
    """All branches share a call, and the winner's is the next step's prediction."""
    for planner in (LoPA(0.6), LoPA(0.6, 1)):
        result = mdm.Sampler(Toy(0).backend, planner, block_size=12, steps=1000).fill(ROWS, batch_size=1)
        assert [row.sequential_forwards for row in result.rows] == [row.steps for row in result.rows]
        extra = sum(row.forwards - row.steps for row in result.rows)
        assert extra == 0 if planner.branches == 1 else extra > 10


def test_rows_that_a_wrapper_decided_ride_along() -> None:
    sampler = mdm.Sampler(Toy(0).backend, mdm.Bypass(0.75, LoPA()), block_size=12, steps=1000)
    rows = sampler.fill(ROWS, batch_size=3).rows
    assert [row.sequential_forwards for row in rows] == [row.steps for row in rows]


@pytest.mark.parametrize(
    ("what", "wrap"),
    [
        ("decided", lambda planner: mdm.Bypass(0.7, planner)),
        ("narrowed", lambda planner: mdm.Defer(planner, ids=(0, 2, 4, 7))),
        ("fixed", LeftAsWell),
    ],
)
def test_inside_a_wrapper_it_chooses_among_what_it_may_choose(
    what: str, wrap: Callable[[mdm.PositionPlanner], mdm.PositionPlanner]
) -> None:
    """Rows that the wrapper decided are asked for nothing; the mean is over all that stays masked in the block."""
    steps: Counter[str] = Counter()
    numbers: Counter[int] = Counter()
    planner = LoPA(0.75, 3)
    for seed in range(8):
        toy, spy = Toy(seed), Spy(planner)
        moves_of(mdm.Sampler(toy.backend, wrap(spy), block_size=12, steps=1000), ROWS[:1])
        for step, plan in spy.seen:
            found = plan.unmask[0].nonzero()[:, 0].tolist()
            may_choose, fixed = ((where[0].nonzero()[:, 0] + 2).tolist() for where in (step.masked, step.fixed))
            if not int(step.quota[0]):
                assert found == []
                steps["decided"] += 1
                continue
            canvas = ROWS[0][0] + step.block_tokens[0].tolist()
            expected, number = naive_move(toy, canvas, range(2, 11), may_choose, fixed, planner)
            assert [2 + i for i in found] == expected
            steps["fixed"] += bool(fixed)
            steps["narrowed"] += len(may_choose) < int(step.open.sum())
            numbers[number] += 1
    assert len(numbers) == 3
    assert steps[what] > 5


def test_its_branches_stand_in_traces() -> None:
    spy = Spy(LoPA(0.6))
    list((sampler := mdm.Sampler(Toy(0).backend, spy, block_size=12, steps=1000)).iterate(sampler.canvas(ROWS)))
    weighed = 0
    for _, plan in spy.seen:
        if plan.candidates is None:
            continue
        rows = torch.arange(len(plan.unmask))
        assert torch.equal(plan.candidates.unmask[plan.candidates.chosen, rows], plan.unmask)
        sizes = plan.candidates.unmask.sum(-1)
        looked_at = ~plan.candidates.score.isnan()
        assert torch.equal(sizes[1:][looked_at[1:]], (sizes[:1] + 1).expand(sizes[1:].shape)[looked_at[1:]])
        weighed += int(looked_at.sum())
    assert weighed > 20


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("lopa:1", r"threshold must be in \[0, 1\), got 1.0"),
        ("lopa:-0.1", r"threshold must be in \[0, 1\), got -0.1"),
        ("lopa:nan", "threshold must be a number"),
        ("lopa:branches=0", "branches must be at least 1, got 0"),
    ],
)
def test_bad_parameters_are_refused(spec: str, message: str) -> None:
    with pytest.raises(mdm.SpecError, match=message):
        mdm.build("planners", spec)


def test_it_is_built_from_its_spec_and_described_by_it() -> None:
    assert mdm.build("planners", "lopa:0.8,branches=7") == LoPA(0.8, 7)
    assert mdm.describe(LoPA(0.8)) == "lopa:threshold=0.8"
    assert mdm.describe(LoPA()) == "lopa"
