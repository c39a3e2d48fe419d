"""Speculation and what it stands on: a planner's tokens, order and entropies, with fewer forwards after each other."""

from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
import torch
from extras import needs
from hypothesis import given, settings
from hypothesis import strategies as st
from instruments import ROWS, every_cache, one_layer, spy_on_trunk
from strategies import rows, samplers, shapes, speculable, untied_rows
from test_needs import Restless
from toys import MASK, random_llama, toy_transformer

import mdm_sampling as mdm
from mdm_sampling.planners.draft_shapes import lattice
from mdm_sampling.planners.info_gain import distinct

Rows = list[tuple[list[int], list[int]]]


def decoded(result: mdm.Result) -> list[object]:
    """All that speculation must not change."""
    costs = [(row.seed, row.steps, round(row.cumulative_entropy, 9)) for row in result.rows]
    orders = [history.order for history in result.histories]
    return [result.sequences, result.texts, costs, orders]


@dataclass(frozen=True)
class Disagreeing(mdm.PositionPlanner):
    """Fills the position whose prediction changed most since the step before, and remembers how often it was asked."""

    needs = mdm.Needs(history=2)

    def plan(self, step: mdm.Step) -> mdm.Plan:
        change = sum((step.prediction.entropy - past.entropy).abs() for past in step.history) + step.confidence
        asked = step.memory.get("asked", torch.zeros_like(step.quota))
        score = change + 0.01 * asked.unsqueeze(-1)
        return mdm.Plan(mdm.top_positions(score, step.masked, step.quota), memory={"asked": asked + 1})


@settings(max_examples=250)
@given(
    data=st.data(),
    planner=speculable | st.sampled_from([Disagreeing(), Restless(0.5)]),
    rows=untied_rows,
    drafts=st.integers(1, 5),
    shape=shapes,
    seed=st.integers(0, 9),
)
def test_it_decodes_as_the_planner_alone(
    data: st.DataObject, planner: mdm.PositionPlanner, rows: Rows, drafts: int, shape: mdm.DraftShape, seed: int
) -> None:
    """Bit for bit in float64: any planner, cache, schedule, token sampler, processors, ends, batch and block."""
    alone = data.draw(samplers(planner=planner))
    speculating = replace(alone, planner=mdm.Speculate(planner, drafts, shape))
    plain, found = alone.fill(rows, seed), speculating.fill(rows, seed)
    assert decoded(found) == decoded(plain)
    pairs = list(zip(found.rows, plain.rows, strict=True))
    assert all(row.sequential_forwards <= other.sequential_forwards + other.steps for row, other in pairs)


@settings(max_examples=80)
@given(data=st.data(), planner=speculable, rows=untied_rows, shape=shapes)
def test_a_rows_forwards_do_not_depend_on_its_batch(
    data: st.DataObject, planner: mdm.PositionPlanner, rows: Rows, shape: mdm.DraftShape
) -> None:
    """A row that has run ahead waits for its neighbours, and is none the worse for it."""
    sampler = data.draw(samplers(planner=mdm.Speculate(planner, 3, shape), eos="off"))
    together = sampler.fill(rows, 3)
    alone = [sampler.fill([row], 3) for row in rows]
    assert together.sequences == [each.sequences[0] for each in alone]
    assert [row.sequential_forwards for row in together.rows] == [each.rows[0].sequential_forwards for each in alone]


@every_cache
@pytest.mark.parametrize("shape", [mdm.Prefixes(), mdm.Lattice(), mdm.OwnSteps()], ids=mdm.describe)
def test_forwards_are_saved_under_every_cache(cache: mdm.CacheStrategy, shape: mdm.DraftShape) -> None:
    """Calls of the model are counted from outside, in a batch of rows of different lengths."""
    backend = one_layer()
    forwards = spy_on_trunk(backend)
    alone = mdm.Sampler(backend, planner="confidence", cache=cache, block_size=8, steps=16)
    plain = alone.fill(ROWS)
    called = len(forwards)
    forwards.clear()
    found = alone.replace(planner=mdm.Speculate("confidence", 6, shape)).fill(ROWS)
    assert decoded(found) == decoded(plain)
    assert called == max(row.sequential_forwards for row in plain.rows) == 8
    # A row's own calls are at most those of its batch, and the block's first forward comes on top of the lookaheads.
    assert max(row.sequential_forwards for row in found.rows) <= len(forwards) < called


def test_a_refresh_is_done_for_all_rows_at_once_when_each_has_come_to_it() -> None:
    """The forward that writes what others read is never skipped: rows wait for it, and it sees the whole canvas."""
    backend = random_llama(layers=2, seed=5)
    forwards = spy_on_trunk(backend)
    cache = mdm.Refresh(mdm.DualCache(), every=3)
    alone = mdm.Sampler(backend, planner="confidence", cache=cache, block_size=9, steps=9)
    rows = [([prompt, 2], [MASK] * 9) for prompt in range(3, 9)]
    plain = alone.fill(rows)
    whole = sum(not forward.is_fork for forward in forwards if len(forward.span) == forward.canvas.length)
    assert whole == 3
    forwards.clear()
    found = alone.replace(planner=mdm.Speculate("confidence", 4)).fill(rows)
    assert decoded(found) == decoded(plain)
    writing = [forward for forward in forwards if not forward.is_fork]
    assert [len(forward.span) == forward.canvas.length for forward in writing] == [True] * 3
    assert all(forward.canvas.batch == len(rows) for forward in writing)


def test_the_embedded_model_needs_half_the_forwards() -> None:
    task = mdm.Sudoku(6)
    alone = mdm.load("embedded").replace(planner="confidence", cache="none", block_size=64)
    rows = [alone.masked_rows([item.body])[0] for item in task.items(12, 3) if item.body]
    plain, found = alone.fill(rows, batch_size=6), alone.replace(planner="speculate").fill(rows, batch_size=12)
    assert decoded(found)[0] == decoded(plain)[0]
    forwards = [sum(row.sequential_forwards for row in result.rows) for result in (found, plain)]
    assert forwards[0] < 0.55 * forwards[1]


@needs("a minute")
@pytest.mark.parametrize("planner", ["confidence", "eb:0.1"])
def test_two_thousand_rows_have_the_tokens_of_the_planner_alone(planner: str) -> None:
    """In float32, in which rounding differs between batches of one and of many."""
    task = mdm.Sudoku(4)
    alone = mdm.load("embedded").replace(planner=planner, cache="none", block_size=32)
    rows = alone.masked_rows([item.body for item in task.items(2000, 0) if item.body])
    found = alone.replace(planner=mdm.Speculate(planner)).fill(rows, batch_size=100)
    assert found.sequences == alone.fill(rows, batch_size=100).sequences


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_drafts_are_accepted_at_token_temperatures(temperature: float) -> None:
    alone = mdm.load("embedded", max_new_tokens=20).replace(
        planner="confidence", token_sampler=mdm.GumbelMax(temperature), block_size=20
    )
    prompts, seeds = ["1... ..3. .1.. ...4"] * 4, [0, 1, 2, 3]
    plain = alone.generate(prompts, seeds)
    found = alone.replace(planner="speculate").generate(prompts, seeds)
    assert (found.sequences, decoded(found)[3]) == (plain.sequences, decoded(plain)[3])
    assert all(2 * row.sequential_forwards < row.steps for row in found.rows)


# --- What is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("planner", ["info-gain", "bypass:0.9,otherwise=info-gain"])
def test_a_planner_that_looks_ahead_is_refused_in_a_sentence(planner: str) -> None:
    sampler = mdm.Sampler(toy_transformer(), planner=f"speculate:({planner})", steps=4, block_size=6)
    with pytest.raises(mdm.SpecError, match="the planner inside looks ahead itself"):
        sampler.fill([([1], [MASK] * 6)])


def test_a_planner_that_drafts_is_refused_in_a_sentence() -> None:
    with pytest.raises(mdm.SpecError, match="the planner inside drafts by itself"):
        mdm.Speculate(mdm.Speculate())
    with pytest.raises(mdm.SpecError, match="drafts must be at least 1"):
        mdm.Speculate(drafts=0)


@dataclass(frozen=True)
class Rude(mdm.PositionPlanner):
    """Drafts, and breaks one promise."""

    fault: str

    needs = mdm.Needs(drafts=True)

    def plan(self, step: mdm.Step) -> mdm.Plan:
        unmask = mdm.top_positions(step.confidence, step.masked, step.quota)
        if not step.may_wait or self.fault == "looks":
            step.lookahead(torch.arange(len(unmask)), unmask, step.tokens)
        if self.fault == "waits" and not step.may_wait:
            return mdm.Plan(unmask & (torch.arange(len(unmask)) > 0).unsqueeze(-1))
        if self.fault == "forgets" and step.may_wait:
            row = torch.arange(len(unmask)) > 0
            return mdm.Plan(unmask & row.unsqueeze(-1), memory={"other": step.quota})
        return mdm.Plan(unmask, memory={} if self.fault != "forgets" else {"some": step.quota})


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("looks", "looked ahead in a step in which rows may wait"),
        ("waits", "made no progress"),
        ("forgets", "one that drafts must always remember the same"),
    ],
)
def test_a_planner_that_breaks_a_promise_of_drafting_is_named(fault: str, words: str) -> None:
    sampler = mdm.Sampler(toy_transformer(), planner=Rude(fault), steps=6, block_size=6)
    with pytest.raises(mdm.ContractError, match=f"Rude.*{words}"):
        sampler.fill([([1], [MASK] * 6), ([2], [MASK] * 6)])


# --- Draft shapes -------------------------------------------------------------------------------------------------


@given(st.integers(1, 40))
def test_a_lattice_is_ordered_by_length_and_swap(count: int) -> None:
    drafts = lattice(count)
    assert len(drafts) == count == len({tuple(groups) for groups in drafts})
    worth = []
    for groups in drafts:
        assert groups[:-1] == list(range(len(groups) - 1))
        worth.append(len(groups) + 2 * (groups[-1] - len(groups) + 1))
    assert all(first <= second for first, second in pairwise(worth))
    missed = [  # all that are worth less than the last one are there
        (length, swap)
        for length in range(1, worth[-1])
        for swap in range(worth[-1])
        if length + 2 * swap < worth[-1] and [*range(length - 1), length - 1 + swap] not in drafts
    ]
    assert not missed


@dataclass(frozen=True)
class Showing(mdm.PositionPlanner):
    """Fills one position, and keeps the drafts of a shape beside what it was shown."""

    shape: mdm.DraftShape
    seen: list[tuple[mdm.Step, mdm.Plan, torch.Tensor, torch.Tensor]]

    def plan(self, step: mdm.Step) -> mdm.Plan:
        plan = mdm.Confidence().plan(step)
        self.seen.append((step, plan, *self.shape.drafts(step, plan, mdm.Confidence(), 4)))
        return plan


@settings(max_examples=60)
@given(data=st.data(), rows=rows, shape=shapes)
def test_a_draft_holds_the_move_and_fills_masks_with_tokens(
    data: st.DataObject, rows: Rows, shape: mdm.DraftShape
) -> None:
    planner = Showing(shape, [])
    data.draw(samplers(planner=planner)).fill(rows)
    for step, plan, unmask, tokens in planner.seen:
        assert (unmask.dtype, tokens.dtype) == (torch.bool, torch.int64)
        assert unmask.shape == tokens.shape == (len(unmask), *step.masked.shape)
        assert 1 <= len(unmask) <= 4
        assert bool((unmask | ~plan.unmask).all())
        assert not bool((unmask & ~step.masked).any())
        assert bool(((tokens >= 0) & (tokens < step.vocab_size) & (tokens != MASK))[unmask].all())
        assert bool((tokens == step.tokens)[:, plan.unmask].all())


def test_the_drafts_of_a_prefix_grow_by_the_quota() -> None:
    planner = Showing(mdm.Prefixes(), [])
    mdm.Sampler(one_layer(), planner=planner, block_size=8, steps=4).fill(ROWS)
    _, _, unmask, _ = planner.seen[0]
    assert unmask.sum(-1).tolist() == [[4] * 3, [6] * 3, [8] * 3, [8] * 3]
    assert Counter(distinct(*planner.seen[0][2:]).sum(0).tolist()) == {3: 3}
