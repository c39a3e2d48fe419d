"""Means with intervals. The unit is the item: an item's seeds, which are not independent data, are averaged first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import nan, sqrt
from typing import Any

import torch
from torch import Tensor

from .settings import Setting

RESAMPLES, BLOCK = 10_000, 1_000
_FEW = 2_000  # items up to which the resamples are kept
_BOOTSTRAP_SEED = 0
_Z = 1.959964  # two-sided 95%
_MEASURED = ("score", "cumulative_entropy", "sequential_forwards", "forwards", "token_forwards", "seconds", "filled")
_TINY = 1e-300  # stands for a variance of zero, which rejects whatever differs


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95% interval; its bounds are nan where nothing can be said."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """What a setting achieved and what it cost; means over items, an item's seeds averaged.

    Attributes:
        setting: how the items were decoded.
        accuracy: mean score, with Wilson's interval.
        gain: accuracy minus that of the best greedy baseline with the same cache, tokens a step and block, with
            Tango's paired interval; None if there is no baseline, or this is the best one.
        entropy: cumulative entropy in nats, with a bootstrap interval.
        entropy_change: cumulative entropy over that of the greedy baseline with the lowest, minus 1, paired likewise.
        sequential_forwards: model calls one after the other, a lookahead counting 1, with a bootstrap interval.
        tokens_per_forward: positions filled over sequential forwards (TPF), with a bootstrap interval.
        forwards: row-forwards, a lookahead at 8 candidates counting 8.
        token_forwards: tokens computed.
        seconds: wall-clock time.
        tokens_per_second: positions filled over wall-clock time.
    """

    setting: Setting
    accuracy: Interval
    gain: Interval | None
    entropy: Interval
    entropy_change: Interval | None
    sequential_forwards: Interval
    tokens_per_forward: Interval
    forwards: float
    token_forwards: float
    seconds: float
    tokens_per_second: float


@dataclass(frozen=True)
class Measured:
    """A setting's values by item, each [items], in the same order for all settings."""

    setting: Setting
    values: dict[str, Tensor]
    seeds: int

    def __getitem__(self, name: str) -> Tensor:
        return self.values[name]

    def mean(self, name: str) -> float:
        return float(self.values[name].mean())


def summarise(measured: Sequence[Measured]) -> list[Summary]:
    """One summary for each setting."""
    baselines: dict[tuple[Any, ...], list[Measured]] = {each.setting.conditions: [] for each in measured}
    for each in measured:
        if each.setting.is_greedy:
            baselines[each.setting.conditions].append(each)
    return [summary(each, baselines[each.setting.conditions]) for each in measured]


def measure(setting: Setting, lines: Sequence[dict[str, Any]]) -> Measured:
    """Average each item's seeds."""
    mine = setting.lines(lines)
    names = sorted({line["item"] for line in mine})
    number = {name: i for i, name in enumerate(names)}
    index = torch.tensor([number[line["item"]] for line in mine])
    times = torch.zeros(len(names), dtype=torch.float64).index_add_(
        0, index, torch.ones(len(mine), dtype=torch.float64)
    )
    values = {}
    for column in _MEASURED:
        given = torch.tensor([float(line[column]) for line in mine], dtype=torch.float64)
        values[column] = torch.zeros_like(times).index_add_(0, index, given) / times
    return Measured(setting, values, len({line["seed"] for line in mine}))


def summary(each: Measured, greedy: Sequence[Measured]) -> Summary:
    gain = change = None
    if greedy:
        best = max(greedy, key=lambda other: (other.mean("score"), -other.mean("cumulative_entropy")))
        surest = min(greedy, key=lambda other: other.mean("cumulative_entropy"))
        if best is not each:
            gain = paired(each["score"], best["score"])
        if surest is not each:
            change = bootstrap(relative_change, each["cumulative_entropy"], surest["cumulative_entropy"])
    return Summary(
        setting=each.setting,
        accuracy=wilson(each["score"], each.seeds),
        gain=gain,
        entropy=bootstrap(first, each["cumulative_entropy"]),
        entropy_change=change,
        sequential_forwards=bootstrap(first, each["sequential_forwards"]),
        tokens_per_forward=bootstrap(_ratio, each["filled"], each["sequential_forwards"]),
        forwards=each.mean("forwards"),
        token_forwards=each.mean("token_forwards"),
        seconds=each.mean("seconds"),
        tokens_per_second=each.mean("filled") / max(each.mean("seconds"), 1e-9),
    )


def wilson(scores: Tensor, seeds: int = 1) -> Interval:
    """Mean of items' scores, [n], each in [0, 1], with Wilson's interval at the effective number of independent draws.

    With one seed that is the number of items. With more it lies between n, if all seeds of an item agree, and
    n x seeds, if they are independent; see `_effective`.
    """
    n, p = len(scores), float(scores.mean())
    draws = _effective(n, n * p * (1 - p), float((scores - p).square().sum()))
    draws = min(max(draws, n), n * seeds)
    centre = (p + _Z * _Z / (2 * draws)) / (1 + _Z * _Z / draws)
    half = _Z * sqrt(p * (1 - p) / draws + _Z * _Z / (4 * draws**2)) / (1 + _Z * _Z / draws)
    return Interval(p, max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)))


def paired(scores: Tensor, others: Tensor) -> Interval:
    """Mean of `scores - others`, both [n] in [0, 1] for the same items, with Tango's score interval for paired shares.

    The interval holds every difference that a score test does not reject. It has a width where no item differs, too:
    that none of 500 did says that fewer than one in a hundred does. (Tango, Statistics in Medicine 17, 1998.)

    Tango counts the items that only one side solves. Where an item's difference is a part of 1, because its seeds
    disagree or its score is a part, it counts as that part, at the effective number of items; see `_effective`. With
    one seed and scores of 0 and 1 that is the number of items, and the interval Tango's own.
    """
    apart = scores - others
    n, mean = len(apart), float(apart.mean())
    at_most, seen = float(apart.abs().sum()), float(apart.square().sum())
    draws = _effective(n, at_most - n * mean**2, seen - n * mean**2)
    won, lost = (float(part.clamp(min=0).mean()) * draws for part in (apart, -apart))

    def rejects(value: float) -> bool:
        return abs(tango(won, lost, draws, value)) > _Z

    return Interval(mean, _boundary(mean, -1.0, rejects), _boundary(mean, 1.0, rejects))


def tango(won: float, lost: float, n: float, value: float) -> float:
    """The score statistic, a standard normal number if the difference of two paired shares is `value`.

    Args:
        won: pairs that only the first side has.
        lost: pairs that only the second side has.
        n: all pairs.
        value: above -1 and below 1.
    """
    b = (2 * n - won + lost) * value - won - lost
    root = sqrt(max(b * b + 8 * n * lost * value * (1 - value), 0.0))
    only_second = (root - b) / (4 * n)  # its share if `value` is true
    variance = n * (2 * only_second + value * (1 - value))
    return (won - lost - n * value) / sqrt(max(variance, _TINY))


def _boundary(inside: float, outside: float, rejects: Callable[[float], bool]) -> float:
    """Where a test begins to reject on the way from a value that it accepts to the end of the range, by bisection."""
    for _ in range(60):
        middle = (inside + outside) / 2
        if middle in (inside, outside):
            break
        inside, outside = (inside, middle) if rejects(middle) else (middle, outside)
    return inside


def _effective(items: int, agreeing: float, seen: float) -> float:
    """The number of independent draws that items stand for, whose seeds may disagree.

    Args:
        items: how many.
        agreeing: the sum of squares around the mean that the items would have if each were all or nothing.
        seen: the one that they have.

    The more the seeds of an item disagree, the nearer are the items' values to their mean. One item more, whose seeds
    agree, is added to both sums: where few items differ, those few cannot show that seeds are independent.
    """
    return items * (agreeing + 1) / (seen + 1)


def bootstrap(statistic: Callable[..., Tensor], *values: Tensor) -> Interval:
    """A statistic of means over items, with a percentile interval from resampling the items, the same ones in each.

    Args:
        statistic: from one tensor of means for each of `values` to the statistic, elementwise.
        values: [n] each, one entry an item, in the same order. One item says nothing of others: its bounds are nan.
    """
    estimate = float(statistic(*(value.mean() for value in values)))
    if len(values[0]) == 1:
        return Interval(estimate, nan, nan)
    return interval_of(statistic(*resampled(torch.stack(values, 1)).unbind(1)), estimate)


def resampled(values: Tensor) -> Tensor:
    """Means over the items of each resample: [n v] -> float32 [resamples v]."""
    return torch.cat([weights @ values.float() for weights in _resamples(len(values))])


def interval_of(drawn: Tensor, estimate: float) -> Interval:
    """The percentile interval of a statistic's values in all resamples, [r]."""
    low, high = drawn.double().quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(estimate, low, high)


def _resamples(items: int) -> Iterator[Tensor]:
    """Weights of the items in each resample, [some items] at a time; the same whenever they are asked for."""
    for block in range(RESAMPLES // BLOCK):
        yield (_kept if items <= _FEW else _weights)(items, block)


def _weights(items: int, block: int) -> Tensor:
    generator = torch.Generator().manual_seed(_BOOTSTRAP_SEED + block)
    drawn = torch.randint(items, (BLOCK, items), generator=generator)
    weights = torch.zeros(BLOCK, items)
    return weights.scatter_add_(1, drawn, torch.ones_like(weights)) / items


_kept = lru_cache(maxsize=2 * 10)(_weights)


def first(mean: Tensor) -> Tensor:
    return mean


def _ratio(mean: Tensor, other: Tensor) -> Tensor:
    return mean / other.clamp(min=1e-9)


def relative_change(mean: Tensor, other: Tensor) -> Tensor:
    return mean / other.clamp(min=1e-12) - 1
