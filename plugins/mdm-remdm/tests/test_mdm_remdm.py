"""ReMDM against a plain implementation of its step, one row at a time, and against the probabilities of the paper."""

import math
from dataclasses import dataclass, field, replace

import pytest
import torch
from mdm_remdm import ReMDM
from torch import Tensor

import mdm_sampling as mdm
from mdm_sampling.testing import check_planner

VOCAB, MASK = 9, 8
ROWS = [
    ([1, 2], [MASK] * 9),
    ([3], [MASK, 5, MASK, MASK, MASK]),
    ([4, 0, 6, 2, 7], [MASK] * 4 + [1, 2] + [MASK] * 6),
]
PLANNERS = [ReMDM(), ReMDM(0.6), ReMDM(0.5, "rescale"), ReMDM(1.0, "rescale"), ReMDM(strategy="conf")]


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
        return torch.tanh(x + 2 * x.mean(0)) @ self.out * 2

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


def steady(positions: int) -> mdm.ModelBackend:
    """A model that reads nothing, with another confidence at each position; fast for large batches."""
    table = torch.randn(positions, VOCAB, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2
    return mdm.wrap(lambda tokens: table.expand(len(tokens), positions, VOCAB).clone(), MASK, VOCAB)


def naive_due(step: mdm.Step, i: int) -> int:
    """By how many positions row i should have more filled afterwards."""
    filled, masked = int((step.filled.at[i] >= 0).sum()), int(step.prediction.masked[i].sum())
    quota, steps = int(step.quota[i]), int(step.steps[i])
    to_spare = steps - int(step.taken[i]) > masked
    even_pace = (filled + masked) * (int(step.taken[i]) + 1) / steps
    return 0 if to_spare and quota == 1 and filled >= even_pace - 1e-9 else quota


def naive_sigma(planner: ReMDM, step: mdm.Step, i: int) -> dict[int, float]:
    """The paper's probability for each position of row i that may be reopened."""
    positions = step.reopenable[i].nonzero()[:, 0].tolist()
    if int(step.quota[i]) == 0 or not positions:
        return {}
    filled, masked = int((step.filled.at[i] >= 0).sum()), int(step.prediction.masked[i].sum())
    total = filled + masked
    alpha_t, alpha_s = filled / total, (filled + int(step.fixed[i].sum()) + naive_due(step, i)) / total
    largest = min(1.0, (1 - alpha_s) / alpha_t)
    if planner.strategy == "cap":
        return dict.fromkeys(positions, min(planner.eta, largest))
    if planner.strategy == "rescale":
        return dict.fromkeys(positions, planner.eta * largest)
    weights = {j: math.exp(-float(step.filled.confidence[i, j])) for j in positions}
    return {j: weight / sum(weights.values()) * largest for j, weight in weights.items()}


def naive_plan(planner: ReMDM, step: mdm.Step, i: int, seed: int) -> tuple[list[int], list[int]]:
    """The positions that row i fills, by confidence, and reopens."""
    noise = mdm.RowNoise.from_seeds([seed], torch.device("cpu"), step.offset, int(step.taken[i]))
    draws = noise.uniform([0], 1, step.noise.width)[0, 0].tolist()
    reopened = [j for j, sigma in naive_sigma(planner, step, i).items() if draws[j] < sigma]
    masked = step.masked[i].nonzero()[:, 0].tolist()
    count = max(int(step.quota[i]), naive_due(step, i) + len(reopened))
    chosen = sorted(masked, key=lambda j: -float(step.confidence[i, j]))[:count]
    return sorted(chosen), reopened


def spied(planner: mdm.PositionPlanner, **settings: object) -> tuple[Spy, mdm.Sampler]:
    spy = Spy(planner)
    settings = {"backend": Toy(0).backend, "block_size": 6, "steps": 30} | settings
    return spy, mdm.Sampler(planner=spy, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "planner", [ReMDM(), ReMDM(1.0, "rescale", mdm.InfoGain(3)), ReMDM(strategy="conf")], ids=mdm.describe
)
def test_it_conforms(planner: ReMDM) -> None:
    check_planner(planner, examples=30)


@pytest.mark.parametrize(
    ("planner", "schedule"),
    [*((planner, mdm.Uniform()) for planner in PLANNERS), (ReMDM(0.6), mdm.Constant(2)), (ReMDM(0.6), mdm.Cosine())],
    ids=mdm.describe,
)
def test_it_reopens_and_fills_what_a_plain_implementation_does(planner: ReMDM, schedule: mdm.Schedule) -> None:
    moves = reopenings = 0
    for steps, block in ((8, 6), (8, 12), (16, 6), (36, 6)):
        spy, sampler = spied(planner, schedule=schedule, steps=steps, block_size=block)
        canvas = sampler.canvas(ROWS)
        for record in sampler.iterate(canvas, seed=[5, 6, 7]):
            step, plan = spy.seen[-1]
            assert plan.remask is not None
            for i, row in enumerate(record.rows.tolist()):
                found = (plan.unmask[i].nonzero()[:, 0].tolist(), plan.remask[i].nonzero()[:, 0].tolist())
                assert found == naive_plan(planner, step, i, seed=5 + row)
                moves += 1
                reopenings += len(found[1])
    assert moves > 30
    assert reopenings >= 10


@pytest.mark.parametrize("planner", PLANNERS, ids=mdm.describe)
def test_as_many_positions_are_reopened_as_the_paper_expects(planner: ReMDM) -> None:
    """Over 300 rows of 12 positions in 16 steps, at every step: within four standard deviations."""
    spy, sampler = spied(planner, backend=steady(12), steps=16, block_size=12)
    rows = [([], [MASK] * 12)] * 300
    list(sampler.iterate(sampler.canvas(rows), seed=list(range(300))))
    all_found = all_expected = all_variance = 0.0
    for step, plan in spy.seen:
        assert plan.remask is not None
        chances = [p for i in range(len(step.quota)) for p in naive_sigma(planner, step, i).values()]
        expected, variance = sum(chances), sum(p * (1 - p) for p in chances)
        assert abs(int(plan.remask.sum()) - expected) <= 4 * math.sqrt(variance) + 1e-9
        all_found, all_expected = all_found + int(plan.remask.sum()), all_expected + expected
        all_variance += variance
    assert all_expected > 100
    assert abs(all_found - all_expected) <= 3 * math.sqrt(all_variance) + 1e-9


def test_conf_reopens_the_less_confident_more_often() -> None:
    """Of the positions of a row that may be reopened at a step; the earlier steps reopen more, and fill the surest."""
    spy, sampler = spied(ReMDM(strategy="conf"), backend=steady(12), steps=20, block_size=12)
    rows = [([], [MASK] * 12)] * 300
    list(sampler.iterate(sampler.canvas(rows), seed=list(range(300))))
    times = {"sure": 0, "unsure": 0}
    for step, plan in spy.seen:
        assert plan.remask is not None
        half = step.reopenable.sum(-1) // 2
        for name, sign in (("sure", 1), ("unsure", -1)):
            positions = mdm.top_positions(sign * step.filled.confidence, step.reopenable, half)
            times[name] += int((plan.remask & positions).sum())
    assert times["unsure"] > 1.2 * times["sure"] > 120


@pytest.mark.parametrize("cache", [mdm.NoCache(), mdm.PrefixCache(), mdm.DualCache()], ids=mdm.describe)
@pytest.mark.parametrize("planner", PLANNERS, ids=mdm.describe)
def test_a_run_with_more_steps_ends_and_keeps_what_was_given(planner: ReMDM, cache: mdm.CacheStrategy) -> None:
    sampler = mdm.Sampler(Toy(3).backend, planner, cache, block_size=6, steps=80)
    canvas = sampler.canvas(ROWS)
    fixed = ~canvas.masked
    reopened = 0
    for record in sampler.iterate(canvas, seed=4):
        assert torch.equal(record.canvas.tokens[fixed], canvas.tokens[fixed])
        reopened += int(record.remask.sum())
        last = record
    assert reopened > 0
    assert bool(last.finished.all())
    assert not bool(last.canvas.masked.any())
    for row in sampler.fill(ROWS, seed=4).rows:
        assert row.steps <= 80


def test_steps_beyond_the_positions_are_spent_on_reconsidering() -> None:
    """Without the even pace the schedule's one position a step would end a block of 20 after about 21 steps."""
    rows = [([], [MASK] * 20)] * 50
    mean_steps = []
    for steps in (10, 20, 40):
        sampler = mdm.Sampler(steady(20), ReMDM(), block_size=20, steps=steps)
        result = sampler.fill(rows, seed=list(range(50)), batch_size=50)
        mean_steps.append(sum(row.steps for row in result.rows) / 50)
        assert all(row.steps <= steps for row in result.rows)
    assert mean_steps[:2] == [10, 20]
    assert mean_steps[2] > 35


def test_nothing_is_reopened_at_the_last_step_and_all_is_filled() -> None:
    spy, sampler = spied(ReMDM(1.0), steps=7, block_size=12)
    list(sampler.iterate(sampler.canvas(ROWS)))
    for step, plan in spy.seen:
        assert plan.remask is not None
        last = step.steps - step.taken <= 1
        assert not bool(plan.remask[last].any())
        assert torch.equal(plan.unmask[last], step.masked[last])
    assert set(spy.seen[-1][0].taken.tolist()) == {6}


def test_rows_that_a_bypass_decided_reopen_nothing() -> None:
    spy = Spy(ReMDM(1.0))
    sampler = mdm.Sampler(Toy(0).backend, mdm.Bypass(0.95, spy), block_size=12, steps=60)
    list(sampler.iterate(sampler.canvas(ROWS)))
    decided = undecided = 0
    for step, plan in spy.seen:
        assert plan.remask is not None
        remasked = plan.remask.sum(-1)
        assert not bool(remasked[step.quota == 0].any())
        decided += int((step.quota == 0).sum())
        undecided += int(remasked.sum())
    assert min(decided, undecided) > 5


def test_positions_that_a_wrapper_fills_itself_count_as_filled() -> None:
    @dataclass(frozen=True)
    class Surest(mdm.PositionPlanner):
        """Fill the surest position, and let another planner choose the rest of the quota."""

        otherwise: mdm.PositionPlanner

        def plan(self, step: mdm.Step) -> mdm.Plan:
            first = mdm.top_positions(step.confidence, step.masked, torch.ones_like(step.quota))
            rest = replace(step, masked=step.masked & ~first, fixed=first, quota=step.quota - 1)
            plan = self.otherwise.plan(rest)
            return replace(plan, unmask=plan.unmask | first)

    reopenings = 0
    planner = ReMDM(1.0, "rescale")
    spy, _ = spied(planner)
    sampler = mdm.Sampler(steady(20), Surest(spy), schedule=mdm.Constant(3), block_size=20, steps=30)
    canvas = sampler.canvas([([], [MASK] * 20)] * 8)
    for record in sampler.iterate(canvas, seed=list(range(8))):
        step, plan = spy.seen[-1]
        assert plan.remask is not None
        for i, row in enumerate(record.rows.tolist()):
            found = (plan.unmask[i].nonzero()[:, 0].tolist(), plan.remask[i].nonzero()[:, 0].tolist())
            assert found == naive_plan(planner, step, i, seed=row)
            reopenings += len(found[1])
    assert reopenings > 50


def test_without_eta_the_other_planner_is_left_to_itself() -> None:
    for inner in (mdm.Margin(), mdm.InfoGain(3), mdm.Bypass(0.7)):
        for schedule in (mdm.Uniform(), mdm.Constant(3)):
            for steps in (5, 60):
                sampler = mdm.Sampler(Toy(0).backend, inner, schedule=schedule, block_size=6, steps=steps)
                wrapped = replace(sampler, planner=ReMDM(0.0, otherwise=inner))
                assert wrapped.fill(ROWS, seed=2).sequences == sampler.fill(ROWS, seed=2).sequences
                assert [r.steps for r in wrapped.fill(ROWS).rows] == [r.steps for r in sampler.fill(ROWS).rows]


def test_one_around_another_reopens_what_either_does() -> None:
    """The inner one sees as reopenable only what the outer one leaves, and is asked for no more than there is."""
    inner = Spy(ReMDM(0.5))
    spy, sampler = spied(ReMDM(0.5, otherwise=inner), steps=40)
    list(sampler.iterate(sampler.canvas(ROWS)))
    both = 0
    for (_, plan), (seen, own) in zip(spy.seen, inner.seen, strict=True):
        assert plan.remask is not None
        assert own.remask is not None
        outer = plan.remask & ~own.remask
        assert not bool((own.remask & ~plan.remask).any())
        assert bool((seen.quota <= seen.masked.sum(-1)).all())
        assert not bool((seen.reopenable & outer).any())
        both += bool(outer.any()) and bool(own.remask.any())
    assert both > 0


def test_its_needs_are_those_of_the_planner_inside_and_remasking() -> None:
    @dataclass(frozen=True)
    class Past(mdm.ScorePlanner):
        needs = mdm.Needs(history=2)

        def score(self, step: mdm.Step) -> Tensor:
            return step.confidence

    assert ReMDM().needs == mdm.Needs(remasking=True)
    assert ReMDM(otherwise=Past()).needs == mdm.Needs(history=2, remasking=True)
    assert mdm.Bypass(0.9, ReMDM(otherwise=Past())).needs == mdm.Needs(history=2, remasking=True)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("remdm:-0.1", r"remdm: eta must be in \[0, 1\], got -0.1"),
        ("remdm:1.5", r"remdm: eta must be in \[0, 1\], got 1.5"),
        ("remdm:nan", "remdm: eta must be a number"),
        ("remdm:strategy=loop", "strategy must be one of cap, rescale, conf"),
        ("remdm:0.5,strategy=conf", "eta would be ignored by strategy=conf"),
        ("remdm:otherwise=(nothing)", "unknown name 'nothing'"),
    ],
)
def test_bad_parameters_are_refused(spec: str, message: str) -> None:
    with pytest.raises(mdm.SpecError, match=message):
        mdm.build("planners", spec)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(mdm.SpecError, match="eta must be a number"):
        ReMDM(math.nan)
    with pytest.raises(mdm.SpecError, match="strategy must be one of cap, rescale, conf, got 'loop'"):
        ReMDM(strategy="loop")  # type: ignore[arg-type]
    with pytest.raises(mdm.SpecError, match="otherwise: unknown name 'confidenc'"):
        ReMDM(otherwise="confidenc")  # type: ignore[arg-type]


def test_it_is_built_from_its_spec_and_described_by_it() -> None:
    planner = mdm.build("planners", "remdm:0.2,strategy=rescale,otherwise=(info-gain:candidates=4)")
    assert planner == ReMDM(0.2, "rescale", mdm.InfoGain(candidates=4))
    assert mdm.describe(planner) == "remdm:eta=0.2,strategy=rescale,otherwise=(info-gain:candidates=4)"
    assert mdm.describe(ReMDM()) == "remdm"
