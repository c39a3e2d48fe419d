"""Bounded chains against brute force: plain forwards of every canvas, and every chain tried."""

from dataclasses import dataclass, field, replace
from itertools import pairwise, permutations
from math import inf

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import rows, samplers, untied_rows
from toys import MASK, ToyModel, toy_callable

import mdm_sampling as mdm
from mdm_sampling.planners.bounded_chain import chains

Rows = list[tuple[list[int], list[int]]]
chain_planners = st.builds(
    mdm.BoundedChain,
    bound=st.sampled_from([0.0, 0.3, 1.0, 3.0]),
    slack=st.sampled_from([0.0, 0.2, 0.7, inf]),
    drafts=st.integers(0, 4),
    candidates=st.integers(0, 2),
    position_temperature=st.sampled_from([0.1, 1.0]),
    shape=st.sampled_from([mdm.Prefixes("entropy"), mdm.Lattice()]),
)


@dataclass(frozen=True)
class Spy(mdm.PositionPlanner):
    """Another planner; its steps and plans are kept."""

    planner: mdm.PositionPlanner
    seen: list[tuple[mdm.Step, mdm.Plan]] = field(default_factory=list)

    def plan(self, step: mdm.Step) -> mdm.Plan:
        plan = self.planner.plan(step)
        self.seen.append((step, plan))
        return plan


def predicted(model: ToyModel, canvas: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Entropies and likeliest tokens of a canvas without padding, by a plain forward."""
    tokens = torch.tensor([canvas])
    logits = model(tokens, torch.ones_like(tokens, dtype=torch.bool))[0]
    logits[:, MASK] = -torch.inf
    return torch.special.entr(logits.softmax(-1)).sum(-1), logits.argmax(-1)


class Brute:
    """One row's moves, as pairs of position and token, tried in every order."""

    def __init__(self, model: ToyModel, canvas: list[int], block: range, planner: mdm.BoundedChain) -> None:
        self.model, self.canvas, self.block, self.planner = model, canvas, block, planner
        self.start = block.start

    def filled(self, move: dict[int, int]) -> list[int]:
        canvas = list(self.canvas)
        for position, token in move.items():
            canvas[self.start + position] = token
        return canvas

    def link(self, before: dict[int, int], after: dict[int, int]) -> float | None:
        """What the way from a move to a larger one costs; None where the prediction after the first forbids it."""
        new = [position for position in after if position not in before]
        if not new or any(after.get(position) != token for position, token in before.items()):
            return None
        canvas = self.filled(before)
        entropy, likeliest = predicted(self.model, canvas)
        costs = [float(entropy[self.start + position]) for position in new]
        surest = min(float(entropy[i]) for i in self.block if canvas[i] == MASK)
        if sum(costs) - max(costs) > self.planner.bound + 1e-9 or max(costs) > surest + self.planner.slack + 1e-9:
            return None
        if any(int(likeliest[self.start + position]) != after[position] for position in new):
            return None
        return sum(costs)

    def cheapest(self, moves: list[dict[int, int]], goal: dict[int, int]) -> float | None:
        """The cheapest chain to a move over any of the others."""
        costs = []
        for count in range(len(moves)):
            for between in permutations([move for move in moves if move != goal], count):
                way = [{}, *between, goal]
                links = [self.link(a, b) for a, b in pairwise(way)]
                if None not in links:
                    costs.append(sum(link for link in links if link is not None))
        return min(costs, default=None)

    def left(self, move: dict[int, int]) -> float:
        canvas = self.filled(move)
        entropy, _ = predicted(self.model, canvas)
        return sum(float(entropy[position]) for position in self.block if canvas[position] == MASK)


@settings(max_examples=60)
@given(planner=chain_planners, row=untied_rows.map(lambda found: found[0]), seed=st.integers(0, 5))
def test_the_move_and_its_figures_are_those_of_brute_force(
    planner: mdm.BoundedChain, row: tuple[list[int], list[int]], seed: int
) -> None:
    planner = replace(planner, drafts=min(planner.drafts, 3), candidates=min(planner.candidates, 1))
    model, spy = ToyModel(), Spy(planner)
    sampler = mdm.Sampler(toy_callable(), planner=spy, cache="none", block_size=6, steps=12)
    canvas = sampler.canvas([row])
    before = canvas.row(0)
    for record in sampler.iterate(canvas, seed):
        step, plan = next((s, p) for s, p in reversed(spy.seen) if bool(p.unmask.any()))
        block = range(record.block.start, record.block.stop)
        if plan.candidates is not None and not bool(step.is_last):
            check_weighed(Brute(model, before, block, planner), plan)
        before = record.canvas.row(0)
        spy.seen.clear()


def check_weighed(brute: Brute, plan: mdm.Plan) -> None:
    """Each candidate's cost, and that the winner is the one of the largest J."""
    weighed = plan.candidates
    assert weighed is not None
    moves = [
        {position: int(tokens[0, position]) for position in unmask[0].nonzero()[:, 0].tolist()}
        for unmask, tokens in zip(weighed.unmask, weighed.tokens, strict=True)
    ]
    distinct = [move for n, move in enumerate(moves) if move not in moves[:n]]
    scores = {}
    for n, move in enumerate(moves):
        if move in moves[:n]:
            assert bool(weighed.score[n, 0].isnan())
            continue
        cost = brute.cheapest(distinct, move)
        assert (cost is None) == bool(weighed.score[n, 0].isnan())
        if cost is not None:
            assert float(weighed.cost[n, 0]) == pytest.approx(cost, abs=1e-6)
            scores[n] = -cost - brute.left(move)
            assert float(weighed.score[n, 0]) == pytest.approx(scores[n], abs=1e-6)
    assert scores[int(weighed.chosen[0])] == pytest.approx(max(scores.values()), abs=1e-9)


@settings(max_examples=150)
@given(data=st.data(), planner=chain_planners, rows=rows, seed=st.integers(0, 9))
def test_every_step_keeps_to_the_bound_under_its_own_prediction(
    data: st.DataObject, planner: mdm.BoundedChain, rows: Rows, seed: int
) -> None:
    """Whatever foresaw it, with any cache, token sampler, schedule, batch and end; last steps fill what is left."""
    spy = Spy(planner)
    sampler = data.draw(samplers(planner=spy))
    for record in sampler.iterate(sampler.canvas(rows), seed):
        step, plan = spy.seen[-1]
        moves = plan.unmask.any(-1)
        last = step.is_last[moves]
        largest = record.entropy.amax(-1)
        assert bool(((record.entropy.sum(-1) - largest <= planner.bound + 1e-6) | last).all())
        surest = record.prediction.entropy.masked_fill(~step.masked[moves], inf).amin(-1)
        assert bool(((largest <= surest + planner.slack + 1e-6) | last).all())
        if isinstance(sampler.token_sampler, mdm.Greedy):
            likeliest = record.prediction.statistics.token
            assert torch.equal(record.tokens[record.unmask], likeliest[record.unmask])


@settings(max_examples=60)
@given(data=st.data(), bound=st.sampled_from([0.0, 0.3, 2.0]), rows=untied_rows)
def test_without_drafts_and_candidates_it_is_eb_sampler(data: st.DataObject, bound: float, rows: Rows) -> None:
    sampler = data.draw(samplers(planner=mdm.BoundedChain(bound, slack=inf, drafts=0), eos="off"))
    found, eb = sampler.fill(rows), replace(sampler, planner=mdm.EBSampler(bound)).fill(rows)
    assert found.sequences == eb.sequences
    assert [row.order for row in found.histories] == [row.order for row in eb.histories]


@pytest.mark.parametrize("cache", ["none", "dual"])
def test_it_needs_fewer_forwards_than_eb_sampler(cache: str) -> None:
    sampler = mdm.load("embedded", max_new_tokens=20).replace(cache=cache, block_size=10)
    puzzles = [item.prompt for item in mdm.Sudoku(4, form="prompt").items(12, 5)]
    called = {}
    for planner in ("eb:0.1", "bounded-chain:0.1"):
        result = sampler.replace(planner=planner).generate(puzzles, batch_size=12)
        called[planner] = sum(row.sequential_forwards for row in result.rows)
    assert called["bounded-chain:0.1"] < 0.8 * called["eb:0.1"]


def test_a_chain_is_the_cheapest_one() -> None:
    """Two ways to move 3: straight for 5, or over move 1 for 1 + 2; none to move 4."""
    costs, links = torch.zeros(5, 5, 1), torch.zeros(5, 5, 1, dtype=torch.bool)
    for start, stop, cost in ((0, 1, 1.0), (0, 3, 5.0), (1, 3, 2.0), (1, 2, 9.0)):
        costs[start, stop], links[start, stop] = cost, True
    cost, before = chains(links, costs)
    assert cost[:, 0].tolist()[:4] == [0, 1, 10, 3]
    assert bool(cost[4, 0].isnan())
    assert before[:, 0].tolist()[1:4] == [0, 1, 1]


def test_bad_arguments_are_refused() -> None:
    for words, arguments in (
        ("bound must be finite and 0 or more", {"bound": -1.0}),
        ("slack must be 0 or more", {"slack": -0.1}),
        ("drafts must be 0 or more", {"drafts": -1}),
        ("candidates must be 0 or more", {"candidates": -1}),
        ("position_temperature must be finite and 0 or more", {"position_temperature": -0.5}),
    ):
        with pytest.raises(mdm.SpecError, match=words):
            mdm.BoundedChain(**arguments)  # type: ignore[arg-type]
