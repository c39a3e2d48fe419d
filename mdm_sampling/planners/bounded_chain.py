"""Bounded chains: look at several canvases in one forward, and go from one to the next as an entropy bound allows.

EB-Sampler (arXiv:2505.24857) fills as many positions at once as a bound on their entropies allows, and Info-Gain
(arXiv:2602.18176) looks at several moves in one forward and takes the one after which the least uncertainty is left.
Here the moves that are looked at also verify each other: the prediction after one of them says whether the bound
allows the way to the next, so that one forward justifies several moves in turn.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING, final

from ..errors import require
from ..kinds import check_fields
from ..lazy import torch
from ..prediction import Prediction
from ..records import Candidates, Plan
from .base import Needs, PositionPlanner, Step, top_positions
from .draft_shapes import DraftShape, Lattice, filled_by
from .eb import longest_prefix
from .info_gain import distinct
from .speculate import waiting

if TYPE_CHECKING:
    from torch import Tensor


@final
@dataclass(frozen=True)
class BoundedChain(PositionPlanner):
    """Take the chain of bounded moves, all looked at in one forward, that leaves the least uncertainty.

    A step *keeps to the bound* under two conditions. The entropies of its positions, without the largest, sum to at
    most `bound`. The largest exceeds the lowest entropy of all masked positions by at most `slack`.

    The first move fills the positions of lowest entropy, as many as keep to the bound (as in EB-Sampler). `drafts` more
    moves are larger than a step may be. `candidates` more moves take the positions in a perturbed order. All of them
    are computed in one forward. One move *leads to* another if the positions between them are a step that keeps to the
    bound under the prediction after the first move, and its likeliest tokens are the drafted ones.

    Of all moves that a chain of such links leads to, the one with the largest J = -C - H is taken. C is the sum of the
    entropies of the filled positions, each under the prediction that allowed it. H is the sum of the entropies that are
    left. Each link is a step, and only the first costs a forward.

    The schedule's quota only sets the size of drafts. A row's last step of a block fills all positions that are left.

    Args:
        bound: in nats, 0 or more; the larger it is, the fewer steps.
        slack: in nats, 0 or more: how much less sure than the surest masked position the others of a step may be. The
            larger it is, the fewer steps. With `inf`, one position of each step may have any entropy.
        drafts: how many larger moves are computed for each row. They save forwards.
        candidates: how many perturbed moves are computed for each row. Without these and drafts, and with a slack of
            `inf`, this is EB-Sampler, whose next prediction comes from a lookahead.
        position_temperature: how random the perturbed orders are: Gumbel noise times this number lowers the entropies.
        shape: which canvases are drafts.
    """

    bound: float = 0.1
    slack: float = 0.2
    drafts: int = 8
    candidates: int = 0
    position_temperature: float = 0.1
    shape: DraftShape = field(default_factory=Lattice)

    def __post_init__(self) -> None:
        check_fields(self, "bounded-chain")
        require(0 <= self.bound < inf, f"bounded-chain: bound must be finite and 0 or more, got {self.bound}")
        require(self.slack >= 0, f"bounded-chain: slack must be 0 or more, got {self.slack}")
        require(self.drafts >= 0, f"bounded-chain: drafts must be 0 or more, got {self.drafts}")
        require(self.candidates >= 0, f"bounded-chain: candidates must be 0 or more, got {self.candidates}")
        require(
            0 <= self.position_temperature < inf,
            f"bounded-chain: position_temperature must be finite and 0 or more, got {self.position_temperature}",
        )

    @property
    def needs(self) -> Needs:
        return Needs(drafts=True, quota=False)

    def plan(self, step: Step) -> Plan:
        if step.may_wait:
            return self._next_link(step)
        own = _BoundedMove(self.bound, self.slack)
        first = own.plan(step)
        unmask, tokens = self._moves(step, first, own)
        ends = ~(step.open & ~unmask).any(-1)
        differs = distinct(unmask, tokens)
        number, row = (differs & ~ends & ~ends[0]).nonzero(as_tuple=True)
        if not len(row):
            return Plan(first.unmask, memory=_remembered(torch.zeros_like(tokens[0]), tokens[0]))
        ahead = step.lookahead(row, unmask[number, row], tokens[number, row])
        moves = _Moves.of(step, unmask, tokens, (number, row), ahead, usable=differs & ~ends[0])
        return self._chain(step, first, moves)

    def _moves(self, step: Step, first: Plan, own: _BoundedMove) -> tuple[Tensor, Tensor]:
        """The first move, its drafts and the perturbed ones, bool [n b l] and int64 [n b l]."""
        moves = [each[None] for each in filled_by(step, first)]
        if self.drafts:
            drafted = self.shape.drafts(step, first, own, self.drafts)
            moves = [torch.cat(pair) for pair in zip(moves, drafted, strict=True)]
        if self.candidates:
            noise = self.position_temperature * step.noise.gumbel(self.candidates)
            others = own.filled(step, noise - step.prediction.entropy) | step.fixed
            moves = [torch.cat([moves[0], others]), torch.cat([moves[1], step.tokens.expand(others.shape)])]
        return moves[0], moves[1]

    def _chain(self, step: Step, first: Plan, moves: _Moves) -> Plan:
        """The first link of the best chain; the others are remembered."""
        cost, before = chains(*moves.links(self.bound, self.slack))
        left = moves.entropy.sum(-1) * moves.goes_on
        score = (-cost - left).to(left.dtype)[1:]
        best = score.nan_to_num(nan=-inf).argmax(0) + 1
        rows = torch.arange(len(best), device=best.device)
        number = _links(moves.unmask, before, best)
        unmask = torch.where(score.isnan().all(0).unsqueeze(-1), first.unmask, (number == 1) & step.masked)
        count = (step.open & ~moves.unmask[1:]).sum(-1).clamp(min=1)
        seen = moves.goes_on[1:]
        return Plan(
            unmask=unmask,
            tokens=torch.where(unmask, moves.tokens[best, rows], step.tokens),
            candidates=Candidates(
                unmask=moves.unmask[1:],
                tokens=moves.tokens[1:],
                cost=cost[1:].to(left.dtype),
                next_entropy=torch.where(seen, left[1:] / count, torch.nan),
                score=score,
                chosen=best - 1,
            ),
            memory=_remembered(number.masked_fill(unmask, 0), moves.tokens[best, rows]),
        )

    def _next_link(self, step: Step) -> Plan:
        """The next link of a chain, if the prediction that it starts from still allows it; other rows wait."""
        number, tokens = step.memory["link"], step.memory["token"]
        linked = (number > 0) & step.masked
        next_number = number.masked_fill(~linked, _LAST).amin(-1, keepdim=True)
        now = linked & (number == next_number)
        entropy = step.prediction.entropy
        paid = entropy * now
        allowed = _keeps(paid.sum(-1), paid.amax(-1), _surest(entropy, step.masked), self.bound, self.slack)
        goes_on = now.any(-1) & allowed & ~(now & (step.tokens != tokens)).any(-1)
        unmask = torch.where(step.is_last.unsqueeze(-1), step.masked, now)
        return waiting(Plan(unmask, memory=_remembered(number.masked_fill(now, 0), tokens)), ~goes_on)


@dataclass(frozen=True)
class _BoundedMove(PositionPlanner):
    """The surest positions, as many as keep to the bound in one step."""

    bound: float
    slack: float

    def plan(self, step: Step) -> Plan:
        return Plan(self.filled(step, -step.prediction.entropy))

    def filled(self, step: Step, score: Tensor) -> Tensor:
        """The positions of the best score that keep to the bound, all that are left in a row's last step: [... b l]."""
        entropy = step.prediction.entropy
        enough = step.masked & (entropy <= _surest(entropy, step.masked).unsqueeze(-1) + self.slack)
        eligible = torch.where(step.is_last.unsqueeze(-1), step.masked, enough).expand(score.shape)
        count = longest_prefix(entropy.expand(score.shape), score, eligible, self.bound)
        return top_positions(score, eligible, count.masked_fill(step.is_last, score.shape[-1]))


def _surest(entropy: Tensor, masked: Tensor) -> Tensor:
    """The lowest entropy of the masked positions, inf if there are none: [... l] twice -> [...]."""
    return entropy.masked_fill(~masked, inf).amin(-1)


def _keeps(cost: Tensor, largest: Tensor, surest: Tensor, bound: float, slack: float) -> Tensor:
    """Whether steps keep to the bound: the sum of the entropies that each fills, the largest of them, and the lowest of
    all masked positions, [...] each -> bool [...].
    """
    return (cost - largest <= bound + _ROUNDING) & (largest <= surest + slack + _ROUNDING)


_ROUNDING = 1e-6
"""By how much a sum may exceed the bound because it was added up in another order."""

_LAST = 2**31
"""More than there are links."""


def _remembered(link: Tensor, tokens: Tensor) -> dict[str, Tensor]:
    """The memory of a chain: for each position the number of the link that fills it, 0 for none, and the token."""
    return {"link": link, "token": tokens}


@dataclass(frozen=True, eq=False)
class _Moves:
    """Moves of each row with what was predicted after them. Number 0 is the move that does nothing.

    Attributes:
        unmask: positions that each fills, bool [n b l].
        tokens: what they are filled with, int64 [n b l].
        masked: positions that are left, bool [n b l].
        entropy: of these, in nats, [n b l].
        likeliest: their likeliest tokens, int64 [n b l].
        goes_on: whether a prediction after the move is known, from which a link may start, bool [n b].
        usable: whether the move is one of its row's, bool [n b].
    """

    unmask: Tensor
    tokens: Tensor
    masked: Tensor
    entropy: Tensor
    likeliest: Tensor
    goes_on: Tensor
    usable: Tensor

    @classmethod
    def of(
        cls,
        step: Step,
        unmask: Tensor,
        tokens: Tensor,
        seen: tuple[Tensor, Tensor],
        ahead: Prediction,
        usable: Tensor,
    ) -> _Moves:
        """Moves, [n b l], of which those with the (numbers, rows) `seen` were looked at, as `ahead` says."""
        where = (seen[0] + 1, seen[1])
        unmask = torch.cat([step.fixed[None], unmask])
        entropy = step.prediction.entropy.new_zeros(unmask.shape)
        entropy[0], entropy[where] = step.prediction.entropy, ahead.entropy.to(entropy)
        likeliest = torch.zeros(unmask.shape, dtype=torch.long, device=unmask.device)
        likeliest[0], likeliest[where] = step.tokens, ahead.statistics.token
        goes_on = torch.zeros(unmask.shape[:2], dtype=torch.bool, device=unmask.device)
        goes_on[0], goes_on[where] = True, True
        tokens = torch.cat([step.tokens[None], tokens])
        masked = step.masked & ~unmask
        return cls(unmask, tokens, masked, entropy, likeliest, goes_on, torch.cat([goes_on[:1], usable]))

    def links(self, bound: float, slack: float) -> tuple[Tensor, Tensor]:
        """Whether the prediction after move i allows the way to move j, bool [n n b], and what that costs, [n n b].

        The cost is the entropies, after i, of the positions that j fills beyond it.
        """
        new = self.unmask[None] & ~self.unmask[:, None]
        paid = self.entropy[:, None] * new
        costs = paid.sum(-1)
        allowed = _keeps(costs, paid.amax(-1), _surest(self.entropy, self.masked)[:, None], bound, slack)
        inside = ~(self.unmask[:, None] & ~self.unmask[None]).any(-1) & new.any(-1)
        same = ~(self.unmask[:, None] & (self.tokens[:, None] != self.tokens[None])).any(-1)
        drafted = ~(new & (self.likeliest[:, None] != self.tokens[None])).any(-1)
        usable = self.goes_on[:, None] & self.usable[None] & self.usable[:, None]
        return allowed & inside & same & drafted & usable, costs


def chains(links: Tensor, costs: Tensor) -> tuple[Tensor, Tensor]:
    """The cheapest chain of links from move 0 to each: its cost, [n b], nan if there is none, and the move before it.

    Args:
        links: whether move i leads to move j, bool [n n b]; never in a circle.
        costs: what that costs, [n n b].
    """
    weight = costs.double().masked_fill(~links, inf)
    cost = torch.full_like(weight[0], inf)
    cost[0] = 0
    before = torch.zeros_like(cost, dtype=torch.long)
    for _ in range(len(links) - 1):
        way = cost.unsqueeze(1) + weight
        found = way.min(0)
        better = found.values < cost
        before = torch.where(better, found.indices, before)
        cost = torch.minimum(cost, found.values)
    return cost.masked_fill(cost.isinf(), torch.nan), before


def _links(unmask: Tensor, before: Tensor, best: Tensor) -> Tensor:
    """For each position the number of the link that fills it on the way to the move `best`, [b]; 0 for none, [b l]."""
    rows = torch.arange(len(best), device=best.device)
    ends = [best]
    for _ in range(len(unmask) - 1):
        ends.append(before[ends[-1], rows])
    number = torch.zeros(unmask.shape[1:], dtype=torch.long, device=best.device)
    length = torch.stack([end > 0 for end in ends]).sum(0)
    for back, (end, start) in enumerate(pairwise(ends)):
        new = unmask[end, rows] & ~unmask[start, rows]
        number = torch.where(new, (length - back).unsqueeze(-1), number)
    return number
