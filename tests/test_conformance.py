"""The conformance kit: everything registered passes it, and each broken part is caught by a sentence that says why."""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toys import MASK, toy_callable, toy_transformer

import mdm_sampling as mdm
from mdm_sampling import testing
from mdm_sampling.registry.registry import Registration, registry
from mdm_sampling.registry.specs import required_of
from mdm_sampling.testing.models import MODELS, MOVE, START, chain_conditionals
from mdm_sampling.testing.planner import true_entropies

CHECKS: dict[str, Callable[[Any, int], None]] = {
    "caches": testing.check_cache,
    "planners": testing.check_planner,
    "draft_shapes": testing.check_draft_shape,
    "token_samplers": testing.check_token_sampler,
    "schedules": testing.check_schedule,
    "processors": testing.check_processor,
    "tasks": testing.check_task,
}
REGISTERED = [claim for kind in CHECKS for claim in registry().kind(kind)]
WITH_DEFAULTS = [claim for claim in REGISTERED if not required_of(claim.part)]


@pytest.mark.parametrize("claim", WITH_DEFAULTS, ids=lambda claim: f"{claim.kind}-{claim.name}")
def test_everything_registered_conforms(claim: Registration) -> None:
    """The plug-ins that are installed included; those whose parameters have no defaults are checked by themselves."""
    CHECKS[claim.kind](claim.part(), 10)


@pytest.mark.parametrize(
    "spec",
    [
        "info-gain:candidates=3,scope=canvas,future=step",
        "info-gain:variant=lookum,position_temperature=1.0",
        "bypass:threshold=0.4,otherwise=(defer:otherwise=(info-gain:2))",
    ],
)
def test_other_settings_of_planners_conform(spec: str) -> None:
    testing.check_planner(mdm.build("planners", spec), 10)


def test_tasks_that_need_a_file_or_a_name_conform(tmp_path: Path) -> None:
    file = tmp_path / "items.jsonl"
    file.write_text('{"prompt": "1 + 1 =", "answer": "2"}\n{"prompt": "2 + 2 =", "answer": "4"}\n')
    testing.check_task(mdm.JSONLines(str(file)))
    testing.check_task(mdm.ReasoningGym("leg_counting"))


@pytest.mark.parametrize("name", MODELS)
def test_the_kits_own_models_conform(name: str) -> None:
    testing.check_backend(MODELS[name]())


def test_the_embedded_model_and_the_families_conform(base: mdm.Sampler, llada_folder: Path, dream_folder: Path) -> None:
    testing.check_backend(base.backend)
    for folder in (llada_folder, dream_folder):
        testing.check_backend(mdm.load_backend(str(folder)), examples=5)


@given(tokens=st.lists(st.integers(0, 3), min_size=1, max_size=5))
def test_the_markov_model_has_the_conditionals_of_its_chain(tokens: list[int]) -> None:
    """Against the sum over all sequences."""
    totals = torch.zeros(len(tokens), 3, dtype=torch.float64)
    for sequence in product(range(3), repeat=len(tokens)):
        if all(seen in (3, token) for seen, token in zip(tokens, sequence, strict=True)):
            weight = float(START[sequence[0]])
            for i in range(1, len(sequence)):
                weight *= float(MOVE[sequence[i - 1], sequence[i]])
            for position, token in enumerate(sequence):
                totals[position, token] += weight
    expected = totals / totals.sum(-1, keepdim=True)
    torch.testing.assert_close(chain_conditionals(torch.tensor(tokens)), expected, atol=1e-12, rtol=0)
    entropies = torch.special.entr(expected).sum(-1)
    assert true_entropies(tokens) == pytest.approx(entropies.tolist(), abs=1e-12)


# --- Planners that are broken on purpose: the six of the issue, and some more.


def greedy(step: mdm.Step) -> torch.Tensor:
    return mdm.top_positions(step.confidence, step.masked, step.quota)


@dataclass(frozen=True)
class Greedy(mdm.PositionPlanner):
    """Right; the broken ones derive from it."""

    def plan(self, step: mdm.Step) -> mdm.Plan:
        return mdm.Plan(greedy(step))


@dataclass(frozen=True)
class UnmasksRevealed(Greedy):
    def plan(self, step: mdm.Step) -> mdm.Plan:
        return mdm.Plan(torch.ones_like(step.masked))


@dataclass(frozen=True)
class NoProgress(Greedy):
    def plan(self, step: mdm.Step) -> mdm.Plan:
        return mdm.Plan(greedy(step) & (step.confidence > 0.6))


@dataclass(frozen=True)
class GlobalGenerator(Greedy):
    def plan(self, step: mdm.Step) -> mdm.Plan:
        return mdm.Plan(mdm.top_positions(torch.rand(step.masked.shape), step.masked, step.quota))


@dataclass(frozen=True)
class PythonsGenerator(Greedy):
    def plan(self, step: mdm.Step) -> mdm.Plan:
        random.random()
        return super().plan(step)


@dataclass(frozen=True)
class Mutates(Greedy):
    def plan(self, step: mdm.Step) -> mdm.Plan:
        masked = step.masked
        masked &= greedy(step)
        return mdm.Plan(masked.clone())


@dataclass(frozen=True)
class MutatesStatistics(Greedy):
    def plan(self, step: mdm.Step) -> mdm.Plan:
        step.prediction.statistics.entropy.mul_(2)
        return super().plan(step)


@dataclass(frozen=True)
class CountsOn(Greedy):
    def plan(self, step: mdm.Step) -> mdm.Plan:
        step.taken.add_(1)
        return super().plan(step)


@dataclass(frozen=True)
class LooksAtNeighbours(Greedy):
    def plan(self, step: mdm.Step) -> mdm.Plan:
        mean = (step.confidence * step.masked).sum() / step.masked.sum()
        return mdm.Plan(mdm.top_positions(-(step.confidence - mean).abs(), step.masked, step.quota))


@dataclass(frozen=True)
class OneQuotaForAll(Greedy):
    def plan(self, step: mdm.Step) -> mdm.Plan:
        return mdm.Plan(mdm.top_positions(step.confidence, step.masked, step.quota.max().expand_as(step.quota)))


@dataclass(frozen=True)
class TakesPaddingForText(Greedy):
    """The tutorial's planner without `step.valid`."""

    radius: int = 2

    def plan(self, step: mdm.Step) -> mdm.Plan:
        revealed = (~step.masked).float()
        width = 2 * self.radius + 1
        beside = torch.nn.functional.max_pool1d(revealed[:, None], width, stride=1, padding=self.radius)[:, 0]
        return mdm.Plan(mdm.top_positions(step.confidence + 0.2 * beside, step.masked, step.quota))


@dataclass(frozen=True)
class LooksAheadAtNothing(Greedy):
    def plan(self, step: mdm.Step) -> mdm.Plan:
        rows = torch.zeros(0, dtype=torch.long)
        step.lookahead(rows, step.masked[rows], step.tokens[rows])
        return super().plan(step)


@dataclass(frozen=True)
class LooksAheadAtOneRow(Greedy):
    def plan(self, step: mdm.Step) -> mdm.Plan:
        step.lookahead(torch.tensor([0]), greedy(step)[0], step.tokens[:1])
        return super().plan(step)


@dataclass(frozen=True)
class Exits(Greedy):
    def plan(self, step: mdm.Step) -> mdm.Plan:
        raise SystemExit(5)


@dataclass(frozen=True)
class WrongShape(Greedy):
    def plan(self, step: mdm.Step) -> mdm.Plan:
        return mdm.Plan(greedy(step)[:, :1])


@dataclass(frozen=True)
class NoPlan(Greedy):
    def plan(self, step: mdm.Step) -> mdm.Plan:
        return greedy(step)  # type: ignore[return-value]


@dataclass(frozen=True)
class Crashes(Greedy):
    def plan(self, step: mdm.Step) -> mdm.Plan:
        second = step.prediction.statistics.confidence.masked_select(step.masked)[1]
        return mdm.Plan(greedy(step) & (second >= 0))


@dataclass(frozen=True)
class FillsMasks(Greedy):
    def plan(self, step: mdm.Step) -> mdm.Plan:
        return mdm.Plan(greedy(step), torch.full_like(step.tokens, step.prediction.head.mask_id))


@dataclass(frozen=True)
class ReopensUndeclared(Greedy):
    def plan(self, step: mdm.Step) -> mdm.Plan:
        return mdm.Plan(greedy(step), remask=step.filled.at >= 0)


PRIVATE = torch.Generator()


@dataclass(frozen=True)
class OwnGenerator(Greedy):
    def plan(self, step: mdm.Step) -> mdm.Plan:
        noise = torch.rand(step.masked.shape, generator=PRIVATE)
        return mdm.Plan(mdm.top_positions(noise, step.masked, step.quota))


@dataclass(frozen=True)
class MemoryWithoutRows(Greedy):
    def plan(self, step: mdm.Step) -> mdm.Plan:
        return mdm.Plan(greedy(step), memory={"taken": step.taken[0]})


@dataclass(frozen=True)
class ClaimsWhatItDrafted(Greedy):
    """Takes each second step without a forward, and fills it with a token that nobody predicted there."""

    @property
    def needs(self) -> mdm.Needs:
        return mdm.Needs(drafts=True)

    def plan(self, step: mdm.Step) -> mdm.Plan:
        unmask = greedy(step)
        if step.may_wait:
            return mdm.Plan(unmask, tokens=torch.zeros_like(step.tokens))
        row = (step.open & ~unmask).any(-1).nonzero()[:, 0]
        if len(row):
            step.lookahead(row, unmask[row], step.tokens[row])
        return mdm.Plan(unmask)


@dataclass(frozen=True)
class LiesAboutEntropy(Greedy):
    def plan(self, step: mdm.Step) -> mdm.Plan:
        plan = mdm.InfoGain(candidates=3).plan(step)
        if plan.candidates is None:
            return plan
        return replace(plan, candidates=replace(plan.candidates, next_entropy=plan.candidates.next_entropy + 0.01))


@dataclass
class Thawed(mdm.ScorePlanner):
    def score(self, step: mdm.Step) -> torch.Tensor:
        return step.confidence


@dataclass(frozen=True)
class Unhashable(mdm.ScorePlanner):
    weights: list[float]

    def score(self, step: mdm.Step) -> torch.Tensor:
        return step.confidence


BROKEN_PLANNERS = [
    (UnmasksRevealed(), "unmasked a position that is not masked"),
    (NoProgress(), "made no progress: it filled no position of a row that still has masks"),
    (GlobalGenerator(), "it drew from torch's global generator"),
    (Mutates(), "changed step.masked in place"),
    (LooksAtNeighbours(), "expected: a row's moves that don't depend on the rows beside it"),
    (OneQuotaForAll(), "expected: a row's moves that don't depend on the rows beside it"),
    (TakesPaddingForText(), "expected: a row's moves that don't depend on the rows beside it"),
    (LooksAheadAtNothing(), r"looked ahead at rows, unmask and tokens of \[0\] torch.int64"),
    (LooksAheadAtOneRow(), r"expected int64 \[n\], bool \[n 1\] and int64 \[n 1\]"),
    (Exits(), "SystemExit: 5"),
    (WrongShape(), r"returned unmask of shape \[1, 1\]"),
    (PythonsGenerator(), "it drew from Python's global generator"),
    (MutatesStatistics(), r"it changed step.prediction.statistics.entropy in place"),
    (CountsOn(), "it changed step.taken in place"),
    (NoPlan(), "must return a Plan"),
    (Crashes(), r"IndexError: .* \(.*test_conformance.py, line \d+\)"),
    (FillsMasks(), "filled a position with the mask token"),
    (ReopensUndeclared(), "reopened a position that is not reopenable; it must ask for it"),
    (OwnGenerator(), "the same moves for the same seed"),
    (
        MemoryWithoutRows(),
        r"memory\['taken'\] of shape \[\] and type torch.int64, expected a tensor whose first axis is the batch",
    ),
    (ClaimsWhatItDrafted(), "a step without a forward fills what it proposes"),
    (LiesAboutEntropy(), "leaves a mean entropy of"),
    (Thawed(), "a frozen dataclass"),
    (Unhashable([1.0]), "can be hashed"),
]


@pytest.mark.parametrize(("planner", "sentence"), BROKEN_PLANNERS, ids=lambda p: type(p).__name__)
def test_a_broken_planner_is_caught_with_its_fault_and_a_case(planner: mdm.PositionPlanner, sentence: str) -> None:
    with pytest.raises(testing.ConformanceError, match=sentence) as caught:
        testing.check_planner(planner)
    text = str(caught.value)
    assert text.startswith(f"{planner!r} breaks its contract.\n  expected: ")
    assert "smallest case: model " in text or isinstance(planner, Thawed | Unhashable)


def test_the_smallest_case_is_small() -> None:
    """A plan that reveals what is there fails wherever a token is given: one row, one mask."""
    with pytest.raises(testing.ConformanceError) as caught:
        testing.check_planner(UnmasksRevealed())
    rows = re.search(r"rows (\[.*?\]\)\])", str(caught.value))
    assert rows is not None
    assert len(eval(rows[1])) == 1


def test_a_right_planner_passes_and_a_class_is_refused() -> None:
    testing.check_planner(Greedy())
    with pytest.raises(mdm.SpecError, match="is not a PositionPlanner; make an object of it"):
        testing.check_planner(Greedy)  # type: ignore[arg-type]
    with pytest.raises(mdm.SpecError, match=r"is not a CacheStrategy$"):
        testing.check_cache(Greedy())  # type: ignore[arg-type]


# --- Other parts that are broken on purpose.


@dataclass(frozen=True)
class Narrow(mdm.CacheStrategy):
    def span(self, block: mdm.Span, length: int, step: int) -> mdm.Span:
        return mdm.Span(0, length) if step == 0 else mdm.Span(block.start, max(block.stop - 1, block.start + 1))


@dataclass(frozen=True)
class NeverWhole(mdm.CacheStrategy):
    def span(self, block: mdm.Span, length: int, step: int) -> mdm.Span:
        return block


@dataclass(frozen=True)
class Claims(mdm.CacheStrategy):
    reads_slots = False

    def span(self, block: mdm.Span, length: int, step: int) -> mdm.Span:
        return mdm.Span(0, length) if step == 0 else block


COUNTER = [0]


@dataclass(frozen=True)
class Fickle(mdm.CacheStrategy):
    def span(self, block: mdm.Span, length: int, step: int) -> mdm.Span:
        COUNTER[0] += 1
        return mdm.Span(0, length) if step == 0 or COUNTER[0] % 2 else block


@dataclass(frozen=True)
class FlatConfidence(mdm.TokenSampler):
    def propose(self, prediction: mdm.Prediction, noise: mdm.RowNoise, count: int) -> mdm.Proposal:
        proposal = mdm.Greedy().propose(prediction, noise, count)
        return replace(proposal, confidence=torch.full_like(proposal.confidence, 0.5))


@dataclass(frozen=True)
class OneDraw(mdm.TokenSampler):
    def propose(self, prediction: mdm.Prediction, noise: mdm.RowNoise, count: int) -> mdm.Proposal:
        return mdm.Greedy().propose(prediction, noise, 1)


@dataclass(frozen=True)
class Impossible(mdm.TokenSampler):
    def propose(self, prediction: mdm.Prediction, noise: mdm.RowNoise, count: int) -> mdm.Proposal:
        proposal = mdm.Greedy().propose(prediction, noise, count)
        mask = torch.full_like(proposal.tokens, prediction.head.mask_id)
        return mdm.Proposal(mask, torch.zeros_like(proposal.confidence))


@dataclass(frozen=True)
class Tosses(mdm.TokenSampler):
    def propose(self, prediction: mdm.Prediction, noise: mdm.RowNoise, count: int) -> mdm.Proposal:
        torch.rand(1)
        return mdm.Greedy().propose(prediction, noise, count)


@dataclass(frozen=True)
class Fractions(mdm.Schedule):
    def quota(self, masked: torch.Tensor, step: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return masked / steps


@dataclass(frozen=True)
class Averages(mdm.Schedule):
    def quota(self, masked: torch.Tensor, step: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return torch.full_like(masked, int(masked.float().mean()))


@dataclass(frozen=True)
class Consumes(mdm.Schedule):
    def quota(self, masked: torch.Tensor, step: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        masked -= 1
        return masked + 1


@dataclass(frozen=True)
class BansAll(mdm.Processor):
    def build(self, backend: mdm.ModelBackend) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        return lambda tokens, logits: torch.full_like(logits, -torch.inf)


@dataclass(frozen=True)
class Centres(mdm.Processor):
    def build(self, backend: mdm.ModelBackend) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        return lambda tokens, logits: logits - logits.mean()


@dataclass(frozen=True)
class Drafted(mdm.DraftShape):
    """Right; the broken ones derive from it."""

    def drafts(
        self, step: mdm.Step, plan: mdm.Plan, planner: mdm.PositionPlanner, count: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return mdm.Prefixes().drafts(step, plan, planner, count)


@dataclass(frozen=True)
class LeavesThePlanOut(Drafted):
    def drafts(self, step: mdm.Step, plan: mdm.Plan, *given: Any) -> tuple[torch.Tensor, torch.Tensor]:
        unmask, tokens = super().drafts(step, plan, *given)
        return unmask & ~plan.unmask, tokens


@dataclass(frozen=True)
class OwnTokens(Drafted):
    def drafts(self, step: mdm.Step, plan: mdm.Plan, *given: Any) -> tuple[torch.Tensor, torch.Tensor]:
        unmask, tokens = super().drafts(step, plan, *given)
        return unmask, (tokens + 1) % step.prediction.head.mask_id


@dataclass(frozen=True)
class ChangesThePlan(Drafted):
    def drafts(self, step: mdm.Step, plan: mdm.Plan, *given: Any) -> tuple[torch.Tensor, torch.Tensor]:
        found = super().drafts(step, plan, *given)
        plan.unmask.logical_and_(step.positions % 2 == 0)
        return found


@dataclass(frozen=True)
class CountsRows(Drafted):
    """Prefixes that grow by as many positions as there are rows."""

    def drafts(self, step: mdm.Step, plan: mdm.Plan, *given: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return super().drafts(replace(step, quota=torch.full_like(step.quota, len(step.quota))), plan, *given)


@dataclass(frozen=True)
class DraftsPadding(Drafted):
    """Takes the padding of a row for positions that lie ahead."""

    def drafts(self, step: mdm.Step, plan: mdm.Plan, *given: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return super().drafts(replace(step, quota=1 + (~step.masked).sum(-1)), plan, *given)


@dataclass(frozen=True)
class DraftsRevealed(Drafted):
    def drafts(self, step: mdm.Step, plan: mdm.Plan, *given: Any) -> tuple[torch.Tensor, torch.Tensor]:
        unmask, tokens = super().drafts(step, plan, *given)
        return torch.ones_like(unmask), tokens


@dataclass(frozen=True)
class DraftsMasks(Drafted):
    def drafts(self, step: mdm.Step, plan: mdm.Plan, *given: Any) -> tuple[torch.Tensor, torch.Tensor]:
        unmask, tokens = super().drafts(step, plan, *given)
        return unmask, torch.where(plan.unmask, tokens, step.prediction.head.mask_id)


@dataclass(frozen=True)
class TooMany(Drafted):
    def drafts(
        self, step: mdm.Step, plan: mdm.Plan, planner: mdm.PositionPlanner, count: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return super().drafts(step, plan, planner, count + 1)


@dataclass(frozen=True)
class OneDraftWithoutAnAxis(Drafted):
    def drafts(self, *given: Any) -> tuple[torch.Tensor, torch.Tensor]:
        unmask, tokens = super().drafts(*given)
        return unmask[0], tokens[0]


@dataclass(frozen=True)
class Alternates(Drafted):
    def drafts(self, *given: Any) -> tuple[torch.Tensor, torch.Tensor]:
        COUNTER[0] += 1
        unmask, tokens = super().drafts(*given)
        return unmask[COUNTER[0] % 2 :], tokens[COUNTER[0] % 2 :]


@dataclass(frozen=True)
class Shuffles(Drafted):
    def drafts(self, *given: Any) -> tuple[torch.Tensor, torch.Tensor]:
        unmask, tokens = super().drafts(*given)
        order = torch.randperm(len(unmask))
        return unmask[order], tokens[order]


@dataclass(frozen=True)
class DrawsItsOrder(Drafted):
    """Right: its noise is the step's."""

    def drafts(
        self, step: mdm.Step, plan: mdm.Plan, planner: mdm.PositionPlanner, count: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        filled, tokens = mdm.filled_by(step, plan)
        more = mdm.top_positions(step.noise.gumbel(count), step.open & ~filled, torch.ones_like(step.quota))
        return filled | more, torch.where(filled, tokens, step.tokens).expand(more.shape)


@dataclass(frozen=True)
class Lottery(mdm.Task):
    def items(self, count: int | None, seed: int) -> Sequence[mdm.Item]:
        return [mdm.Item(f"item {i}", f"{random.random()}") for i in range(count or 3)]

    def grade(self, item: mdm.Item, text: str) -> mdm.Grade:
        return mdm.Grade(text, 1)


@dataclass(frozen=True)
class OneName(Lottery):
    def items(self, count: int | None, seed: int) -> Sequence[mdm.Item]:
        return [mdm.Item("item", "1 + 1 =") for _ in range(count or 3)]


@dataclass(frozen=True)
class Reshuffles(Lottery):
    def items(self, count: int | None, seed: int) -> Sequence[mdm.Item]:
        return [mdm.Item(f"item {i}", f"{count}") for i in range(count or 3)]


@dataclass(frozen=True)
class Generous(Lottery):
    def items(self, count: int | None, seed: int) -> Sequence[mdm.Item]:
        return [mdm.Item(f"item {i}", "?") for i in range(count or 3)]

    def grade(self, item: mdm.Item, text: str) -> mdm.Grade:
        return mdm.Grade(text, len(text))


@dataclass(frozen=True)
class Chokes(Generous):
    def grade(self, item: mdm.Item, text: str) -> mdm.Grade:
        return mdm.Grade(text, float(int(text[0]) > 0))


@pytest.mark.parametrize(
    ("check", "part", "sentence"),
    [
        (testing.check_cache, Narrow(), "which does not cover"),
        (testing.check_cache, NeverWhole(), "must recompute the whole canvas on entering a block"),
        (testing.check_cache, Claims(), "reads no slots, so it must recompute the whole canvas"),
        (testing.check_cache, Fickle(), "the same span when asked again"),
        (testing.check_token_sampler, FlatConfidence(), "the model's probability of each drawn token"),
        (testing.check_token_sampler, OneDraw(), r"returned tokens of .*, expected \[2, .*\] and torch.int64"),
        (testing.check_token_sampler, Impossible(), "and never the mask"),
        (testing.check_token_sampler, Tosses(), "it drew from torch's global generator"),
        (testing.check_schedule, Fractions(), "must return int64 of shape"),
        (testing.check_schedule, Averages(), "a row's quota depends on that row alone"),
        (testing.check_schedule, Consumes(), "it changed masked in place"),
        (testing.check_processor, BansAll(), "every token was banned"),
        (testing.check_processor, Centres(), "that depend on that row alone"),
        (testing.check_draft_shape, LeavesThePlanOut(), "the plan's positions in every draft"),
        (testing.check_draft_shape, OwnTokens(), "the plan's tokens at its positions"),
        (testing.check_draft_shape, ChangesThePlan(), r"it changed plan\.unmask in place"),
        (testing.check_draft_shape, CountsRows(), "a row's drafts that don't depend on the rows beside it"),
        (testing.check_draft_shape, DraftsPadding(), "a row's drafts that don't depend on the rows beside it"),
        (testing.check_draft_shape, DraftsRevealed(), "drafts that fill masked positions alone"),
        (testing.check_draft_shape, DraftsMasks(), "and never the mask"),
        (testing.check_draft_shape, TooMany(), "at most 4 drafts"),
        (testing.check_draft_shape, OneDraftWithoutAnAxis(), r"bool and int64 \[n 1 1\]"),
        (testing.check_draft_shape, Alternates(), "the same drafts when asked again"),
        (testing.check_draft_shape, Shuffles(), "it drew from torch's global generator"),
        (testing.check_task, Lottery(), "it drew from Python's global generator"),
        (testing.check_task, OneName(), "a name of its own for each item"),
        (testing.check_task, Reshuffles(), "more items of a seed are a longer list"),
        (testing.check_task, Generous(), "a score between 0 and 1"),
        (testing.check_task, Chokes(), "a grade for any text"),
    ],
    ids=lambda value: type(value).__name__ if not callable(value) and not isinstance(value, str) else "",
)
def test_other_broken_parts_are_caught(check: Callable[[Any], None], part: Any, sentence: str) -> None:
    with pytest.raises(testing.ConformanceError, match=sentence):
        check(part)


def test_a_right_draft_shape_passes() -> None:
    testing.check_draft_shape(Drafted(), 10)
    testing.check_draft_shape(DrawsItsOrder(), 10)


def broken_backend(fault: str) -> mdm.ModelBackend:
    """A transformer with slots, and one fault."""
    backend = toy_transformer()
    broken = mdm.TransformerBackend(backend.model, MASK, eos_ids=(0,))
    trunk = broken.trunk

    def faulty(canvas: mdm.Canvas, span: mdm.Span, slots: Any, rows: torch.Tensor | None = None) -> torch.Tensor:
        if fault == "writes in forks" and rows is not None:
            slots.keys[0][:, :, span.positions] += 1
        if fault == "ignores padding":
            canvas = replace(canvas, valid=torch.ones_like(canvas.valid), padded=False)
        if fault == "ignores candidates" and rows is not None:
            canvas = canvas.select(torch.zeros_like(rows))
        hidden = trunk(canvas, span, slots, rows)
        return hidden.roll(1, 1) if fault == "shifts spans" and len(span) < canvas.length else hidden

    broken.trunk = faulty  # type: ignore[method-assign]
    if fault == "narrow head":
        broken.head = lambda hidden: backend.head(hidden)[:, :-1]  # type: ignore[method-assign]
    if fault == "pads with masks":
        broken.pad_id = MASK
    return broken


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("writes in forks", "a fork that writes no slot"),
        ("ignores padding", "as it is alone"),
        ("ignores candidates", "as a forward of its canvas"),
        ("shifts spans", "the whole forward's logits over"),
        ("narrow head", r"logits \[1 13\]"),
        ("pads with masks", "pad_id that is not the mask"),
    ],
)
def test_a_broken_backend_is_caught(fault: str, sentence: str) -> None:
    with pytest.raises(testing.ConformanceError, match=sentence):
        testing.check_backend(broken_backend(fault))


def test_a_right_backend_passes() -> None:
    testing.check_backend(broken_backend("nothing"))
    testing.check_backend(toy_callable())
