"""What planners may ask of the loop beyond a step's prediction: history, what was filled when, and remasking."""

from dataclasses import dataclass, field, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import rows, samplers, untied_rows
from toys import MASK, toy_callable, toy_transformer

import mdm_sampling as mdm

Rows = list[tuple[list[int], list[int]]]


@dataclass(frozen=True)
class Restless(mdm.PositionPlanner):
    """Fill by confidence and reopen each reopenable position with some probability."""

    chance: float = 0.7
    needs = mdm.Needs(remasking=True)

    def plan(self, step: mdm.Step) -> mdm.Plan:
        unmask = mdm.top_positions(step.confidence, step.masked, step.quota)
        return mdm.Plan(unmask, remask=step.reopenable & (step.noise.uniform(1)[0] < self.chance))


@dataclass(frozen=True)
class Spying(mdm.PositionPlanner):
    """Keeps the steps that it is shown."""

    otherwise: mdm.PositionPlanner = field(default_factory=mdm.Confidence)
    history: int = 0
    seen: list[mdm.Step] = field(default_factory=list, compare=False)

    @property
    def needs(self) -> mdm.Needs:
        return super().needs | mdm.Needs(history=self.history)

    def plan(self, step: mdm.Step) -> mdm.Plan:
        self.seen.append(step)
        return self.otherwise.plan(step)


restless = st.builds(Restless, st.sampled_from([0.3, 0.9, 1.0]))
wrapped = restless | st.builds(mdm.Bypass, threshold=st.sampled_from([0.2, 0.9]), otherwise=restless)


@settings(max_examples=80)
@given(data=st.data(), planner=wrapped, rows=rows)
def test_a_planner_that_remasks_comes_to_an_end(data: st.DataObject, planner: mdm.PositionPlanner, rows: Rows) -> None:
    """However often it reopens, a block takes at most its steps and then one for each position that is left."""
    sampler = data.draw(samplers(planner=planner, eos="off"))
    canvas = sampler.canvas(rows)
    given_tokens = ~canvas.masked
    steps: dict[int, int] = {}
    standing = canvas.tokens
    for record in sampler.iterate(canvas, seed=3):
        steps[record.block.start] = steps.get(record.block.start, 0) + 1
        now = record.canvas.tokens
        changed = torch.zeros_like(canvas.masked)
        changed[record.rows[:, None], torch.arange(record.block.start, record.block.stop)] = record.unmask
        reopened = torch.zeros_like(canvas.masked)
        reopened[record.rows[:, None], torch.arange(record.block.start, record.block.stop)] = record.remask
        assert not bool((changed & reopened).any())
        assert torch.equal((standing != now), changed | reopened)
        assert bool((now[reopened] == MASK).all())
        assert not bool((reopened & given_tokens).any())
        standing = now
    assert torch.equal(standing[given_tokens], canvas.tokens[given_tokens])
    assert not bool((standing[canvas.valid] == MASK).any())
    assert all(count <= sampler.steps + sampler.block_size for count in steps.values())


@settings(max_examples=40)
@given(data=st.data(), planner=wrapped, rows=untied_rows)
def test_a_row_that_is_reopened_does_not_depend_on_its_neighbours(
    data: st.DataObject, planner: mdm.PositionPlanner, rows: Rows
) -> None:
    sampler = data.draw(samplers(planner=planner))
    together = sampler.fill(rows, seed=4)
    for i, row in enumerate(rows):
        alone = sampler.fill([row], seed=4)
        assert alone.sequences[0] == together.sequences[i]
        assert alone.rows[0].steps == together.rows[i].steps
    assert sampler.fill(rows, seed=4).sequences == together.sequences


def test_steps_that_are_left_over_are_spent_on_reopened_positions() -> None:
    """Four positions in ten steps: a planner that always reopens uses them all, and the last one closes the block."""
    sampler = mdm.Sampler(toy_transformer(), planner=Restless(1.0), steps=10)
    records = list(sampler.iterate(sampler.canvas([([1, 2], [MASK] * 4)])))
    assert len(records) == 10
    assert [bool(record.remask.any()) for record in records] == [False] + [True] * 8 + [False]
    assert int(sum(record.unmask.sum() - record.remask.sum() for record in records)) == 4


@pytest.mark.parametrize(
    ("needs", "positions", "message"),
    [
        (mdm.Needs(), "filled", r"reopened a position that is not reopenable; it must ask for it with"),
        (mdm.Needs(remasking=True), "given", r"reopened a position that is not reopenable$"),
        (mdm.Needs(remasking=True), "masked", r"reopened a position that is not reopenable$"),
        (mdm.Needs(remasking=True), "wide", r"returned remask of shape \[1, 5\]"),
        ("history", "filled", r"needs must be a Needs, got 'history'"),
    ],
    ids=["undeclared", "given", "masked", "shape", "needs"],
)
def test_a_plan_that_may_not_reopen_is_refused(needs: mdm.Needs, positions: str, message: str) -> None:
    @dataclass(frozen=True)
    class Bad(mdm.PositionPlanner):
        def plan(self, step: mdm.Step) -> mdm.Plan:
            unmask = mdm.top_positions(step.confidence, step.masked, step.quota)
            chosen = {
                "filled": step.filled.at >= 0,
                "given": (step.block_tokens != MASK) & (step.filled.at < 0),
                "masked": step.masked & ~unmask,
                "wide": torch.zeros(1, 5, dtype=torch.bool),
            }
            return mdm.Plan(unmask, remask=chosen[positions])

    Bad.needs = needs  # type: ignore[assignment, method-assign]
    sampler = mdm.Sampler(toy_callable(), planner=Bad(), steps=3)
    with pytest.raises(mdm.ContractError, match=f"planner .*Bad.*{message}"):
        list(sampler.iterate(sampler.canvas([([1], [MASK, 4, MASK, MASK])])))


@settings(max_examples=60)
@given(data=st.data(), rows=rows, planner=st.sampled_from([mdm.Confidence(), Restless(0.5)]))
def test_a_step_tells_what_was_filled_when_and_where_it_stands(
    data: st.DataObject, rows: Rows, planner: mdm.PositionPlanner
) -> None:
    """Against a ledger kept from the records alone."""
    spy = Spying(planner)
    sampler = data.draw(samplers(planner=spy, eos="off"))
    canvas = sampler.canvas(rows)
    ledger: dict[tuple[int, int], tuple[int, float]] = {}
    tokens, block, taken = canvas.tokens, None, 0
    for record in sampler.iterate(canvas):
        taken = 0 if record.block != block else taken + 1
        block = record.block
        step = spy.seen[-1]
        assert (set(step.taken.tolist()), step.offset) == ({taken}, block.start - canvas.start)
        assert step.positions.tolist() == list(range(step.offset, step.offset + len(block)))
        assert bool((step.steps >= 1).all())
        assert torch.equal(step.valid, canvas.valid[record.rows, block.positions])
        assert torch.equal(step.block_tokens, tokens[record.rows, block.positions])
        for i, row in enumerate(record.rows.tolist()):
            for j in range(len(block)):
                at, confidence = ledger.get((row, block.start + j), (-1, 0.0))
                assert int(step.filled.at[i, j]) == at
                assert float(step.filled.confidence[i, j]) == pytest.approx(confidence, abs=1e-6)
                allowed = planner.needs.remasking and at >= 0 and taken < int(step.steps[i]) - 1
                assert bool(step.reopenable[i, j]) == allowed
                if record.unmask[i, j]:
                    ledger[row, block.start + j] = taken, float(record.confidence[i, j])
                if record.remask[i, j]:
                    del ledger[row, block.start + j]
        tokens = record.canvas.tokens


@settings(max_examples=60)
@given(data=st.data(), rows=rows, history=st.integers(0, 3))
def test_history_holds_the_predictions_of_the_blocks_earlier_steps(
    data: st.DataObject, rows: Rows, history: int
) -> None:
    spy = Spying(mdm.InfoGain(3), history)
    sampler = data.draw(samplers(planner=spy))
    before: list[dict[int, torch.Tensor]] = []
    block = None
    for record in sampler.iterate(sampler.canvas(rows)):
        if record.block != block:
            before, block = [], record.block
        step = spy.seen[-1]
        assert len(step.history) == min(history, len(before))
        for past, expected in zip(step.history, reversed(before), strict=False):
            for i, row in enumerate(record.rows.tolist()):
                assert torch.equal(past.entropy[i], expected[row])
                assert bool((past.masked[i] | ~step.masked[i]).all())
        before.append(dict(zip(record.rows.tolist(), step.prediction.entropy, strict=True)))


def test_history_does_not_keep_the_rest_of_the_span_alive() -> None:
    spy = Spying(history=1)
    sampler = mdm.Sampler(toy_transformer(), planner=spy, cache=mdm.NoCache(), block_size=2, steps=4)
    list(sampler.iterate(sampler.canvas([([1] * 9, [MASK] * 4)])))
    past = spy.seen[1].history[0].hidden
    assert past.untyped_storage().nbytes() == past.numel() * past.element_size()


def test_wrappers_need_what_the_planners_inside_them_need() -> None:
    deep = mdm.Bypass(0.9, mdm.Defer(Spying(Restless(), history=2)))
    assert deep.needs == mdm.Needs(history=2, remasking=True)
    assert mdm.Bypass(0.9, mdm.InfoGain()).needs == mdm.Needs()
    assert replace(deep, otherwise=mdm.Confidence()).needs == mdm.Needs()
    with pytest.raises(mdm.SpecError, match="history must be 0 or more"):
        mdm.Needs(history=-1)
