"""What the loop demands of parts that it did not write. A part that breaks its contract is named."""

from __future__ import annotations

import torch
from torch import Tensor

from .errors import ContractError
from .interfaces import CacheStrategy, Needs, PositionPlanner, Schedule, Step
from .prediction import Head
from .records import Candidates, Plan, Span


def check_span(cache: CacheStrategy, span: Span, block: Span, length: int, forward: int) -> None:
    """Raise `ContractError` unless the span covers the block, lies in the canvas and is all of it at forward 0."""
    if forward == 0 and span != Span(0, length):
        raise ContractError(f"cache {cache!r} must recompute the whole canvas on entering a block, it chose {span}")
    if not cache.reads_slots and span != Span(0, length):
        raise ContractError(f"cache {cache!r} reads no slots, so it must recompute the whole canvas, it chose {span}")
    if not span.covers(block) or span.stop > length:
        raise ContractError(f"cache {cache!r} chose {span}, which does not cover {block} within the canvas")


def check_quota(schedule: Schedule, quota: Tensor, masked: Tensor) -> None:
    """Raise `ContractError`, naming the schedule, unless the quota is a whole number for each row."""
    if not isinstance(quota, Tensor) or quota.shape != masked.shape or quota.dtype != torch.long:
        got = f"{list(quota.shape)} and {quota.dtype}" if isinstance(quota, Tensor) else type(quota).__name__
        raise ContractError(f"schedule {schedule!r} must return int64 of shape {list(masked.shape)}, got {got}")


def needs_of(planner: PositionPlanner) -> Needs:
    """What a planner asks of the loop. Raises `ContractError`, naming it, if that is no `Needs`."""
    needs = planner.needs
    if not isinstance(needs, Needs):
        raise ContractError(f"planner {planner!r}: needs must be a Needs, got {needs!r}")
    return needs


def check_is_plan(planner: PositionPlanner, plan: object) -> None:
    """Raise `ContractError` unless the planner returned a `Plan` with a tensor of places."""
    if not isinstance(plan, Plan) or not isinstance(plan.unmask, Tensor):
        raise ContractError(f"planner {planner!r} must return a Plan with a tensor `unmask`, got {type(plan).__name__}")


def check_moves(planner: PositionPlanner, rows: Tensor, unmask: Tensor, tokens: Tensor, places: int) -> None:
    """Raise `ContractError`, naming the planner, unless moves to look ahead at are int64 [n], bool and int64 [n l]."""
    shape = (len(rows) if rows.ndim else 0, places)
    good = rows.ndim == 1 and rows.dtype == torch.long and shape[0] > 0
    good = good and unmask.shape == shape and unmask.dtype == torch.bool
    if not good or tokens.shape != shape or tokens.dtype != torch.long:
        got = ", ".join(f"{list(part.shape)} {part.dtype}" for part in (rows, unmask, tokens))
        raise ContractError(
            f"planner {planner!r} looked ahead at rows, unmask and tokens of {got}; "
            f"expected int64 [n], bool [n {places}] and int64 [n {places}], n at least 1"
        )


def check_plan(planner: PositionPlanner, plan: Plan, tokens: Tensor, step: Step, head: Head) -> None:
    """Raise `ContractError`, naming the planner, unless the plan fills masked places of each row with real tokens.

    What it reopens must be reopenable.
    """
    masked = step.masked
    if plan.unmask.shape != masked.shape or plan.unmask.dtype != torch.bool:
        raise ContractError(
            f"planner {planner!r} returned unmask of shape {list(plan.unmask.shape)} and type {plan.unmask.dtype}, "
            f"expected {list(masked.shape)} and torch.bool"
        )
    if tokens.shape != masked.shape or tokens.dtype != torch.long:
        raise ContractError(
            f"planner {planner!r} returned tokens of shape {list(tokens.shape)} and type {tokens.dtype}, "
            f"expected {list(masked.shape)} and torch.int64"
        )
    remask = plan.remask if plan.remask is not None else torch.zeros_like(masked)
    if remask.shape != masked.shape or remask.dtype != torch.bool:
        raise ContractError(
            f"planner {planner!r} returned remask of shape {list(remask.shape)} and type {remask.dtype}, "
            f"expected {list(masked.shape)} and torch.bool"
        )
    if plan.candidates is not None:
        _check_candidates(planner, plan.candidates, masked)
    wrong = (tokens < 0) | (tokens >= head.vocab_size) | (tokens == head.mask_id)
    faults = [plan.unmask & ~masked, ~plan.unmask.any(1), plan.unmask & wrong, remask & ~step.reopenable]
    revealed, stuck, unreal, closed = torch.stack([fault.any() for fault in faults]).tolist()
    if revealed:
        raise ContractError(f"planner {planner!r} unmasked a place that is not masked")
    if closed:
        hint = "" if planner.needs.remasking else "; it must ask for it with `needs = Needs(remasking=True)`"
        raise ContractError(f"planner {planner!r} reopened a place that is not reopenable{hint}")
    if stuck:
        raise ContractError(f"planner {planner!r} made no progress: it filled no place of a row that still has masks")
    if unreal:
        raise ContractError(
            f"planner {planner!r} filled a place with the mask token or with a token outside the vocabulary"
        )


def _check_candidates(planner: PositionPlanner, candidates: Candidates, masked: Tensor) -> None:
    """Raise `ContractError` unless the moves' figures have their shapes; n is that of the cost."""
    n, (b, places) = len(candidates.cost), masked.shape
    shapes = {"unmask": (n, b, places), "tokens": (n, b, places), "chosen": (b,)}
    shapes |= dict.fromkeys(("cost", "next_entropy", "score"), (n, b))
    for name, shape in shapes.items():
        got = tuple(getattr(candidates, name).shape)
        if got != shape:
            raise ContractError(
                f"planner {planner!r} returned candidates.{name} of shape {list(got)}, expected {list(shape)}"
            )
