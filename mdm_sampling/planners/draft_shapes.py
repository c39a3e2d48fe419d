"""Draft shapes: which canvases are looked at because a planner may soon stand on one of them.

Drafts are made of one prediction. `own-steps` is the draft of FreeDave (arXiv:2510.00294): the steps that the planner
would take if the prediction stayed as it is. Spiffy (arXiv:2509.18085) verifies a graph of drafts instead of a chain;
`lattice` is such a graph, of which nothing has to be calibrated beforehand.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count as numbers_from
from itertools import islice
from typing import TYPE_CHECKING, Literal, final

from ..kinds import check_fields
from ..lazy import torch
from ..records import Plan
from .base import PositionPlanner, Step, top_positions

if TYPE_CHECKING:
    from torch import Tensor

_Order = Literal["confidence", "entropy"]


class DraftShape(ABC):
    """Chooses the canvases that are looked at beside the one that a planner moves to."""

    @abstractmethod
    def drafts(self, step: Step, plan: Plan, planner: PositionPlanner, count: int) -> tuple[Tensor, Tensor]:
        """Canvases that the planner may stand on in its next steps.

        Args:
            step: the step that is taken.
            plan: what the planner answered to it.
            planner: that planner.
            count: how many are wanted in each row.

        Returns:
            The positions that each fills, those of the plan among them, bool [n b l], and the tokens, int64 [n b l].
            Drafts that repeat another, or leave no mask in the block, are left out by whoever asked.
        """


def filled_by(step: Step, plan: Plan) -> tuple[Tensor, Tensor]:
    """What a step fills, a wrapper's own positions included: positions, bool [b l], and tokens, int64 [b l]."""
    tokens = step.tokens if plan.tokens is None else torch.where(step.fixed, step.tokens, plan.tokens)
    return plan.unmask | step.fixed, tokens


def groups(step: Step, plan: Plan, order: _Order, chosen: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Drafts that add groups of positions to a plan: bool [n b l] and int64 [n b l].

    The positions left are ordered by how sure they are, and each group is the next `quota` of them, at least one.
    Draft i adds the groups with the numbers `chosen[i]`, which count from 0.
    """
    filled, tokens = filled_by(step, plan)
    score = step.confidence if order == "confidence" else -step.prediction.entropy
    size = step.quota.clamp(min=1)
    ends = torch.arange(max(map(max, chosen)) + 2, device=size.device).unsqueeze(-1) * size  # [g+1 b]
    upto = top_positions(score.expand(len(ends), *score.shape), step.open & ~filled, ends)
    group = upto[1:] & ~upto[:-1]
    added = torch.stack([group[list(each)].any(0) for each in chosen])
    return filled | added, torch.where(filled, tokens, step.tokens).expand(added.shape)


@final
@dataclass(frozen=True)
class Prefixes(DraftShape):
    """Prefixes of growing length of the masked positions, the surest first.

    Each is longer than the one before by the schedule's quota.

    Args:
        order: how sureness is measured: by "confidence" of the proposed token, or by low "entropy".
    """

    order: _Order = "confidence"

    def __post_init__(self) -> None:
        check_fields(self, "prefixes")

    def drafts(self, step: Step, plan: Plan, planner: PositionPlanner, count: int) -> tuple[Tensor, Tensor]:
        return groups(step, plan, self.order, [range(n + 1) for n in range(count)])


@final
@dataclass(frozen=True)
class Lattice(DraftShape):
    """Prefixes, and also prefixes whose last positions are swapped for the next ones in the order.

    So if a planner fills two positions in the other order, its canvas is still a draft. A draft has a length, in
    groups of positions, and a swap, the distance by which its last group is swapped. Drafts are sorted by the length
    plus twice the swap, the smallest first.

    Args:
        order: how sureness is measured: by "confidence" of the proposed token, or by low "entropy".
    """

    order: _Order = "confidence"

    def __post_init__(self) -> None:
        check_fields(self, "lattice")

    def drafts(self, step: Step, plan: Plan, planner: PositionPlanner, count: int) -> tuple[Tensor, Tensor]:
        return groups(step, plan, self.order, lattice(count))


def lattice(count: int) -> list[list[int]]:
    """The groups of the first `count` drafts of `Lattice`."""
    worth = ((length, swap) for rank in numbers_from(1) for swap in range(rank) if (length := rank - 2 * swap) > 0)
    return [[*range(length - 1), length - 1 + swap] for length, swap in islice(worth, count)]


@final
@dataclass(frozen=True)
class OwnSteps(DraftShape):
    """The planner's own next steps, if the model's prediction did not change (FreeDave).

    Each is planned with the quota, the noise and the drawn tokens of that later step. The planner is asked once for
    each draft, without a forward.
    """

    def drafts(self, step: Step, plan: Plan, planner: PositionPlanner, count: int) -> tuple[Tensor, Tensor]:
        filled, tokens = filled_by(step, plan)
        rows = torch.arange(len(filled), device=filled.device)
        found = []
        for _ in range(count):
            going = (step.open & ~filled_by(step, plan)[0]).any(-1).nonzero()[:, 0]
            if not len(going):
                break
            rows, step = rows[going], step.imagine(plan, going)
            plan = planner.plan(step)
            more, drawn = filled_by(step, plan)
            tokens = tokens.index_copy(0, rows, torch.where(more, drawn, tokens[rows]))
            filled = filled.index_copy(0, rows, filled[rows] | more)
            found.append((filled, tokens))
        return _stacked(found, filled, tokens)


def _stacked(found: Sequence[tuple[Tensor, Tensor]], filled: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Drafts as two tensors; at least one, which repeats the plan where there is none."""
    moves = found or [(filled, tokens)]
    return torch.stack([move[0] for move in moves]), torch.stack([move[1] for move in moves])
