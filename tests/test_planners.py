"""Each planner's rule on small cases that can be checked by eye, and the loop's checks of broken ones."""

from dataclasses import dataclass, field, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import rows
from torch import Tensor
from toys import EOS, MASK, scripted, toy_callable, toy_transformer

import mdm_sampling as mdm

Rows = list[tuple[list[int], list[int]]]


def order(
    planner: mdm.PositionPlanner, table: torch.Tensor, steps: int | None = None, seed: int = 0
) -> list[list[int]]:
    """Which positions each step fills, for a model with fixed logits [t v] whose last token is the mask."""
    length, mask_id = len(table), table.shape[1] - 1
    sampler = mdm.Sampler(
        scripted(table, mask_id, eos_ids=(0,)), planner=planner, block_size=length, steps=steps or length
    )
    records = sampler.iterate(sampler.canvas([([], [mask_id] * length)]), seed)
    return [record.unmask[0].nonzero()[:, 0].tolist() for record in records]


#                          token 0, 1, 2, mask
TABLE = torch.tensor(
    [
        [0.50, 0.30, 0.20, 0.0],  # confidence .50, margin .20
        [0.45, 0.05, 0.50, 0.0],  # confidence .50 (of token 2), margin .05
        [0.60, 0.39, 0.01, 0.0],  # confidence .60, margin .21, low entropy
        [0.55, 0.23, 0.22, 0.0],  # confidence .55, margin .32, high entropy
    ]
).log()


def test_left_to_right() -> None:
    assert order(mdm.LeftToRight(), TABLE) == [[0], [1], [2], [3]]


def test_confidence() -> None:
    assert order(mdm.Confidence(), TABLE) == [[2], [3], [0], [1]]


def test_margin() -> None:
    assert order(mdm.Margin(), TABLE) == [[3], [2], [0], [1]]


def test_entropy() -> None:
    entropies = torch.special.entr(TABLE.exp()).sum(-1)
    assert order(mdm.Entropy(), TABLE) == [[int(i)] for i in entropies.argsort()]


def test_random_uses_every_order() -> None:
    orders = {str(order(mdm.Random(), TABLE[:3], seed=seed)) for seed in range(60)}
    assert len(orders) == 6


def test_quota_takes_the_best_k() -> None:
    assert order(mdm.Confidence(), TABLE, steps=2) == [[2, 3], [0, 1]]


def test_ties_go_to_the_left() -> None:
    assert order(mdm.Confidence(), torch.zeros(3, 4)) == [[0], [1], [2]]


def test_bypass_fills_all_that_reach_the_threshold_at_once() -> None:
    """Also with a quota of one, and the rest goes on one by one."""
    assert order(mdm.Bypass(0.54), TABLE) == [[2, 3], [0], [1]]
    assert order(mdm.Bypass(0.54, capped=True), TABLE) == [[2], [3], [0], [1]]
    assert order(mdm.Bypass(0.99, mdm.LeftToRight()), TABLE) == [[0], [1], [2], [3]]


def test_bypass_goes_by_the_likeliest_token_and_fills_the_drawn_one() -> None:
    """At a token temperature a sure position may draw another token; it is filled all the same, with what was drawn."""
    table = torch.tensor([[0.9, 0.05, 0.05, 0.0]] * 40).log()
    sampler = mdm.Sampler(
        scripted(table, 3), planner=mdm.Bypass(0.85), token_sampler=mdm.GumbelMax(1.0), block_size=40, steps=40
    )
    records = list(sampler.iterate(sampler.canvas([([], [3] * 40)])))
    assert len(records) == 1
    assert set(records[0].tokens[0].tolist()) == {0, 1, 2}


def test_defer_positions_end_tokens_last_but_does_position_them() -> None:
    """Positions 0, 2 and 3 propose the end token, token 0; their order among themselves is kept."""
    assert order(mdm.Defer(mdm.Confidence()), TABLE) == [[1], [2], [3], [0]]
    assert order(mdm.Defer(mdm.Confidence(), ids=(2,)), TABLE) == [[2], [3], [0], [1]]


@dataclass(frozen=True)
class Watched(mdm.PositionPlanner):
    """Passes steps on and keeps what was planned: (step, plan)."""

    inner: mdm.PositionPlanner
    seen: list[tuple[mdm.Step, mdm.Plan]] = field(default_factory=list, compare=False)

    def plan(self, step: mdm.Step) -> mdm.Plan:
        self.seen.append((step, self.inner.plan(step)))
        return self.seen[-1][1]


@dataclass(frozen=True)
class TakesAnotherDraw(mdm.PositionPlanner):
    """Fill by confidence, with the tokens of the last of some further draws."""

    def plan(self, step: mdm.Step) -> mdm.Plan:
        drawn = step.propose(3)
        return mdm.Plan(mdm.top_positions(drawn.confidence[2], step.masked, step.quota), drawn.tokens[2])


@pytest.mark.parametrize(
    "planner", [mdm.Confidence(), mdm.InfoGain(6, 0.3), mdm.Bypass(0.3, mdm.InfoGain(4, 1.0)), TakesAnotherDraw()]
)
@pytest.mark.parametrize("ids", [(), (1, 2)])
@pytest.mark.parametrize("steps", [12, 5])
def test_defer_fills_no_end_token_while_another_position_has_a_token_that_is_none(
    planner: mdm.PositionPlanner, ids: tuple[int, ...], steps: int
) -> None:
    """Also where the other planner draws tokens of its own; a row's last step fills all that is left."""
    table = torch.randn(12, 6, generator=torch.Generator().manual_seed(0)) * 0.5
    table[:, 0] += 0.5
    late = torch.tensor(ids or (0,))
    watched = Watched(mdm.Defer(planner, ids))
    sampler = mdm.Sampler(
        scripted(table, 5, eos_ids=(0,)), watched, token_sampler=mdm.GumbelMax(), steps=steps, block_size=12
    )
    for seed in range(15):
        sampler.fill([([], [5] * 12)], seed)
    for step, plan in watched.seen:
        filled = (step.tokens if plan.tokens is None else plan.tokens)[plan.unmask]
        others = bool((step.masked & ~torch.isin(step.tokens, late)).any())
        assert step.is_last.all() or not (others and torch.isin(filled, late).any())


WRAPPED = [
    mdm.Bypass(0.9, mdm.InfoGain()),
    mdm.Bypass(0.3, mdm.InfoGain(), capped=True),
    mdm.Defer(mdm.Confidence()),
    mdm.Defer(mdm.Bypass(0.3, mdm.Random())),
    mdm.Bypass(0.5, mdm.Defer(mdm.InfoGain(3))),
]


@given(
    planner=st.sampled_from(WRAPPED),
    steps=st.integers(1, 9),
    block_size=st.integers(2, 8),
    token_sampler=st.sampled_from([mdm.Greedy(), mdm.GumbelMax()]),
    seed=st.integers(0, 5),
)
@settings(max_examples=30)
def test_no_wrapper_takes_more_steps_than_there_are(
    planner: mdm.PositionPlanner, steps: int, block_size: int, token_sampler: mdm.TokenSampler, seed: int
) -> None:
    """At least one for each block, however few there are."""
    sampler = mdm.Sampler(toy_transformer(), planner, token_sampler=token_sampler, steps=steps, block_size=block_size)
    rows = [([1, 2], [MASK] * 8), ([3], [MASK] * 8)]
    assert all(row.steps <= max(steps, -(-8 // block_size)) for row in sampler.fill(rows, seed).rows)


def test_a_planner_that_leaves_masks_at_the_last_step_is_named() -> None:
    @dataclass(frozen=True)
    class OneAtATime(mdm.PositionPlanner):
        def plan(self, step: mdm.Step) -> mdm.Plan:
            return mdm.Plan(mdm.top_positions(step.confidence, step.masked, torch.ones_like(step.quota)))

    sampler = mdm.Sampler(toy_transformer(), OneAtATime(), steps=8)
    sampler.fill([([1], [MASK] * 8)])
    with pytest.raises(mdm.ContractError, match=r"OneAtATime\(\) left positions masked at a row's last step"):
        replace(sampler, steps=7).fill([([1], [MASK] * 8)])


@given(
    score=st.lists(st.floats(allow_nan=True, width=32), min_size=1, max_size=8),
    data=st.data(),
)
def test_top_positions_against_a_plain_sort(score: list[float], data: st.DataObject) -> None:
    eligible = data.draw(st.lists(st.booleans(), min_size=len(score), max_size=len(score)))
    count = data.draw(st.integers(0, len(score)))
    got = mdm.top_positions(torch.tensor([score]), torch.tensor([eligible]), torch.tensor([count]))[0]
    ranked = sorted(
        (i for i in range(len(score)) if eligible[i]),
        key=lambda i: (-score[i] if score[i] == score[i] else float("inf"), i),
    )
    assert got.nonzero()[:, 0].tolist() == sorted(ranked[:count])


@dataclass(frozen=True)
class Broken(mdm.PositionPlanner):
    """Breaks its contract in a chosen way."""

    how: str

    def plan(self, step: mdm.Step) -> mdm.Plan:
        first = mdm.top_positions(step.confidence, step.masked, torch.ones_like(step.quota))
        if self.how == "revealed":
            return mdm.Plan(unmask=torch.ones_like(step.masked))
        if self.how == "stuck":
            return mdm.Plan(unmask=torch.zeros_like(step.masked))
        if self.how == "shape":
            return mdm.Plan(unmask=first[:, :-1])
        if self.how == "type":
            return mdm.Plan(unmask=first.float())
        if self.how == "mask":
            return mdm.Plan(unmask=first, tokens=torch.full_like(step.tokens, MASK))
        if self.how == "vocabulary":
            return mdm.Plan(unmask=first, tokens=torch.full_like(step.tokens, 99))
        return mdm.Plan(unmask=first, tokens=step.tokens.float())


@pytest.mark.parametrize(
    ("how", "fault"),
    [
        ("revealed", "unmasked a position that is not masked"),
        ("stuck", "made no progress"),
        ("shape", "returned unmask of shape"),
        ("type", r"torch.float32, expected .* torch.bool"),
        ("mask", "the mask token"),
        ("vocabulary", "outside the vocabulary"),
        ("tokens", "returned tokens of shape"),
    ],
)
def test_a_planner_that_breaks_its_contract_is_named(how: str, fault: str) -> None:
    sampler = mdm.Sampler(toy_transformer(), planner=Broken(how), block_size=4, steps=8)
    with pytest.raises(mdm.ContractError, match=fault) as caught:
        sampler.fill([([1], [MASK, EOS, MASK, MASK])])
    assert f"planner Broken(how='{how}')" in str(caught.value)


@dataclass(frozen=True)
class Counting(mdm.PositionPlanner):
    """Remembers in each row how many steps of the block it has seen, and fails if the loop mixes rows up."""

    def plan(self, step: mdm.Step) -> mdm.Plan:
        seen = step.memory.get("steps", torch.zeros_like(step.quota))
        tag = step.memory.get("tag", step.masked.sum(1))
        assert (tag - step.masked.sum(1) == seen).all()
        plan = mdm.Confidence().plan(step)
        return replace(plan, memory={"steps": seen + 1, "tag": tag})


def test_memory_comes_back_row_by_row_and_starts_anew_at_each_block() -> None:
    sampler = mdm.Sampler(toy_transformer(), planner=Counting(), block_size=4, steps=64)
    rows = [([1], [MASK] * 8), ([2], [MASK, 3, MASK, 4, MASK, 5, 6, 7]), ([], [3, MASK, MASK, MASK])]
    result = sampler.fill(rows)
    assert [report.steps for report in result.rows] == [8, 3, 3]


@dataclass(frozen=True)
class Every(mdm.PositionPlanner):
    """Counts its calls in its memory and fills the position that the count points to."""

    def plan(self, step: mdm.Step) -> mdm.Plan:
        calls = step.memory.get("calls", torch.zeros_like(step.quota))
        positions = torch.arange(step.masked.shape[1]) + calls.unsqueeze(-1)
        score = -(positions % step.masked.shape[1]).double()
        return mdm.Plan(mdm.top_positions(score, step.masked, step.quota), memory={"calls": calls + 1})


def test_a_stateful_planner_behind_a_bypass_does_not_depend_on_neighbours() -> None:
    rows = [([seed], [MASK] * 9) for seed in range(6)]
    sampler = mdm.Sampler(toy_transformer(), planner=mdm.Bypass(0.4, Every()), block_size=9, steps=9)
    together = sampler.fill(rows).sequences
    assert together == [sampler.fill([row]).sequences[0] for row in rows]


@dataclass(frozen=True)
class NoPlan(mdm.PositionPlanner):
    """Broken: returns a tensor."""

    def plan(self, step: mdm.Step) -> mdm.Plan:
        return step.masked  # type: ignore[return-value]


@dataclass(frozen=True)
class ShortScore(mdm.ScorePlanner):
    """Broken: scores too few positions."""

    def score(self, step: mdm.Step) -> torch.Tensor:
        return step.confidence[:, :-1]


@pytest.mark.parametrize(
    ("planner", "fault"),
    [
        (NoPlan(), r"NoPlan\(\) must return a Plan"),
        (ShortScore(), r"ShortScore\(\) must score each position, \[1, 3\]"),
    ],
)
def test_what_is_no_plan_or_no_score_is_named(planner: mdm.PositionPlanner, fault: str) -> None:
    with pytest.raises(mdm.ContractError, match=fault):
        mdm.Sampler(toy_transformer(), planner=planner).fill([([1], [MASK] * 3)])


@dataclass(frozen=True)
class Halves(mdm.Schedule):
    """Broken: returns fractions."""

    def quota(self, masked: torch.Tensor, step: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return masked / 2


def test_a_schedule_that_returns_fractions_is_named() -> None:
    sampler = mdm.Sampler(toy_transformer(), planner=mdm.Confidence(), schedule=Halves())
    with pytest.raises(mdm.ContractError, match=r"schedule Halves\(\) must return int64"):
        sampler.fill([([1], [MASK] * 3)])


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        ({"planner": "confidance"}, "planner: unknown name 'confidance' in planners; did you mean 'confidence'"),
        ({"planner": mdm.Confidence}, "planner must be a PositionPlanner object"),
        ({"cache": mdm.Uniform()}, "cache must be a CacheStrategy object"),
        ({"backend": torch.nn.Linear(2, 2)}, "backend must be a ModelBackend object"),
    ],
)
def test_a_part_of_the_wrong_kind_is_refused(part: dict[str, object], fault: str) -> None:
    with pytest.raises(mdm.SpecError, match=fault):
        mdm.Sampler(**({"backend": toy_transformer()} | part))  # type: ignore[arg-type]


# --- What wrappers make of a step ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Changes(mdm.PositionPlanner):
    """Changes the step by one method after the other, at positions drawn by chance, and fills what is left to fill."""

    methods: tuple[str, ...]

    def plan(self, step: mdm.Step) -> mdm.Plan:
        rest = step
        for method in self.methods:
            drawn = step.noise.uniform(1)[0]
            before, positions, quota = rest, drawn < 0.4, (drawn[:, 0] * 9).long()
            rest = rest.asking(quota) if method == "asking" else getattr(rest, method)(positions)
            self.check(before, rest, positions)
        plan = mdm.Confidence().plan(rest)
        return mdm.Plan(unmask=plan.unmask | rest.fixed)

    def check(self, before: mdm.Step, after: mdm.Step, positions: Tensor) -> None:
        assert bool((after.quota <= after.masked.sum(-1)).all())
        assert not bool((after.masked & after.fixed).any())
        assert bool((after.masked <= before.masked).all())
        assert bool((after.fixed >= before.fixed).all())
        assert bool(((after.quota > 0) | after.fixed.any(-1)).all())  # each row goes on
        assert bool((after.masked <= after.open).all())
        assert torch.equal(after.open, before.open & ~after.fixed)
        last = before.is_last
        assert all(torch.equal(getattr(after, name)[last], getattr(before, name)[last]) for name in ("masked", "quota"))


@settings(max_examples=60)
@given(rows=rows, methods=st.lists(st.sampled_from(["only", "decided", "asking"]), max_size=4), steps=st.integers(1, 9))
def test_a_changed_step_keeps_its_promises(rows: Rows, methods: list[str], steps: int) -> None:
    sampler = mdm.Sampler(toy_callable(), planner=Changes(tuple(methods)), block_size=4, steps=steps)
    sequences = sampler.fill(rows).sequences
    assert MASK not in [token for sequence in sequences for token in sequence]
