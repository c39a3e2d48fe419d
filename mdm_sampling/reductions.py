"""What planners read of a row of logits: its likeliest tokens and its entropy, from slices of the vocabulary.

Each slice is read while it is in the processor's cache, and reduced to a few numbers a row; the slices' numbers are
then merged. A softmax over the whole vocabulary never exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from math import gcd
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from .lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


_SEGMENT = 128
"""Tokens of a segment of the vocabulary, for finding the largest logits; published vocabularies are multiples."""


class _SliceStatistics(NamedTuple):
    """What is kept of a slice of the logits, [r] each; sums are over exp(x - best).

    Attributes:
        token: the first of the likeliest tokens, counted from the slice's first.
        best: its logit.
        second: the second likeliest token's logit; -inf if there is none.
        total: sum of exp(x - best).
        moment: sum of exp(x - best) (x - best).
    """

    token: Tensor
    best: Tensor
    second: Tensor
    total: Tensor
    moment: Tensor


Reduce: TypeAlias = "Callable[[Tensor], _SliceStatistics]"


def slice_statistics(logits: Tensor) -> _SliceStatistics:
    """Reduce logits [r w], which are overwritten; one more tensor of their size is alive at a time."""
    token, best, second = _top_two(logits)
    # A slice may hold nothing but banned tokens, at -inf; it weighs nothing then.
    shifted = logits.sub_(best.masked_fill(best == -torch.inf, 0)[:, None])
    weights = shifted.exp()
    total = weights.sum(-1)
    # A banned token has weight 0 and logit -inf; their product must count 0, not nan.
    return _SliceStatistics(token, best, second, total, weights.mul_(shifted.clamp_(min=-1e4)).sum(-1))


@cache
def compiled_slice_statistics() -> Reduce:
    """The same in compiled kernels, for any number of rows."""
    compiled: Reduce = torch.compile(slice_statistics, dynamic=True)
    return compiled


def row_statistics(
    slices: Iterable[Tensor], reduce: Reduce = slice_statistics
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Likeliest token, its probability, the second's probability and the entropy of rows of logits: 4 x [r].

    H = log Z - E[x] with x shifted by its maximum, so that no probability is ever turned into a logarithm. A row
    whose best logit is not finite gets a non-finite entropy.

    Args:
        slices: the logits of consecutive parts of the vocabulary, [r w] each; overwritten.
        reduce: `slice_statistics` or its compiled form.
    """
    parts, first = [], 0
    for logits in slices:
        part = reduce(logits)
        parts.append(part._replace(token=part.token + first))
        first += logits.shape[-1]
    token, best, second, total, moment = (torch.stack(column) for column in zip(*parts, strict=True))
    where = best.argmax(0, keepdim=True)
    top = best.gather(0, where)
    others = best.scatter(0, where, -torch.inf).amax(0)
    shift = (best - top).clamp(min=-1e4)
    scale = shift.exp()
    z = (total * scale).sum(0)
    mean = ((moment + shift * total) * scale).sum(0) / z
    runner_up = torch.maximum(second.gather(0, where)[0], others)
    entropy = (z.log() - mean).clamp_(min=0)
    return token.gather(0, where)[0], 1 / z, (runner_up - top[0]).exp() / z, entropy


def _top_two(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The first of the likeliest tokens, its logit and the second likeliest's (-inf if there is none): 3 x [r].

    Maxima of segments come first, so that the whole row is read once, by the fastest reduction there is: on a CPU,
    finding a row's largest value takes a tenth of the time of finding where it is.
    """
    rows, vocabulary = logits.shape
    # A published vocabulary is a multiple; asking so first keeps the function whole for `torch.compile`.
    segment = _SEGMENT if vocabulary % _SEGMENT == 0 else gcd(vocabulary, _SEGMENT)
    segments = logits.view(rows, -1, segment)
    peaks = segments.amax(-1)
    where = peaks.argmax(-1, keepdim=True)  # the first of equals, which topk does not promise
    inside = segments.gather(1, where[..., None].expand(-1, -1, segment))[:, 0]
    position = inside.argmax(-1, keepdim=True)
    best = inside.gather(1, position)
    others = peaks.scatter(1, where, -torch.inf).amax(-1)
    second = torch.maximum(others, inside.scatter(1, position, -torch.inf).amax(-1))
    return (where * segment + position)[:, 0], best[:, 0], second
