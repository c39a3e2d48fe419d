"""What a token sampler must hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from ..contract import check_proposal
from ..prediction import Prediction
from ..randomness import RowNoise
from ..records import Proposal
from ..token_samplers import TokenSampler
from .cases import Case, cases, decode
from .guards import guarded
from .models import MODELS
from .repeats import same_again, same_alone
from .rules import EXAMPLES, VALUE, Rule, blamed, expect, for_all, run_rules

_NOISE = "the noise that it is given: noise.uniform(...) or noise.gumbel(...)"


def check_token_sampler(sampler: TokenSampler, examples: int = EXAMPLES) -> None:
    """Raise `ConformanceError` unless a token sampler keeps its contract."""
    run_rules(RULES, TokenSampler, sampler, examples)


@dataclass(frozen=True, repr=False)
class _Probe(TokenSampler):
    """Passes predictions on to the sampler under test and looks at what goes in and what comes out."""

    sampler: TokenSampler
    case: Case

    def propose(self, prediction: Prediction, noise: RowNoise, count: int) -> Proposal:
        shown = {
            "prediction.hidden": prediction.hidden,
            "prediction.masked": prediction.masked,
            "prediction.context": prediction.context,
        }
        with guarded(self.sampler, shown, _NOISE, self.case):
            proposal = self.sampler.propose(prediction, noise, count)
        check_proposal(self.sampler, proposal, (count, *prediction.masked.shape))
        for expected, got, holds in self._findings(prediction, proposal, count):
            expect(holds, self.sampler, expected, got, self.case)
        return proposal

    def _findings(self, prediction: Prediction, proposal: Proposal, count: int) -> Iterator[tuple[str, str, bool]]:
        tokens, confidence = proposal.tokens, proposal.confidence
        mask = MODELS[self.case.model]().mask_id
        drawn = tokens[:, prediction.masked]
        real = bool(((drawn >= 0) & (drawn < prediction.head.vocab_size) & (drawn != mask)).all())
        yield "tokens of the vocabulary, and never the mask", f"{sorted(set(drawn.flatten().tolist()))}", real
        if prediction.masked.any():
            chances = prediction.logits(prediction.masked).softmax(-1)
            true = chances.expand(count, -1, -1).gather(-1, drawn.unsqueeze(-1))[..., 0]
            close = torch.allclose(true.double(), confidence[:, prediction.masked].double(), atol=1e-5)
            got = f"{confidence[:, prediction.masked].tolist()} instead of {true.tolist()}"
            yield "the model's probability of each drawn token, before any temperature", got, close
            yield "no token of probability 0", f"{true.tolist()}", bool((true > 0).all())

    def __repr__(self) -> str:
        return repr(self.sampler)


def _check_contract(sampler: TokenSampler, examples: int) -> None:
    """Proposals of the right shape, of real tokens, with the model's own probabilities; nothing changed."""

    def check(case: Case) -> None:
        from ..planners.info_gain import InfoGain  # asks for several draws

        with blamed(sampler, "a proposal for every masked position", case):
            decode(replace(case, token_sampler=_Probe(sampler, case), planner=InfoGain(candidates=3)))

    for_all(cases(), examples, check)


RULES = (
    VALUE,
    Rule("proposes real tokens with the model's own probabilities; changes nothing", _check_contract),
    same_again("token_sampler"),
    same_alone("token_sampler"),
)
