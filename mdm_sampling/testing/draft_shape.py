"""What a draft shape must hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from ..planners.base import PositionPlanner, Step
from ..planners.bounded_chain import BoundedChain
from ..planners.draft_shapes import DraftShape, filled_by
from ..planners.eb import EBSampler
from ..planners.scores import Confidence, Random
from ..planners.speculate import Speculate
from ..records import Plan
from ..registry.specs import describe
from .cases import Case, cases, decode, uneven_batches
from .guards import guarded
from .models import MODELS, UNTIED
from .planner import NOISE, tensors_of
from .rules import (
    EXAMPLES,
    VALUE,
    Rule,
    blamed,
    expect,
    for_all,
    run_rules,
)

PLANNERS = (Confidence(), Random(), EBSampler(0.5))
"""Planners that are speculated on."""

_DRAFTS = 4
"""Drafts that are asked for in each row."""

_Drafts = frozenset[frozenset[tuple[int, int]]]
"""Drafts of one row: the (position, token) pairs that each fills."""


def check_draft_shape(shape: DraftShape, examples: int = EXAMPLES) -> None:
    """Raise `ConformanceError` unless a draft shape keeps its contract."""
    run_rules(RULES, DraftShape, shape, examples)


@dataclass(frozen=True, repr=False)
class _Probe(DraftShape):
    """Passes steps on to the shape under test, twice, and looks at what goes in and what comes out.

    Attributes:
        shape: the shape under test.
        case: what it is tried on, for the error.
        log: the drafts of each row by its generator's seed, which tells rows, blocks and steps apart.
    """

    shape: DraftShape
    case: str
    log: dict[int, _Drafts]

    def drafts(self, step: Step, plan: Plan, planner: PositionPlanner, count: int) -> tuple[Tensor, Tensor]:
        generators = step.noise.rows.generators
        states = [generator.get_state() for generator in generators]
        with guarded(self.shape, tensors_of(step) | _tensors_of_plan(plan), NOISE, self.case):
            found = self.shape.drafts(step, plan, planner, count)
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)
            again = self.shape.drafts(step, plan, planner, count)
        for expected, got, holds in self._findings(step, plan, found, again, count):
            expect(holds, self.shape, expected, got, self.case)
        for row, generator in enumerate(generators):
            self.log[generator.initial_seed()] = _drafts_of(row, *found)
        return found

    def _findings(self, step: Step, plan: Plan, found: Any, again: Any, count: int) -> Iterator[tuple[str, str, bool]]:
        is_pair = isinstance(found, tuple) and len(found) == 2 and all(isinstance(each, Tensor) for each in found)
        yield "two tensors: positions and tokens", f"{found!r:.200}", is_pair
        unmask, tokens = found
        b, length = step.masked.shape
        wanted = f"at most {count} drafts of positions and tokens, bool and int64 [n {b} {length}]"
        fits = unmask.shape == tokens.shape and unmask.shape[1:] == (b, length) and len(unmask) <= count
        got = f"{list(unmask.shape)} {unmask.dtype} and {list(tokens.shape)} {tokens.dtype}"
        yield wanted, got, fits and (unmask.dtype, tokens.dtype) == (torch.bool, torch.int64)
        own, filling = filled_by(step, plan)
        yield "the plan's positions in every draft", _shown(unmask, tokens), bool((unmask | ~own).all())
        same = bool(((tokens == filling) | ~own).all())
        yield "the plan's tokens at its positions", f"{tokens.tolist()} instead of {filling.tolist()}", same
        revealed = bool((unmask & ~step.prediction.masked).any())
        yield "drafts that fill masked positions alone", _shown(unmask, tokens), not revealed
        drawn = tokens[unmask]
        real = bool(((drawn >= 0) & (drawn < step.vocab_size) & (drawn != step.prediction.head.mask_id)).all())
        yield "tokens of the vocabulary, and never the mask", f"{sorted(set(drawn.tolist()))}", real
        same = all(torch.equal(first, second) for first, second in zip(found, again, strict=True))
        yield "the same drafts when asked again", f"{_shown(*found)}, then {_shown(*again)}", same

    def __repr__(self) -> str:
        return repr(self.shape)


def _tensors_of_plan(plan: Plan) -> dict[str, Tensor]:
    """Every tensor of a plan that a shape could change."""
    named = {"plan.unmask": plan.unmask, "plan.tokens": plan.tokens, "plan.remask": plan.remask}
    named |= {f"plan.memory[{name!r}]": tensor for name, tensor in plan.memory.items()}
    return {name: tensor for name, tensor in named.items() if tensor is not None}


def _drafts_of(row: int, unmask: Tensor, tokens: Tensor) -> _Drafts:
    """A row's drafts, whatever their order and however wide the block is."""
    drafts = zip(unmask[:, row], tokens[:, row], strict=True)
    return frozenset(frozenset((i, int(token[i])) for i in chosen.nonzero()[:, 0].tolist()) for chosen, token in drafts)


def _shown(unmask: Tensor, tokens: Tensor) -> str:
    """Drafts of all rows in words."""
    rows = [sorted(map(sorted, _drafts_of(row, unmask, tokens))) for row in range(unmask.shape[1])]
    return f"{rows} (rows, drafts, positions and tokens)"


@st.composite
def _speculable(draw: st.DrawFn, models: tuple[str, ...] = tuple(MODELS), fewest_rows: int = 1) -> Case:
    """Cases with planners that can be speculated on."""
    case = draw(cases(models=models).filter(lambda case: len(case.rows) >= fewest_rows))
    return replace(case, planner=draw(st.sampled_from(PLANNERS)))


def _told(case: Case) -> str:
    return f"{case}, planner {describe(case.planner)}"


def _check_contract(shape: DraftShape, examples: int) -> None:
    """Drafts of the right shapes that hold the plan and fill masks with real tokens; nothing changed that was given."""

    def check(case: Case) -> None:
        probe = _Probe(shape, _told(case), {})
        with blamed(shape, "drafts, and a run that comes to its end", _told(case)):
            decode(replace(case, planner=Speculate(case.planner, _DRAFTS, probe)))
            decode(replace(case, planner=BoundedChain(0.5, drafts=_DRAFTS, shape=probe)))

    for_all(_speculable(), examples, check)


def _check_decoding(shape: DraftShape, examples: int) -> None:
    """Speculation decodes as the planner alone, whatever is drafted."""

    def check(case: Case) -> None:
        with blamed(shape, "drafts, and a run that comes to its end", _told(case)):
            alone = decode(case)
            found = decode(replace(case, planner=Speculate(case.planner, _DRAFTS, shape)))
        got = f"moves {found.moves} instead of {alone.moves}"
        expect(found == alone, shape, "the moves of the planner alone", got, _told(case))

    for_all(_speculable(UNTIED), examples, check)


def _check_alone(shape: DraftShape, examples: int) -> None:
    """A row's drafts are those that it has alone."""

    def check(case: Case) -> None:
        seeds = [case.seed + row for row in range(len(case.rows))]
        with blamed(shape, "drafts, and a run that comes to its end", _told(case)):
            together = _drafted(shape, case, case.rows, seeds)
            singles = [_drafted(shape, case, [row], [seed]) for row, seed in zip(case.rows, seeds, strict=True)]
        for row, alone in enumerate(singles):
            for moment, drafts in alone.items():
                got = f"row {row}: {_sorted(together.get(moment))}, and alone {_sorted(drafts)} (positions and tokens)"
                same = together.get(moment) == drafts
                expect(same, shape, "a row's drafts that don't depend on the rows beside it", got, _told(case))

    for case in uneven_batches():
        check(case)
    for_all(_speculable(UNTIED, fewest_rows=2), examples, check)


def _drafted(shape: DraftShape, case: Case, rows: Any, seeds: list[int]) -> dict[int, _Drafts]:
    """What is drafted in a run, see `_Probe.log`."""
    probe = _Probe(shape, _told(case), {})
    sampler = replace(case, planner=Speculate(case.planner, _DRAFTS, probe)).sampler
    sampler.fill(rows, seeds)
    return probe.log


def _sorted(drafts: _Drafts | None) -> list[list[tuple[int, int]]]:
    return sorted(map(sorted, drafts or ()))


RULES = (
    VALUE,
    Rule(
        "drafts hold the plan and fill masks with real tokens; changes nothing, and answers the same", _check_contract
    ),
    Rule("speculation decodes as the planner alone", _check_decoding),
    Rule("drafts of each row as if it were alone", _check_alone),
)
