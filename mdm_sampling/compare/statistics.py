"""Means with intervals. The unit is the item: an item's seeds, which are no independent data, are averaged first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from .settings import Setting

RESAMPLES, BLOCK = 10_000, 1_000
FEW = 2_000  # items up to which the resamples are kept
BOOTSTRAP_SEED = 0
Z = 1.959964  # two-sided 95%


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95% interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """What a setting achieved and what it cost; means over items, an item's seeds averaged.

    Attributes:
        setting: how the items were decoded.
        accuracy: mean score, with Wilson's interval.
        gain: accuracy minus that of the best greedy baseline with the same cache, tokens a step and block, with a
            paired bootstrap interval; None if there is no baseline, or this is the best one.
        entropy: cumulative entropy in nats, with a bootstrap interval.
        entropy_change: cumulative entropy over that of the greedy baseline with the lowest, minus 1, paired likewise.
        forwards: row-forwards, a lookahead at 8 candidates counting 8.
        token_forwards: tokens computed.
        seconds: wall-clock time.
        tokens_per_second: places filled over wall-clock time.
    """

    setting: Setting
    accuracy: Interval
    gain: Interval | None
    entropy: Interval
    entropy_change: Interval | None
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


def summarise(settings: Sequence[Setting], lines: Sequence[dict[str, Any]]) -> list[Summary]:
    """One summary for each setting."""
    measured = [measure(setting, lines) for setting in settings]
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
    for column in ("score", "cumulative_entropy", "forwards", "token_forwards", "seconds", "tokens"):
        given = torch.tensor([float(line[column]) for line in mine], dtype=torch.float64)
        values[column] = torch.zeros_like(times).index_add_(0, index, given) / times
    return Measured(setting, values, len({line["seed"] for line in mine}))


def summary(each: Measured, greedy: Sequence[Measured]) -> Summary:
    gain = change = None
    if greedy:
        best = max(greedy, key=lambda other: (other.mean("score"), -other.mean("cumulative_entropy")))
        surest = min(greedy, key=lambda other: other.mean("cumulative_entropy"))
        if best is not each:
            gain = bootstrap(difference, each["score"], best["score"])
        if surest is not each:
            change = bootstrap(relative_change, each["cumulative_entropy"], surest["cumulative_entropy"])
    return Summary(
        setting=each.setting,
        accuracy=wilson(each["score"], each.seeds),
        gain=gain,
        entropy=bootstrap(first, each["cumulative_entropy"]),
        entropy_change=change,
        forwards=each.mean("forwards"),
        token_forwards=each.mean("token_forwards"),
        seconds=each.mean("seconds"),
        tokens_per_second=each.mean("tokens") / max(each.mean("seconds"), 1e-9),
    )


def wilson(scores: Tensor, seeds: int = 1) -> Interval:
    """Mean of items' scores, [n], each in [0, 1], with Wilson's interval at the effective number of independent draws.

    With one seed that is the number of items. With more it is p(1 - p) / (s^2 / n), s^2 being the variance of the
    items' means: between n, if all seeds of an item agree, and n x seeds, if they are independent.
    """
    n, p = len(scores), float(scores.mean())
    spread = float(scores.var()) if n > 1 else 0.0
    effective = p * (1 - p) * n / spread if seeds > 1 and spread > 0 else float(n)
    effective = min(max(effective, n), n * seeds)
    centre = (p + Z * Z / (2 * effective)) / (1 + Z * Z / effective)
    half = Z * sqrt(p * (1 - p) / effective + Z * Z / (4 * effective**2)) / (1 + Z * Z / effective)
    return Interval(p, max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)))


def bootstrap(statistic: Callable[..., Tensor], *values: Tensor) -> Interval:
    """A statistic of means over items, with a percentile interval from resampling the items, the same ones in each.

    Args:
        statistic: from one tensor of means for each of `values` to the statistic, elementwise.
        values: [n] each, one entry an item, in the same order.
    """
    drawn = torch.cat(
        [statistic(*(weights @ value.float() for value in values)) for weights in resamples(len(values[0]))]
    )
    low, high = drawn.quantile(torch.tensor([0.025, 0.975])).tolist()
    return Interval(float(statistic(*(value.mean() for value in values))), low, high)


def resamples(items: int) -> Iterator[Tensor]:
    """Weights of the items in each resample, [some items] at a time; the same whenever they are asked for."""
    for block in range(RESAMPLES // BLOCK):
        yield (_kept if items <= FEW else _weights)(items, block)


def _weights(items: int, block: int) -> Tensor:
    generator = torch.Generator().manual_seed(BOOTSTRAP_SEED + block)
    drawn = torch.randint(items, (BLOCK, items), generator=generator)
    weights = torch.zeros(BLOCK, items)
    return weights.scatter_add_(1, drawn, torch.ones_like(weights)) / items


_kept = lru_cache(maxsize=2 * 10)(_weights)


def first(mean: Tensor) -> Tensor:
    return mean


def difference(mean: Tensor, other: Tensor) -> Tensor:
    return mean - other


def relative_change(mean: Tensor, other: Tensor) -> Tensor:
    return mean / other.clamp(min=1e-12) - 1
