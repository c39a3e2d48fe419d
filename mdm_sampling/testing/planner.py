"""What a position planner must hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from math import inf
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from ..caches import NoCache
from ..contract import shown_tensors
from ..planners.base import Needs, PositionPlanner, Step
from ..prediction import Prediction
from ..records import Candidates, Plan
from .cases import Case, cases, decode
from .guards import guarded
from .models import EDGES, EXACT, MODELS, MOVE, START
from .repeats import same_again, same_alone
from .rules import EXAMPLES, VALUE, Rule, blamed, expect, for_all, run_rules

NOISE = "the step: step.noise.uniform(n) or step.noise.gumbel(n)"
_THRESHOLDS = st.sampled_from([None, None, 0.3, 0.8])


def check_planner(planner: PositionPlanner, examples: int = EXAMPLES) -> None:
    """Raise `ConformanceError` unless a planner keeps its contract under every cache, batch and schedule.

    Args:
        planner: registered or not.
        examples: cases that each rule draws.
    """
    run_rules(RULES, PositionPlanner, planner, examples)


@dataclass(frozen=True, repr=False)
class _Probe(PositionPlanner):
    """Passes steps on to the planner under test and looks at what goes in and what comes out."""

    planner: PositionPlanner
    case: Case
    log: tuple[list[tuple[Step, Plan]], ...] = ()

    @property
    def needs(self) -> Needs:
        return self.planner.needs

    def plan(self, step: Step) -> Plan:
        with guarded(self.planner, tensors_of(step), NOISE, self.case):
            plan = self.planner.plan(step)
        for log in self.log:
            log.append((step, plan))
        return plan

    def __repr__(self) -> str:
        return repr(self.planner)


def tensors_of(step: Step) -> dict[str, Tensor]:
    """Every tensor that a planner is shown."""
    return {f"step.{name}": tensor for name, tensor in shown_tensors(step)}


def _probed(planner: PositionPlanner, case: Case) -> Case:
    return replace(case, planner=_Probe(planner, case))


def _steps_of(planner: PositionPlanner, case: Case) -> list[tuple[Step, Plan]]:
    """The steps that a planner is shown while a case is decoded, with its plans."""
    log: list[tuple[Step, Plan]] = []
    with blamed(planner, "a plan", case):
        decode(replace(case, planner=_Probe(planner, case, (log,))))
    return log


def _check_contract(planner: PositionPlanner, examples: int) -> None:
    """Only masked positions, progress in each row, real tokens, an end, and nothing changed that was given."""

    def check(case: Case) -> None:
        with blamed(planner, "positions to fill that are masked, at least one in each row, at every step", case):
            decoded = decode(_probed(planner, case))
        mask = MODELS[case.model]().mask_id
        for (prefix, body), sequence, moves in zip(case.rows, decoded.sequences, decoded.moves, strict=True):
            given = [(i, token) for i, token in enumerate([*prefix, *body]) if token != mask]
            kept = all(sequence[i] == token for i, token in given)
            expect(kept, planner, "tokens that were there from the start stay", f"{sequence}", case)
            expect(mask not in sequence, planner, "no mask is left", f"{sequence}", case)
            reopened = any(move[2] for move in moves)
            expect(not reopened or planner.needs.remasking, planner, "nothing is reopened", f"{moves}", case)

    for_all(_behind_a_bypass(), examples, check)


@st.composite
def _behind_a_bypass(draw: st.DrawFn) -> Case:
    """Cases of which some put a bypass around the planner, which decides a part of the rows."""
    return replace(draw(cases()), threshold=draw(_THRESHOLDS))


def _check_edges(planner: PositionPlanner, examples: int) -> None:
    """One mask left, equal probabilities, a probability of exactly 1, a vocabulary of one token and the mask."""

    def check(case: Case) -> None:
        with blamed(planner, "a plan at the edges: one mask left, equal or certain probabilities, one token", case):
            decode(_probed(planner, case))

    for_all(cases(models=EDGES, longest=3), examples, check)


def _check_drafts(planner: PositionPlanner, examples: int) -> None:
    """A step without a forward fills tokens that it proposes, not those that somebody drafted before it.

    A planner that does not ask for drafts takes no such step and has nothing to check.
    """

    def check(case: Case) -> None:
        for step, plan in _steps_of(planner, case):
            if step.may_wait and plan.tokens is not None:
                claimed = plan.unmask & (plan.tokens != step.tokens)
                got = f"{plan.tokens[claimed].tolist()} where the step proposes {step.tokens[claimed].tolist()}"
                expect(not bool(claimed.any()), planner, "a step without a forward fills what it proposes", got, case)

    if planner.needs.drafts:
        for_all(cases(), examples, check)


def _check_candidates(planner: PositionPlanner, examples: int) -> None:
    """The costs and next entropies that a planner reports are those of a distribution known in closed form.

    Predictions of the Markov chain are its true conditionals, so C(a) and H(a) can be computed by adding up the
    probabilities of all sequences. A planner without candidates has nothing to check. One that drafts adds up
    C(a) along a chain of moves, each position under the prediction that allowed it. The kit does not know that chain:
    of a move with a score it only demands a cost that is finite and at least 0.
    """

    def check(case: Case) -> None:
        prefix = case.rows[0][0]
        for step, plan in _steps_of(planner, case):
            if plan.candidates is not None:
                _check_against_truth(planner, case, prefix + step.block_tokens[0].tolist(), plan.candidates)

    one_row = cases(models=[EXACT], most_rows=1, longest=4)
    for_all(one_row.map(lambda case: replace(case, cache=NoCache(), block_size=4)), examples, check)


def _check_against_truth(planner: Any, case: Case, tokens: list[int], candidates: Candidates) -> None:
    entropies = true_entropies(tokens)
    start = len(tokens) - candidates.unmask.shape[2]
    for n in range(len(candidates.unmask)):
        unmask, filled = candidates.unmask[n, 0].tolist(), candidates.tokens[n, 0].tolist()
        cost, got = sum(entropies[start + i] for i, chosen in enumerate(unmask) if chosen), float(candidates.cost[n, 0])
        if not planner.needs.drafts:
            expected = f"candidate {n} costs the entropy of its positions, {cost:.9f}"
            expect(abs(got - cost) < 1e-6, planner, expected, f"{got:.9f}", case)
        elif not torch.isnan(candidates.score[n, 0]):
            expected = f"candidate {n}, which has a score, has a cost that is finite and at least 0"
            expect(0 <= got < inf, planner, expected, f"{got:.9f}", case)
        if not torch.isnan(candidates.next_entropy[n, 0]):
            after = tokens[:start] + [
                token if chosen else old for chosen, token, old in zip(unmask, filled, tokens[start:], strict=True)
            ]
            left = [entropy for entropy, token in zip(true_entropies(after), after, strict=True) if token == len(START)]
            mean = sum(left) / max(len(left), 1)
            got = float(candidates.next_entropy[n, 0])
            expected = f"candidate {n} leaves a mean entropy of {mean:.9f}"
            expect(abs(got - mean) < 1e-6, planner, expected, f"{got:.9f}", case)


def true_entropies(tokens: list[int]) -> list[float]:
    """Entropy of each position of the Markov chain given the revealed tokens, by adding up all sequences; masks are
    3.
    """
    choices = [[token] if token < len(START) else list(range(len(START))) for token in tokens]
    totals = torch.zeros(len(tokens), len(START), dtype=torch.float64)
    for sequence in product(*choices):
        weight = START[sequence[0]]
        for before, after in pairwise(sequence):
            weight = weight * MOVE[before, after]
        for position, token in enumerate(sequence):
            totals[position, token] += weight
    chances = totals / totals.sum(-1, keepdim=True)
    entropies: list[float] = torch.special.entr(chances).sum(-1).tolist()
    return entropies


class _Watched(Sequence[Prediction]):
    """The empty history of a step; notes when somebody looks at it, which always asks for its length or an item."""

    def __init__(self, looks: list[str]) -> None:
        self.looks = looks

    def __len__(self) -> int:
        self.looks.append("length")
        return 0

    def __getitem__(self, key: Any) -> Any:
        self.looks.append("item")
        return ()[key]


@dataclass(frozen=True, repr=False)
class _Watching(PositionPlanner):
    """Passes the steps of a run on to a planner and notes when it looks at a history that is not kept."""

    planner: PositionPlanner
    looks: list[str]

    @property
    def needs(self) -> Needs:
        return self.planner.needs

    def plan(self, step: Step) -> Plan:
        history: Any = step.history if self.needs.history else _Watched(self.looks)
        return self.planner.plan(replace(step, history=history))


def notes(planner: PositionPlanner) -> list[str]:
    """What a planner does in vain, in sentences, on a few long rows without a cache, where nothing hinders its use."""
    looks: list[str] = []
    watching = _Watching(planner, looks)
    for model, seed, prefixes in product(("graded", "attending"), range(3), ([[1, 2]], [[1, 2], [2, 0]])):
        rows = [(prefix, [MODELS[model]().mask_id] * 8) for prefix in prefixes]
        try:
            decode(Case(model, rows, block_size=8, steps=8, seed=seed, planner=watching))
        except Exception:
            continue
    if not looks:
        return []
    return ["it reads `step.history`, which stays empty unless its `needs` ask for it: `needs = Needs(history=1)`"]


RULES = (
    VALUE,
    Rule(
        "fills masked positions, some in each row, with any cache, schedule and wrapper; changes nothing",
        _check_contract,
    ),
    Rule("works at the edges: one mask, equal or certain probabilities, a single token", _check_edges),
    same_again("planner"),
    same_alone("planner"),
    Rule("fills what the step proposes, where it takes one without a forward", _check_drafts),
    Rule("reports its candidates' true entropies, on a known distribution", _check_candidates),
)
