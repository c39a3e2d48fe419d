"""What the loop promises, for every planner, cache, schedule and token sampler, over batches of ragged canvases."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import (
    info_gains,
    plain_caches,
    rows,
    samplers,
    schedules,
    simple_planners,
    token_samplers,
    tokens,
    untied_rows,
)
from toys import EOS, MASK, ToyModel, toy_callable, toy_transformer

import mdm_sampling as mdm
from mdm_sampling.backends.slots import TransformerSlots
from mdm_sampling.canvas import Span
from mdm_sampling.loop import BlockWork, Run
from mdm_sampling.records import Filled, StepRecord

Rows = list[tuple[list[int], list[int]]]


@settings(max_examples=150)
@given(sampler=samplers(), rows=rows, seed=st.integers(0, 3))
def test_a_run_fills_every_mask_and_nothing_else(sampler: mdm.Sampler, rows: Rows, seed: int) -> None:
    canvas = sampler.canvas(rows)
    before = canvas
    for record in sampler.iterate(canvas, seed):
        after = record.canvas
        position = record.block.positions
        assert record.block.start >= canvas.start
        assert len(record.block) <= sampler.block_size
        # Revealed tokens and the prompt never change.
        revealed = ~before.masked
        assert torch.equal(after.tokens[revealed], before.tokens[revealed])
        # Each row that takes part advances, by masked positions of this block.
        assert (before.masked.sum(1) > after.masked.sum(1))[record.rows].all()
        assert record.unmask.any(1).all()
        assert not (record.unmask & ~before.masked[record.rows, position]).any()
        # What was reported is what was written, and no other row moved.
        written = after.tokens[record.rows, position][record.unmask]
        assert torch.equal(written, record.tokens[record.unmask])
        assert (written != MASK).all()
        others = torch.ones(canvas.batch, dtype=torch.bool)
        others[record.rows] = False
        assert torch.equal(after.tokens[others], before.tokens[others])
        if sampler.eos == "off":
            changed = (after.tokens != before.tokens)[record.rows]
            assert torch.equal(changed[:, position], record.unmask)
            assert changed.sum() == record.unmask.sum()
        assert torch.equal(record.finished, ~after.masked[record.rows].any(1))
        before = after
    assert not before.masked.any()
    for i, (prefix, body) in enumerate(rows):
        filled = before.row(i)
        assert filled[: len(prefix)] == prefix
        assert all(new == old for new, old in zip(filled[len(prefix) :], body, strict=True) if old != MASK)


@settings(max_examples=60)
@given(sampler=samplers(eos="off"), rows=rows)
def test_blocks_are_filled_in_order(sampler: mdm.Sampler, rows: Rows) -> None:
    canvas = sampler.canvas(rows)
    for record in sampler.iterate(canvas):
        assert not record.canvas.masked[:, : record.block.start].any()


@settings(max_examples=60)
@given(data=st.data(), rows=rows)
def test_the_quota_is_kept_and_the_steps_suffice(data: st.DataObject, rows: Rows) -> None:
    """Without a bypass, a step fills what the schedule asks for, and no block takes more steps than its share."""
    planner = data.draw(simple_planners | info_gains)
    sampler = data.draw(samplers(planner=planner, eos="off"))
    canvas = sampler.canvas(rows)
    taken: dict[tuple[int, int], int] = {}
    for record in sampler.iterate(canvas):
        for i, row in enumerate(record.rows.tolist()):
            key = (record.block.start, row)
            left = int(record.canvas.masked[row, record.block.positions].sum())
            filled = int(record.unmask[i].sum())
            masked = torch.tensor([left + filled])
            steps = block_steps(canvas, sampler, row)[record.block.start]
            done = taken.get(key, 0)
            taken[key] = done + 1
            quota = int(sampler.schedule.quota(masked, done, torch.tensor([steps])))
            expected = left + filled if steps - done <= 1 else min(max(quota, 1), left + filled)
            assert filled == expected
            assert taken[key] <= steps


def block_steps(canvas: mdm.Canvas, sampler: mdm.Sampler, row: int) -> dict[int, int]:
    """Steps of each block of a row: its share by masks of the steps that earlier blocks left, at least one."""
    starts = range(canvas.start, canvas.length, sampler.block_size)
    masks = [int(canvas.masked[row, s : s + sampler.block_size].sum()) for s in starts]
    left, shares = sampler.steps, {}
    for i, start in enumerate(starts):
        remaining = sum(masks[i:])
        share = round(left * masks[i] / remaining) if remaining else 0
        shares[start] = max(share, 1)
        left = max(left - share, 0)
    return shares


@settings(max_examples=60)
@given(sampler=samplers(), rows=untied_rows, seeds=st.lists(st.integers(0, 5), min_size=3, max_size=3))
def test_a_row_depends_on_its_prompt_and_seed_alone(sampler: mdm.Sampler, rows: Rows, seeds: list[int]) -> None:
    """A row alone, in any batch and at any position of it gets the same tokens."""
    seeds = seeds[: len(rows)]
    together = sampler.fill(rows, seeds, batch_size=3)
    alone = [sampler.fill([row], seed) for row, seed in zip(rows, seeds, strict=True)]
    assert together.sequences == [one.sequences[0] for one in alone]
    backwards = sampler.fill(rows[::-1], seeds[::-1], batch_size=2)
    assert backwards.sequences[::-1] == together.sequences
    for a, b in zip(together.rows, alone, strict=True):
        assert a.steps == b.rows[0].steps
        assert a.cumulative_entropy == pytest.approx(b.rows[0].cumulative_entropy, abs=1e-9)


@settings(max_examples=60)
@given(
    planner=st.sampled_from(
        [
            mdm.Random(),
            mdm.InfoGain(candidates=4, position_temperature=1.0, variant="lookum"),
            mdm.Bypass(0.3, mdm.InfoGain(candidates=4, position_temperature=1.0)),
            mdm.Bypass(0.5, mdm.Random()),
        ]
    ),
    token_sampler=st.sampled_from([mdm.Greedy(), mdm.GumbelMax()]),
    rows=st.lists(st.tuples(st.lists(tokens, max_size=3), st.integers(8, 14)), min_size=2, max_size=3),
    steps=st.sampled_from([5, 20]),
    seed=st.integers(0, 20),
)
def test_a_rows_noise_does_not_depend_on_what_its_neighbours_need(
    planner: mdm.PositionPlanner,
    token_sampler: mdm.TokenSampler,
    rows: list[tuple[list[int], int]],
    steps: int,
    seed: int,
) -> None:
    """Rows that are bypassed or end early, beside rows that draw candidates, over several blocks, the last one cut."""
    sampler = mdm.Sampler(toy_transformer(), planner=planner, token_sampler=token_sampler, block_size=7, steps=steps)
    canvas = [(prefix, [MASK] * length) for prefix, length in rows]
    together = sampler.fill(canvas, seed)
    assert together.sequences == [sampler.fill([row], seed).sequences[0] for row in canvas]


@settings(max_examples=40)
@given(sampler=samplers(), rows=rows, seed=st.integers(0, 3))
def test_the_same_seed_gives_the_same_result_and_global_randomness_is_left_alone(
    sampler: mdm.Sampler, rows: Rows, seed: int
) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = sampler.fill(rows, seed)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert sampler.fill(rows, seed).sequences == first.sequences


@settings(max_examples=60)
@given(sampler=samplers(), rows=rows)
def test_the_report_adds_up(sampler: mdm.Sampler, rows: Rows) -> None:
    """Cumulative entropy, steps and forwards of the result are sums over the step records."""
    records = list(sampler.iterate(sampler.canvas(rows)))
    result = sampler.fill(rows, batch_size=len(rows))
    for row, report in enumerate(result.rows):
        mine = [(r, r.rows.tolist().index(row)) for r in records if row in r.rows.tolist()]
        assert report.steps == len(mine)
        assert report.forwards == sum(int(r.forwards[i]) for r, i in mine)
        assert report.token_forwards == sum(int(r.token_forwards[i]) for r, i in mine)
        assert report.sequential_forwards == sum(int(r.sequential_forwards[i]) for r, i in mine)
        total = sum(float(r.entropy[i].sum()) for r, i in mine)
        assert report.cumulative_entropy == pytest.approx(total, abs=1e-9)
        assert report.seconds > 0


@settings(max_examples=40)
@given(sampler=samplers(backend=toy_callable(), processors=(), eos="off"), rows=rows)
def test_reported_entropy_and_confidence_are_the_models(sampler: mdm.Sampler, rows: Rows) -> None:
    """Recomputed from scratch: the distribution of each filled position on the canvas as it was before the step."""
    model = ToyModel()
    canvas = sampler.canvas(rows)
    before = canvas
    for record in sampler.iterate(canvas):
        logits = model(before.tokens, before.valid)
        logits[..., MASK] = -torch.inf
        p = logits.softmax(-1)[record.rows, record.block.positions]
        entropy = torch.special.entr(p).sum(-1)
        torch.testing.assert_close(record.entropy, torch.where(record.unmask, entropy, 0), atol=1e-9, rtol=0)
        chosen = p.gather(-1, record.tokens.unsqueeze(-1))[..., 0]
        torch.testing.assert_close(record.confidence, torch.where(record.unmask, chosen, 0), atol=1e-9, rtol=0)
        before = record.canvas


@settings(max_examples=40)
@given(sampler=samplers(planner=mdm.Bypass(0.5, mdm.InfoGain(candidates=4))), rows=untied_rows)
def test_splitting_the_lookahead_changes_nothing(sampler: mdm.Sampler, rows: Rows) -> None:
    whole = replace(sampler, lookahead_batch=None).fill(rows)
    assert replace(sampler, lookahead_batch=1).fill(rows).sequences == whole.sequences


@settings(max_examples=40)
@given(sampler=samplers(), rows=rows)
def test_no_forward_is_spent_on_rows_that_are_finished(sampler: mdm.Sampler, rows: Rows) -> None:
    """Only unfinished rows take part in a step, and one of a planner that never looks ahead costs each one forward."""
    canvas = sampler.canvas(rows)
    before = canvas
    for record in sampler.iterate(canvas):
        assert before.masked[record.rows, record.block.positions].any(1).all()
        if isinstance(sampler.planner, mdm.ScorePlanner | mdm.EBSampler | mdm.Factor):
            assert (record.forwards == 1).all()
            assert (record.sequential_forwards == 1).all()
        before = record.canvas


def test_finish_ends_a_row_after_its_end_token() -> None:
    backend = toy_transformer()
    sampler = mdm.Sampler(backend, planner=mdm.LeftToRight(), block_size=6, steps=24, max_new_tokens=24, eos="finish")
    rows: Rows = [([3, seed], [MASK] * 24) for seed in range(1, 12)]
    off = replace(sampler, eos="off").fill(rows)
    finished = sampler.fill(rows)
    assert any(EOS in s[2:-1] for s in off.sequences), "the case is about rows that draw an end token early"
    for a, b, cost, full in zip(off.sequences, finished.sequences, finished.rows, off.rows, strict=True):
        body = a[2:]
        end = body.index(EOS) if EOS in body else len(body)
        assert b[2:] == body[: end + 1] + [EOS] * (len(body) - end - 1)
        assert cost.steps == min(end + 1, 24) <= full.steps


def test_finish_waits_for_positions_before_the_end_token() -> None:
    """An end token that is drawn out of order ends nothing until everything before it is final."""
    table = torch.zeros(8, 5)
    table[:, 1] = 1.0
    table[3, 0] = 9.0  # the end token, at position 3, is the surest of all
    from toys import scripted

    sampler = mdm.Sampler(
        scripted(table, mask_id=4, eos_ids=(0,)), planner=mdm.Confidence(), steps=8, block_size=8, eos="finish"
    )
    result = sampler.fill([([], [4] * 8)])
    assert result.sequences == [[1, 1, 1, 0, 0, 0, 0, 0]]
    assert result.rows[0].steps == 4


def test_iterate_can_be_stopped_early() -> None:
    sampler = mdm.Sampler(toy_transformer(), planner=mdm.Confidence(), steps=8)
    run = sampler.iterate(sampler.canvas([([3], [MASK] * 8)]))
    record: StepRecord = next(run)
    run.close()
    assert int(record.canvas.masked.sum()) == 7


def test_gradients_are_off_inside_and_untouched_outside() -> None:
    sampler = mdm.Sampler(toy_transformer(), planner=mdm.Confidence(), steps=8)
    for record in sampler.iterate(sampler.canvas([([3], [MASK] * 4)])):
        assert torch.is_grad_enabled()
        assert not record.entropy.requires_grad


@given(cache=plain_caches, schedule=schedules, token_sampler=token_samplers)
def test_a_right_shifted_model_fills_the_first_position_too(
    cache: mdm.CacheStrategy, schedule: mdm.Schedule, token_sampler: mdm.TokenSampler
) -> None:
    sampler = mdm.Sampler(
        toy_transformer(1), planner=mdm.InfoGain(candidates=3), cache=cache, schedule=schedule,
        token_sampler=token_sampler, block_size=3, steps=4,
    )  # fmt: skip
    result = sampler.fill([([], [MASK] * 5), ([1, 2, 3], [MASK, 4, MASK])])
    assert all(MASK not in sequence for sequence in result.sequences)


# --- Rows that leave ----------------------------------------------------------------------------------------------


def row_by_row(value: Any) -> list[Any]:
    """What a field of `BlockRows` holds of each row; `KeyError` for a kind that this test has not been taught."""
    if isinstance(value, Mapping):
        return list(zip(*(row_by_row(each) for each in value.values()), strict=True))
    if isinstance(value, tuple):
        return list(zip(*map(row_by_row, value), strict=True))
    readers: dict[type, Any] = {
        list: list,
        torch.Tensor: torch.Tensor.tolist,
        mdm.Canvas: lambda canvas: canvas.tokens.tolist(),
        Filled: lambda filled: list(zip(filled.at.tolist(), filled.confidence.tolist(), strict=True)),
        mdm.Prediction: lambda prediction: prediction.hidden.tolist(),
        TransformerSlots: lambda slots: torch.stack([*slots.keys, *slots.values], 1).tolist(),
    }
    return readers[type(value)](value)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Remembers(mdm.PositionPlanner):
    """Uses all that the loop keeps of a row: memory and history."""

    needs = mdm.Needs(history=2)

    def plan(self, step: mdm.Step) -> mdm.Plan:
        moves = mdm.top_positions(step.confidence, step.masked, step.quota)
        return mdm.Plan(moves, memory={"confidence": step.confidence})


def test_whatever_is_kept_of_rows_is_selected_with_them() -> None:
    """A field that `select` forgets would hand one row what belongs to another."""
    sampler = mdm.Sampler(toy_transformer(), planner=Remembers(), cache=mdm.PrefixCache(), block_size=6, steps=6)
    canvas = sampler.canvas([([1], [MASK] * 6), ([2, 3], [MASK] * 6), ([4], [MASK] * 6)])
    with torch.no_grad():
        run, block = Run(sampler, canvas, [5, 6, 7]), Span(canvas.start, canvas.length)
        work = BlockWork(run, block, torch.arange(3), torch.tensor([6, 5, 4]))
        steps = work.records()
        next(steps), next(steps)
    rows = replace(work.rows, taken=[2, 3, 4])
    before = {field.name: row_by_row(getattr(rows, field.name)) for field in fields(rows)}
    assert all(len({str(row) for row in each}) == 3 for each in before.values())  # a row is told from its neighbours
    chosen = rows.select(torch.tensor([2, 0]))
    for name, each in before.items():
        assert row_by_row(getattr(chosen, name)) == [each[2], each[0]], name
    swapped = rows.updated(torch.tensor([0, 2]), replace(rows.select(torch.tensor([2, 0])), taken=[7, 8]))
    for name, each in before.items():
        kept = name in ("numbers", "seeds", "steps")  # these never change
        expected = each if kept else [7, 3, 8] if name == "taken" else [each[2], each[1], each[0]]
        assert row_by_row(getattr(swapped, name)) == expected, name
    slots = work.forwards.slots
    of_rows = row_by_row(slots)
    work.forwards.keep_rows(torch.tensor([2, 0]))
    assert row_by_row(work.forwards.slots) == [of_rows[2], of_rows[0]]
