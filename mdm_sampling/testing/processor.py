"""What a processor of logits must hold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from hypothesis import strategies as st

from .. import contract
from ..processors import Processor
from .cases import Case, cases
from .guards import guarded
from .models import MODELS
from .rules import EXAMPLES, VALUE, Rule, blamed, expect, for_all, run_rules


def check_processor(processor: Processor, examples: int = EXAMPLES) -> None:
    """Raise `ConformanceError` unless a processor keeps its contract."""
    run_rules(RULES, Processor, processor, examples)


@dataclass(frozen=True)
class _Rows:
    """Canvas tokens and logits, one position of a canvas in each row."""

    model: str
    context: list[list[int]]
    seed: int


@st.composite
def _rows(draw: st.DrawFn) -> _Rows:
    model = draw(st.sampled_from(["attending", "markov", "uniform"]))
    width = draw(st.integers(1, 6))
    token = st.integers(0, MODELS[model]().mask_id)
    context = draw(st.lists(st.lists(token, min_size=width, max_size=width), min_size=1, max_size=4))
    return _Rows(model, context, draw(st.integers(0, 9)))


def check_logits(processor: Processor, examples: int) -> None:
    """Logits of the same shape, each row by itself, with something left to choose; the same again."""

    def check(case: _Rows) -> None:
        backend = MODELS[case.model]()
        context = torch.tensor(case.context)
        generator = torch.Generator().manual_seed(case.seed)
        logits = torch.randn(len(context), backend.vocab_size, generator=generator)
        with blamed(processor, "a function of tokens [r t] and logits [r v]", case):
            process = processor.build(backend)
            with guarded(processor, {"the canvas tokens": context}, "nowhere: logits are processed the same", case):
                found = contract.check_logits(processor, process(context, logits.clone()), logits)
                again = process(context, logits.clone())
                alone = [process(context[i : i + 1], logits[i : i + 1].clone()) for i in range(len(context))]
        expect(torch.equal(found, again), processor, "the same logits when asked again", "others", case)
        same = torch.equal(found, torch.cat(alone))
        expect(same, processor, "logits of a row that depend on that row alone", "others in a batch", case)
        expect(not bool(found.isnan().any()), processor, "logits that are numbers", "nan", case)

    for_all(_rows(), examples * 2, check)


def _check_runs(processor: Processor, examples: int) -> None:
    """Every run comes to its end: some token is left to choose."""

    def check(case: Case) -> None:
        with blamed(processor, "a run that comes to its end", case):
            sampler: Any = replace(case.sampler, processors=(processor,))
            sampler.fill(case.rows, case.seed)

    for_all(cases(models=["attending", "markov", "uniform"]), examples, check)


RULES = (
    VALUE,
    Rule("turns logits into logits, each row by itself, always alike", check_logits),
    Rule("leaves something to choose at every position", _check_runs),
)
