"""How likely a masked diffusion model finds a continuation: an estimate, since it predicts in no fixed order.

LLaDA's paper (arXiv:2502.09992, section 2.4) defines it. Of a continuation of L tokens, l are masked, and

    log p(continuation | prefix) >= E [ L / l * sum of log p(token | prefix, what is not masked) over the masked ones ]

with l uniform on 1 ... L and the l positions uniform without replacement. If the model's predictions are those of one
distribution, whatever is masked, the two sides are equal; for a real model the right one is what is computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import comb, nan, sqrt

import torch
from torch import Tensor

from ..at_work import at_work
from ..backends.base import ModelBackend
from ..backends.evaluation_mode import EvaluationMode
from ..canvas import Canvas, Span, check_rows
from ..errors import CanvasError, PredictionError, require
from ..planners.base import top_positions
from ..prediction import Head, Prediction
from ..randomness import RowNoise

Pair = tuple[Sequence[int], Sequence[int]]
"""Token ids of a prefix and of the continuation whose likelihood is asked for."""

Row = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Estimate:
    """A log-likelihood.

    Attributes:
        log_likelihood: in nats.
        error: standard error of the estimate, in nats: 0 where every mask was seen, nan with a single sample.
        forwards: model rows computed for it.
    """

    log_likelihood: float
    error: float
    forwards: int


@dataclass(frozen=True)
class GreedyCheck:
    """Whether greedy decoding gives a continuation.

    Attributes:
        matches: whether it does.
        forwards: model rows computed to find out.
    """

    matches: bool
    forwards: int


@dataclass(frozen=True)
class _Question:
    """What one mask asks of the model: the log-probability of the masked tokens, which counts `weight` in the mean."""

    pair: int
    row: Row
    scale: float
    weight: float


@torch.no_grad()
def log_likelihoods(
    backend: ModelBackend, pairs: Sequence[Pair], *, samples: int = 128, seed: int = 0, batch_size: int = 8
) -> list[Estimate]:
    """Estimate the log-likelihood of each continuation, given its prefix, from `samples` random masks.

    The probabilities are the model's own, renormalised without the mask token, which is never predicted. Ids without a
    token keep their share, as in published figures. Equal masks are computed once. A continuation that has no more
    masks than `samples` sees each of them once, at its probability: then nothing is estimated.

    Args:
        backend: the model.
        pairs: prefixes, which may be empty, and continuations; an empty one has the log-likelihood 0.
        samples: masks drawn for a continuation; the error falls with their square root.
        seed: draws the masks, together with the tokens of the pair: a pair's masks don't depend on other pairs.
        batch_size: rows in a forward.

    Raises `CanvasError`, naming the row, for a pair that the model cannot take.
    """
    require(samples >= 1, f"samples must be at least 1, got {samples}")
    check_pairs(backend, pairs, batch_size)
    head = replace(backend.distributions(), unused=())
    means, squares, forwards = ([0.0] * len(pairs) for _ in range(3))
    evaluating = EvaluationMode(backend)
    for batch in batches(questions(backend, pairs, samples, seed), batch_size):
        seen: set[Row] = set()
        with evaluating:
            totals = answers(backend, head, pairs, batch)
        for question, total in zip(batch, totals, strict=True):
            value = question.scale * total
            means[question.pair] += question.weight * value
            squares[question.pair] += question.weight * value**2
            forwards[question.pair] += question.row not in seen
            seen.add(question.row)
    estimates = []
    for i, (_, continuation) in enumerate(pairs):
        error = 0.0 if _all_are_seen(len(continuation), samples) else standard_error(means[i], squares[i], samples)
        estimates.append(Estimate(means[i], error, int(forwards[i])))
    return estimates


@torch.no_grad()
def greedy_checks(backend: ModelBackend, pairs: Sequence[Pair], *, batch_size: int = 8) -> list[GreedyCheck]:
    """Whether filling a continuation's positions one at a time, the surest first, with the likeliest token, gives it.

    All positions are masked at first, and nothing follows them. It is LLaDA's own check. A pair is dropped at the first
    token that differs, so most cost one forward. For the arguments see `log_likelihoods`.
    """
    check_pairs(backend, pairs, batch_size)
    head = backend.distributions()
    bodies = [[backend.mask_id] * len(continuation) for _, continuation in pairs]
    forwards, matches = [0] * len(pairs), [True] * len(pairs)
    evaluating = EvaluationMode(backend)
    unfinished = [i for i in _by_length(pairs) if bodies[i]]
    while unfinished:
        for first in range(0, len(unfinished), batch_size):
            part = unfinished[first : first + batch_size]
            with evaluating:
                found = _predict(backend, head, [(tuple(pairs[i][0]), tuple(bodies[i])) for i in part])
                statistics = found.statistics
            one = torch.ones(len(part), dtype=torch.long, device=found.masked.device)
            positions = top_positions(statistics.confidence, found.masked, one).int().argmax(1)
            tokens = statistics.token.gather(1, positions.unsqueeze(1))[:, 0]
            for i, position, token in zip(part, positions.tolist(), tokens.tolist(), strict=True):
                bodies[i][position] = token
                matches[i] = token == pairs[i][1][position]
                forwards[i] += 1
        unfinished = [i for i in unfinished if matches[i] and backend.mask_id in bodies[i]]
    return [GreedyCheck(*pair) for pair in zip(matches, forwards, strict=True)]


def check_pairs(backend: ModelBackend, pairs: Sequence[Pair], batch_size: int) -> None:
    """Raise `CanvasError` for a pair that the model cannot take."""
    require(batch_size >= 1, f"batch_size must be at least 1, got {batch_size}")
    never = {backend.mask_id, *chain.from_iterable(backend.unused_ids)}
    for i, (_, continuation) in enumerate(pairs):
        wrong = next((t for t in continuation if not 0 <= t < backend.vocab_size or t in never), None)
        if wrong is not None:
            raise CanvasError(f"row {i}: the continuation holds {wrong}, which is the mask or no token of the model")
    rows = [(prefix, [backend.mask_id] * max(1, len(continuation))) for prefix, continuation in pairs]
    if rows:
        check_rows(backend, rows)


def questions(backend: ModelBackend, pairs: Sequence[Pair], samples: int, seed: int) -> Iterator[_Question]:
    """The questions of all pairs, one pair after the other, those of similar length beside each other."""
    for i in _by_length(pairs):
        prefix, continuation = tuple(pairs[i][0]), torch.tensor(pairs[i][1], dtype=torch.long)
        length = len(continuation)
        if not length:
            continue
        noise = RowNoise.from_seeds([seed], torch.device("cpu"), len(prefix), *prefix, *continuation.tolist())
        masks, weights = draw_masks(length, samples, noise)
        bodies = continuation.where(~masks, backend.mask_id).tolist()
        hidden = masks.sum(1).tolist()
        for body, count, weight in zip(bodies, hidden, weights.tolist(), strict=True):
            yield _Question(i, (prefix, tuple(body)), length / count, weight)


def _by_length(pairs: Sequence[Pair]) -> list[int]:
    """The pairs' numbers, longest first, so that a batch has little padding and memory runs out at once or never."""
    return sorted(range(len(pairs)), key=lambda i: (-len(pairs[i][0]) - len(pairs[i][1]), tuple(pairs[i][0])))


def _all_are_seen(length: int, samples: int) -> bool:
    """Whether a continuation of `length` tokens has no more masks than `samples`; none masks nothing."""
    return bool(2**length - 1 <= samples)


def draw_masks(length: int, samples: int, noise: RowNoise) -> tuple[Tensor, Tensor]:
    """Different masks, bool [m length], and the weight of each in the mean, float64 [m]."""
    if _all_are_seen(length, samples):
        masks = (torch.arange(1, 2**length).unsqueeze(1) >> torch.arange(length)).bitwise_and(1).bool()
        ways = torch.tensor([comb(length, count) for count in masks.sum(1).tolist()], dtype=torch.float64)
        return masks, 1 / (length * ways)
    draws = noise.uniform([0], samples, length + 1)[0]
    counts = (draws[:, :1] * length).long().clamp(max=length - 1) + 1
    order = draws[:, 1:].argsort(dim=1).argsort(dim=1)
    masks, times = torch.unique((order < counts).int(), dim=0, return_counts=True)
    return masks.bool(), times.double() / samples


def batches(asked: Iterable[_Question], size: int) -> Iterator[list[_Question]]:
    """Neighbouring questions, together about at most `size` different rows."""
    batch: list[_Question] = []
    rows: set[Row] = set()
    for question in asked:
        if len(rows) == size and question.row not in rows:
            yield batch
            batch, rows = [], set()
        batch.append(question)
        rows.add(question.row)
    if batch:
        yield batch


def answers(backend: ModelBackend, head: Head, pairs: Sequence[Pair], batch: Sequence[_Question]) -> list[float]:
    """For each question the summed log-probability of the masked tokens; a row is computed once, whoever asks."""
    rows = list(dict.fromkeys(question.row for question in batch))
    found = _predict(backend, head, rows)
    device = found.masked.device
    asked = found.select(torch.tensor([rows.index(question.row) for question in batch], device=device))
    tokens = torch.zeros(asked.masked.shape, dtype=torch.long, device=device)
    for i, question in enumerate(batch):
        continuation = pairs[question.pair][1]
        tokens[i, : len(continuation)] = torch.tensor(continuation, device=device)
    totals = torch.zeros(len(batch), dtype=torch.float64, device=device)
    for (r, c), logits in asked.chunks(copies=2):
        chosen = logits.gather(-1, tokens[r, c].unsqueeze(-1).to(logits.device))[:, 0]
        totals.index_add_(0, r, (chosen - logits.logsumexp(-1)).to(totals))
    if bool(totals.isnan().any()):
        raise PredictionError("the model returned logits that are not finite; try another dtype")
    return totals.tolist()


def _predict(backend: ModelBackend, head: Head, rows: Sequence[Row]) -> Prediction:
    """What the model predicts at the masks of (prefix, body) rows, in one forward over whole canvases."""
    canvas = Canvas.from_rows(rows, mask_id=backend.mask_id, pad_id=backend.pad_id, device=backend.device)
    with at_work("model", backend):
        hidden = backend.trunk(canvas, Span(0, canvas.length), None)[:, canvas.start :]
    return Prediction(hidden.to(canvas.tokens.device), canvas.masked[:, canvas.start :], head, canvas.tokens)


def standard_error(mean: float, square: float, samples: int) -> float:
    """Of a mean of `samples` draws with this mean and mean square."""
    return nan if samples == 1 else sqrt(max(square - mean**2, 0.0) / (samples - 1))
