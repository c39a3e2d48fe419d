"""Info-Gain: try several moves, look one step ahead, and take the one that leaves the least uncertainty.

arXiv:2602.18176: J(a) = IG(a) - C(a), of which -C(a) - H_next(a) is the part that depends on the move a. C sums over
the k positions of a move and H is a mean over positions, so at k > 1 the paper's rule counts the future for little;
`future` gives it the weight of the next step's expected cost instead (see docs/results.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Literal, final

from ..errors import require
from ..kinds import check_fields
from ..lazy import torch
from ..prediction import Prediction
from ..records import Candidates, Plan
from .base import PositionPlanner, Scope, Step, top_positions

if TYPE_CHECKING:
    from torch import Tensor


@final
@dataclass(frozen=True)
class InfoGain(PositionPlanner):
    """Unmask the candidate whose own entropy plus the mean entropy that it leaves is smallest.

    Candidate 0 is the `quota` most confident positions. For each other candidate the token sampler draws the tokens,
    and the positions are the Gumbel-perturbed top-k of confidence / position_temperature. Equal moves are evaluated
    once. With one candidate, or at position temperature 0, this is the confidence planner.

    Args:
        candidates: number of moves compared at a step.
        position_temperature: how random the positions are; at 0 they are the most confident ones.
        scope: take the mean next entropy over the masked positions of the "block" (the paper), or of the "canvas", that
            is, of the whole recomputed span. Under `refresh` the span changes from step to step, and so does the mean.
        variant: "info-gain" maximises -C - w H; "lookum" drops C and maximises -H (LookUM, arXiv:2511.05563).
        future: w, the weight of the mean next entropy H: "mean" is 1 (the paper), "step" the positions k that the move
            fills, "half-step" k/2, and "sum" the positions left, so that w H is the sum of their entropies.
    """

    candidates: int = 8
    position_temperature: float = 0.1
    scope: Scope = "block"
    variant: Literal["info-gain", "lookum"] = "info-gain"
    future: Literal["mean", "half-step", "step", "sum"] = "mean"

    def __post_init__(self) -> None:
        check_fields(self, "info-gain")
        require(self.candidates >= 1, f"info-gain: candidates must be at least 1, got {self.candidates}")
        require(
            0 <= self.position_temperature < inf,
            f"info-gain: position_temperature must be finite and 0 or more, got {self.position_temperature}",
        )
        require(
            self.variant == "info-gain" or self.future == "mean",
            "info-gain: future would be ignored by variant=lookum, which has nothing to weigh it against",
        )

    def plan(self, step: Step) -> Plan:
        greedy = Plan(unmask=top_positions(step.confidence, step.masked, step.quota))
        if self.candidates == 1 or self.position_temperature == 0:
            return greedy
        # The last step of a row fills what is left of its block, whatever the candidates are.
        is_open = step.open.sum(-1) > step.quota
        if not bool((is_open & (step.quota > 0)).any()):
            return greedy
        unmask, tokens = self._moves(step, greedy.unmask)
        number, row = (distinct(unmask, tokens) & is_open).nonzero(as_tuple=True)
        if len(row) == int(is_open.sum()):
            return greedy  # no row has a choice, and an ordinary forward costs the same as looking ahead
        filled = (unmask | step.fixed)[number, row]
        ahead = step.lookahead(row, filled, torch.where(step.fixed, step.tokens, tokens)[number, row], self.scope)
        return self._choose(step, unmask, tokens, (number, row), ahead)

    def _moves(self, step: Step, greedy: Tensor) -> tuple[Tensor, Tensor]:
        """Positions, bool [n b l], and tokens, [n b l], of all candidates; number 0 is the greedy one."""
        drawn = step.propose(self.candidates - 1)
        # Multiplying the noise orders positions as dividing the confidence does, and cannot overflow.
        perturbed = drawn.confidence + self.position_temperature * step.noise.gumbel(self.candidates - 1)
        others = top_positions(perturbed, step.masked, step.quota)
        return torch.cat([greedy[None], others]), torch.cat([step.proposal.tokens, drawn.tokens])

    def _choose(
        self, step: Step, unmask: Tensor, tokens: Tensor, moves: tuple[Tensor, Tensor], ahead: Prediction
    ) -> Plan:
        """Compare the moves (numbers [n'], rows [n']) that were looked at and build the plan of the best."""
        cost = (step.prediction.entropy * unmask).sum(-1)
        left = ahead.masked.sum(-1).clamp(min=1)
        after = torch.full_like(cost, torch.nan)
        after[moves] = (ahead.entropy.sum(-1) / left).to(cost)
        score = -after if self.variant == "lookum" else -cost - self._weight(unmask, moves, left) * after
        best = score.nan_to_num(nan=-torch.inf).argmax(0)
        rows = torch.arange(len(best), device=best.device)
        return Plan(
            unmask=unmask[best, rows],
            tokens=tokens[best, rows],
            candidates=Candidates(unmask, tokens, cost, after, score, best),
        )

    def _weight(self, unmask: Tensor, moves: tuple[Tensor, Tensor], left: Tensor) -> Tensor | float:
        """The weight of each move's mean next entropy, [n b] or one number; `left`, [n'], is positions after a move."""
        if self.future == "mean":
            return 1.0
        filled = unmask.sum(-1)
        if self.future == "sum":
            return torch.ones_like(filled).index_put(moves, left)
        return filled if self.future == "step" else filled / 2


def distinct(unmask: Tensor, tokens: Tensor) -> Tensor:
    """Whether a move is the first of its row with these (position, token) pairs: [n b l], [n b l] -> bool [n b]."""
    moves = torch.where(unmask, tokens, -1)
    same = (moves[:, None] == moves[None]).all(-1)
    earlier = torch.ones(same.shape[:2], dtype=torch.bool, device=same.device).tril(diagonal=-1)
    return ~(same & earlier.unsqueeze(-1)).any(1)
