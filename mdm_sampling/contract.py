"""What the loop demands of parts that it did not write. A part that breaks its contract is named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from .at_work import at_work, named
from .caches import CacheStrategy
from .canvas import Span
from .errors import ContractError
from .planners.base import Needs, PositionPlanner, Step
from .prediction import Head
from .processors import Processor
from .records import Candidates, Plan, Proposal
from .schedules import Schedule
from .token_samplers import TokenSampler

_ROUNDED = 0.01
"""How far a probability may be out of [0, 1]; bfloat16 rounds it by less."""
_SCOPES = ("block", "canvas")
_Who = tuple[str, object]
"""The kind of a part and the part; its name is put together only for an error."""


def breach(who: _Who, what: str) -> ContractError:
    """The error that says what a part did."""
    return ContractError(f"{named(*who)} {what}")


def check_span(cache: CacheStrategy, span: object, block: Span, length: int, forward: int) -> Span:
    """The span. Raises `ContractError` unless it covers the block in the canvas and is all of it at forward 0."""
    who = ("cache", cache)
    if not isinstance(span, Span):
        raise breach(who, f"must return a Span, got {type(span).__name__}")
    if forward == 0 and span != Span(0, length):
        raise breach(who, f"must recompute the whole canvas on entering a block, it chose {span}")
    if not reads_slots(cache) and span != Span(0, length):
        raise breach(who, f"reads no slots, so it must recompute the whole canvas, it chose {span}")
    if not span.covers(block) or span.stop > length:
        raise breach(who, f"chose {span}, which does not cover {block} within the canvas")
    return span


def reads_slots(cache: CacheStrategy) -> bool:
    """Whether a later forward may read what an earlier one wrote."""
    with at_work("cache", cache):
        return bool(cache.reads_slots)


def check_quota(schedule: Schedule, quota: object, masked: Tensor) -> Tensor:
    """The quota. Raises `ContractError`, naming the schedule, unless it is a whole number for each row."""
    if not isinstance(quota, Tensor) or not _is(quota, masked.shape, torch.long):
        raise breach(("schedule", schedule), f"must return int64 of shape {list(masked.shape)}, got {_kind(quota)}")
    return quota


def check_proposal(sampler: TokenSampler, proposal: object, shape: tuple[int, ...]) -> Proposal:
    """The proposal. Raises `ContractError`, naming the token sampler, unless it has tokens and confidences [n b l].

    `check_plan` sees to it that the confidences are probabilities: asking a device twice takes longer. A nan becomes
    -1, so that no planner that reads it is blamed first.
    """
    who = ("token sampler", sampler)
    if not isinstance(proposal, Proposal):
        raise breach(who, f"must return a Proposal, got {type(proposal).__name__}")
    _tensor(who, "tokens", proposal.tokens, shape, torch.long)
    _tensor(who, "confidence", proposal.confidence, shape)
    return Proposal(proposal.tokens, proposal.confidence.nan_to_num(nan=-1))


def check_logits(processor: Processor, found: object, logits: Tensor) -> Tensor:
    """The processed logits. Raises `ContractError`, naming the processor, for another shape or type."""
    return _tensor(("processor", processor), "logits", found, logits.shape)


def needs_of(planner: PositionPlanner) -> Needs:
    """What a planner asks of the loop. Raises `ContractError`, naming it, if that is no `Needs`."""
    with at_work("planner", planner):
        needs = planner.needs
    if not isinstance(needs, Needs):
        raise ContractError(f"{named('planner', planner)}: needs must be a Needs, got {needs!r:.80}")
    return needs


class Unchanged:
    """Notices a planner that changes what it was shown, by the counters that tensors keep of changes in place."""

    def __init__(self, step: Step) -> None:
        # A tensor of torch.inference_mode keeps no such counter.
        self.shown = [(name, tensor) for name, tensor in shown_tensors(step) if not tensor.is_inference()]
        self.versions = [tensor._version for _, tensor in self.shown]

    def check(self, planner: PositionPlanner) -> None:
        """Raise `ContractError`, naming the planner and the tensor, if one has changed."""
        if self.versions == [tensor._version for _, tensor in self.shown]:
            return
        pairs = zip(self.shown, self.versions, strict=True)
        name = next(name for (name, tensor), version in pairs if tensor._version != version)
        raise breach(("planner", planner), f"changed step.{name} in place; it must work on a copy")


def shown_tensors(step: Step) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that a planner is shown at a step, by name."""
    for name in ("masked", "fixed", "quota", "taken", "steps", "valid", "block_tokens", "reopenable"):
        yield name, getattr(step, name)
    yield "filled.at", step.filled.at
    yield "filled.confidence", step.filled.confidence
    yield "proposal.tokens", step.proposal.tokens
    yield "proposal.confidence", step.proposal.confidence
    for name, tensor in step.memory.items():
        yield f"memory[{name!r}]", tensor
    predictions = [("prediction", step.prediction)]
    predictions += [(f"history[{i}]", past) for i, past in enumerate(step.history)]
    for where, prediction in predictions:
        for name in ("hidden", "masked", "context"):
            yield f"{where}.{name}", getattr(prediction, name)
        for name in ("token", "confidence", "second", "entropy"):
            yield f"{where}.statistics.{name}", getattr(prediction.statistics, name)


def check_moves(
    planner: PositionPlanner, moves: tuple[Any, Any, Any], scope: object, masked: Tensor, vocabulary: int
) -> None:
    """Raise `ContractError`, naming the planner, for moves that cannot be looked ahead at.

    They are rows, positions and tokens: int64 [n], bool [n l] and int64 [n l], of rows of the batch and tokens of the
    vocabulary.
    """
    rows, unmask, tokens = moves
    who, (b, positions) = ("planner", planner), masked.shape
    if scope not in _SCOPES:
        raise breach(who, f"looked ahead with scope={scope!r:.40}, expected 'block' or 'canvas'")
    n = len(rows) if isinstance(rows, Tensor) and rows.ndim == 1 else 0
    wanted = ((rows, (n,), torch.long), (unmask, (n, positions), torch.bool), (tokens, (n, positions), torch.long))
    if not n or not all(_is(*each) for each in wanted):
        got = ", ".join(_short(part) for part in (rows, unmask, tokens))
        raise breach(
            who,
            f"looked ahead at rows, unmask and tokens of {got}; "
            f"expected int64 [n], bool [n {positions}] and int64 [n {positions}], n at least 1",
        )
    strange, unreal = _any((rows < 0) | (rows >= b), unmask & ((tokens < 0) | (tokens >= vocabulary)))
    if strange:
        raise breach(who, f"looked ahead at a row that is not in the batch; rows must be in [0, {b})")
    if unreal:
        raise breach(who, "looked ahead at a token that is not in the vocabulary")


def check_plan(planner: PositionPlanner, plan: object, step: Step, head: Head, token_sampler: TokenSampler) -> Plan:
    """The plan. Raises `ContractError`, naming the planner, unless the loop can go on with it.

    It must fill masked positions of each row with real tokens, and at a row's last step all that are left. What it
    reopens must be reopenable. Where rows may wait, a row in which it does nothing waits.

    Raises it, naming the token sampler, if that gave a masked position a confidence that is not a probability.
    """
    who, masked = ("planner", planner), step.masked
    if not isinstance(plan, Plan) or not isinstance(plan.unmask, Tensor):
        raise breach(who, f"must return a Plan with a tensor `unmask`, got {type(plan).__name__}")
    unmask = _tensor(who, "unmask", plan.unmask, masked.shape, torch.bool)
    tokens = plan.tokens_or(step.tokens)
    tokens = _tensor(who, "tokens", tokens, masked.shape, torch.long)
    remask = torch.zeros_like(masked) if plan.remask is None else plan.remask
    remask = _tensor(who, "remask", remask, masked.shape, torch.bool)
    _check_extras(who, plan, masked)
    wrong = (tokens < 0) | (tokens >= head.vocab_size) | (tokens == head.mask_id)
    confidence = step.proposal.confidence
    odd, revealed, closed, stuck, unreal, late = _any(
        masked & ((confidence < -_ROUNDED) | (confidence > 1 + _ROUNDED)),
        unmask & ~masked,
        remask & ~step.reopenable,
        ~unmask.any(1) & (remask.any(1) | (not step.may_wait)),
        unmask & wrong,
        masked & ~unmask & (step.is_last & unmask.any(1)).unsqueeze(-1),
    )
    if odd:
        raise breach(("token sampler", token_sampler), "gave a position a confidence that is not in [0, 1]")
    if revealed:
        raise breach(who, "unmasked a position that is not masked")
    if closed:
        hint = "" if needs_of(planner).remasking else "; it must ask for it with `needs = Needs(remasking=True)`"
        raise breach(who, f"reopened a position that is not reopenable{hint}")
    if stuck:
        raise breach(who, "made no progress: it filled no position of a row that still has masks")
    if unreal:
        raise breach(who, "filled a position with the mask token or with a token outside the vocabulary")
    if late:
        raise breach(
            who, "left positions masked at a row's last step of the block, at which all that are left are filled"
        )
    return plan


def _check_extras(who: _Who, plan: Plan, masked: Tensor) -> None:
    """Raise `ContractError` unless memory and candidates have their kinds and shapes."""
    batch = len(masked)
    if not isinstance(plan.memory, Mapping):
        raise breach(who, f"returned memory that is not a mapping of names to tensors: {_kind(plan.memory)}")
    for name, tensor in plan.memory.items():
        if not isinstance(tensor, Tensor) or tensor.ndim < 1 or len(tensor) != batch:
            got = f"memory[{name!r:.40}] of {_kind(tensor)}"
            raise breach(who, f"returned {got}, expected a tensor whose first axis is the batch, {batch}")
    if plan.candidates is not None:
        _check_candidates(who, plan.candidates, masked)


def check_memory(planner: PositionPlanner, before: Mapping[str, Tensor], memory: Mapping[str, Tensor]) -> None:
    """Raise `ContractError`, naming the planner, unless its memory keeps its names, kinds and shapes.

    Rows that wait keep theirs from an earlier step, and both must fit together.
    """
    shapes = [{name: (each.shape[1:], each.dtype) for name, each in of.items()} for of in (before, memory)]
    if shapes[0] != shapes[1]:
        raise breach(
            ("planner", planner),
            f"remembered {_words(memory)} after {_words(before)}; one that drafts must always remember the same",
        )


def _words(memory: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{name} {list(each.shape[1:])} {each.dtype}" for name, each in memory.items()) or "nothing"


def _check_candidates(who: _Who, candidates: object, masked: Tensor) -> None:
    """Raise `ContractError` unless the moves' figures have their shapes; n is that of the cost."""
    if not isinstance(candidates, Candidates):
        raise breach(who, f"returned candidates of {_kind(candidates)}, expected Candidates or None")
    cost = candidates.cost
    n, (b, positions) = len(cost) if isinstance(cost, Tensor) and cost.ndim else 0, masked.shape
    _tensor(who, "candidates.unmask", candidates.unmask, (n, b, positions), torch.bool)
    _tensor(who, "candidates.tokens", candidates.tokens, (n, b, positions), torch.long)
    _tensor(who, "candidates.chosen", candidates.chosen, (b,), torch.long)
    for name in ("cost", "next_entropy", "score"):
        _tensor(who, f"candidates.{name}", getattr(candidates, name), (n, b))


def _tensor(who: _Who, name: str, value: Any, shape: tuple[int, ...], dtype: torch.dtype | None = None) -> Tensor:
    """`value`. Raises `ContractError` unless it is a tensor of this shape and type; None for any floating one."""
    if not _is(value, shape, dtype):
        expected = f"{list(shape)} and {dtype or 'a floating type'}"
        raise breach(who, f"returned {name} of {_kind(value)}, expected {expected}")
    tensor: Tensor = value
    return tensor


def _is(value: object, shape: tuple[int, ...], dtype: torch.dtype | None) -> bool:
    if not isinstance(value, Tensor) or value.shape != shape:
        return False
    return value.is_floating_point() if dtype is None else value.dtype == dtype


def _kind(value: object) -> str:
    """A tensor's shape and type, or the type of anything else."""
    if isinstance(value, Tensor):
        return f"shape {list(value.shape)} and type {value.dtype}"
    return f"type {type(value).__name__}"


def _short(value: object) -> str:
    return f"{list(value.shape)} {value.dtype}" if isinstance(value, Tensor) else type(value).__name__


def _any(*faults: Tensor) -> list[bool]:
    """Whether each holds anywhere, asked of the device at once."""
    found: list[bool] = torch.stack([fault.any() for fault in faults]).tolist()
    return found
