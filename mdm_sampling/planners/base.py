"""What a planner sees, may ask for and answers. Axes: b batch, l block, n candidates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Literal, Protocol

from ..at_work import named
from ..errors import ContractError, require
from ..fields import is_whole
from ..lazy import torch
from ..prediction import Prediction
from ..randomness import StepNoise
from ..records import Filled, Plan, Proposal

if TYPE_CHECKING:
    from torch import Tensor


Scope = Literal["block", "canvas"]


class Lookahead(Protocol):
    """The prediction one step later, for several candidate moves at once."""

    def __call__(self, rows: Tensor, unmask: Tensor, tokens: Tensor, scope: Scope = "block") -> Prediction:
        """Evaluate n moves in one batched forward that shares the rows' slots and writes none.

        Args:
            rows: which row each move belongs to, int64 [n].
            unmask: positions filled, bool [n l].
            tokens: what they are filled with, int64 [n l].
            scope: "block", or "canvas" for every masked position of the recomputed span.

        Returns:
            A prediction with n rows over the positions of the scope that stay masked.
        """


@dataclass(frozen=True)
class Needs:
    """What a planner asks of the loop beyond this step's prediction.

    Args:
        history: how many predictions of earlier steps of the block are kept for it.
        remasking: whether it may reopen positions that were filled in this block.
        drafts: whether rows may take steps without a forward, on canvases that were computed in an earlier lookahead;
            see `Step.may_wait`.
        quota: whether it uses the schedule's quota; False if it chooses by itself how many positions a step fills.
    """

    history: int = 0
    remasking: bool = False
    drafts: bool = False
    quota: bool = True

    def __post_init__(self) -> None:
        require(is_whole(self.history) and self.history >= 0, f"needs: history must be 0 or more, got {self.history!r}")
        for name in ("remasking", "drafts", "quota"):
            value = getattr(self, name)
            require(isinstance(value, bool), f"needs: {name} must be True or False, got {value!r}")

    def __or__(self, other: Needs) -> Needs:
        return Needs(
            history=max(self.history, other.history),
            remasking=self.remasking or other.remasking,
            drafts=self.drafts or other.drafts,
            quota=self.quota or other.quota,
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Step:
    """What a planner may see. It holds no canvas, model or cache.

    Only the loop makes one. Wrappers change one with `only`, `decided` and `asking`, which keep `masked`, `fixed` and
    `quota` consistent, and with `dataclasses.replace` for the rest: later versions may add attributes.

    Attributes:
        prediction: distributions at the block's positions, [b l].
        masked: the positions that may be chosen, bool [b l].
        fixed: positions that a wrapper already decided to fill in this step; not in `masked`, bool [b l].
        proposal: one draw for each position, tokens and confidence [1 b l].
        quota: how many positions the schedule asks for in each row, int64 [b]. It is 0 in rows that a wrapper decided,
            and at most the number of masked positions.
        memory: what the planner returned as memory at the previous step of this block; empty at the first.
        noise: `noise.uniform(n)` and `noise.gumbel(n)` are n random numbers for each position, float64 [n b l].
        offset: the number of body positions before the block.
        taken: steps that each row has taken in this block before this one, int64 [b].
        steps: steps that each row may take in this block, int64 [b]. At the last one (see `is_last`) the quota is all
            positions that are left, and the plan must fill all of them.
        valid: False at padding, that is, after the end of a row that is shorter than others, bool [b l].
        block_tokens: the tokens in the block, with the mask token at masked positions, int64 [b l].
        filled: when and how surely the loop filled the block's positions.
        reopenable: the positions that a plan may mask again, bool [b l]: those filled in this block, until the row's
            last step. All False unless the planner's `needs` ask for remasking.
        history: the predictions of the block's earlier steps, the latest first; at most as many as the planner's
            `needs` ask for.
        eos_ids: the model's end tokens.
        may_wait: whether the step costs no forward, because each row's canvas was computed in advance. The planner may
            not look ahead then. It may leave a row without any position: the row waits for a step with a lookahead.
            Always False unless the planner's `needs` ask for drafts.
        propose: `propose(n)` draws n more proposals, [n b l], of tokens that may be filled in this step.
        lookahead: predicts one step ahead, see `Lookahead`.
        foreseen: `foreseen(unmask, tokens)` says for which rows the canvas after this move was computed in advance:
            bool [b l], int64 [b l] -> bool [b].
        imagine: `imagine(plan, rows)` is the next step after a plan, if the model's prediction did not change. It has
            that step's noise, quota and proposal, and only the rows with the indices `rows`, int64 [n]. At least one
            mask must be left in each of them.
    """

    prediction: Prediction
    masked: Tensor
    fixed: Tensor
    proposal: Proposal
    quota: Tensor
    memory: Mapping[str, Tensor]
    noise: StepNoise
    offset: int
    taken: Tensor
    steps: Tensor
    valid: Tensor
    block_tokens: Tensor
    filled: Filled
    reopenable: Tensor
    history: tuple[Prediction, ...]
    eos_ids: tuple[int, ...]
    may_wait: bool
    propose: Callable[[int], Proposal]
    lookahead: Lookahead
    foreseen: Callable[[Tensor, Tensor], Tensor]
    imagine: Callable[[Plan, Tensor], Step]

    @property
    def tokens(self) -> Tensor:
        """The proposed tokens, [b l]."""
        return self.proposal.tokens[0]

    @property
    def confidence(self) -> Tensor:
        """The model's probability of the proposed tokens, [b l]."""
        return self.proposal.confidence[0]

    @property
    def is_last(self) -> Tensor:
        """Whether it is a row's last step of the block, in which a plan must fill all that is left, bool [b]."""
        return self.steps - self.taken <= 1

    @property
    def positions(self) -> Tensor:
        """The block's positions, counted from the start of the rows' bodies, int64 [l]."""
        return self.offset + torch.arange(self.masked.shape[1], device=self.masked.device)

    @property
    def open(self) -> Tensor:
        """The masked positions that no wrapper has decided to fill in this step, bool [b l].

        A wrapper that keeps some of them from being chosen narrows `masked`, and leaves these as they are.
        """
        return self.prediction.masked & ~self.fixed

    @property
    def vocab_size(self) -> int:
        """How many token ids there are."""
        return self.prediction.vocab_size

    def only(self, positions: Tensor) -> Step:
        """The step in which a planner chooses among these positions, bool [b l], where there are any.

        Left as they are: rows in which none of them may be chosen, and rows at their last step, which fill all.
        """
        chosen = self.masked & positions
        narrowed = chosen.any(-1) & ~self.is_last
        masked = torch.where(narrowed.unsqueeze(-1), chosen, self.masked)
        return replace(self, masked=masked, quota=torch.minimum(self.quota, masked.sum(-1)))

    def decided(self, positions: Tensor) -> Step:
        """The step that is left when a wrapper fills these positions, bool [b l], itself: `fixed` names them as well.

        Rows with any of them are asked for nothing more. Left as they are: rows that are asked for nothing already,
        and rows at their last step, which fill all.
        """
        free = (self.quota > 0) & ~self.is_last
        now = self.masked & positions & free.unsqueeze(-1)
        return replace(
            self,
            masked=self.masked & ~now,
            fixed=self.fixed | now,
            quota=self.quota.masked_fill(now.any(-1), 0),
        )

    def asking(self, quota: Tensor) -> Step:
        """The step with another quota, int64 [b], kept between 1 and what may be chosen.

        Left as they are: rows that are asked for nothing, and rows at their last step, which fill all.
        """
        free = (self.quota > 0) & ~self.is_last
        asked = torch.minimum(quota.clamp(min=1), self.masked.sum(-1))
        return replace(self, quota=torch.where(free, asked, self.quota))


class PositionPlanner(ABC):
    """Decides which positions to fill at a step, and may decide with what."""

    @property
    def needs(self) -> Needs:
        """What the loop must provide: by default, what the planners inside this one need. Override it to ask for more.

        A planner that wraps no other may write `needs = Needs(history=1)` in its class.
        """
        values: list[object] = [getattr(self, field.name) for field in fields(self)] if is_dataclass(self) else []
        inner = [value.needs for value in values if isinstance(value, PositionPlanner)]
        return reduce(or_, inner) if inner else Needs()

    @abstractmethod
    def plan(self, step: Step) -> Plan:
        """Choose masked positions: at least one in each row with a quota, and all of them where `step.is_last`."""


class ScorePlanner(PositionPlanner):
    """A planner that only scores positions: the best `quota` masked positions of each row are filled; ties go to the
    left.
    """

    @abstractmethod
    def score(self, step: Step) -> Tensor:
        """A number for each position, the larger the sooner it is filled, [b l]; nan only where `step.masked` is
        False.
        """

    def plan(self, step: Step) -> Plan:
        score = self.score(step)
        if not isinstance(score, torch.Tensor) or score.shape != step.masked.shape:
            got = list(score.shape) if isinstance(score, torch.Tensor) else type(score).__name__
            raise ContractError(
                f"{named('planner', self)} must score each position, {list(step.masked.shape)}, got {got}"
            )
        if bool((score.isnan() & step.masked).any()):
            raise ContractError(f"{named('planner', self)} scored a position with nan, which is not a number")
        return Plan(unmask=top_positions(score, step.masked, step.quota))


def top_positions(score: Tensor, eligible: Tensor, count: Tensor) -> Tensor:
    """The `count` eligible positions with the largest score in each row; ties go to the left.

    Ties are equal floats, and confidences of float32 end at 1: all that lie above 1 - 6e-8 tie. Scores that are equal
    only in exact arithmetic are ordered by their rounding.

    Args:
        score: [... l]; nan counts as the lowest.
        eligible: bool, broadcasts to the score's shape.
        count: int64, broadcasts to [...].

    Returns:
        bool [... l].
    """
    eligible = eligible.expand(score.shape)
    score = score.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    # Sorting twice, eligibility last and stably, keeps an eligible position at -inf ahead of those that may not be
    # chosen.
    order = score.argsort(dim=-1, descending=True, stable=True)
    order = order.gather(-1, eligible.gather(-1, order).int().argsort(dim=-1, descending=True, stable=True))
    rank = torch.empty_like(order).scatter_(
        -1, order, torch.arange(order.shape[-1], device=order.device).expand_as(order)
    )
    return (rank < count.unsqueeze(-1)) & eligible
