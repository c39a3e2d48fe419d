"""What accuracy costs: the Pareto front of settings, and the area under a planner's accuracy by tokens a forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import torch
from torch import Tensor

from .statistics import Interval, Measured, interval_of, resampled

_STEEPNESS = 3.0
_MOST_LOST = 5.0
_SAME = 1e-5  # two ratios of float32 that are nearer to each other, relatively, are the same


@dataclass(frozen=True)
class Curve:
    """Settings whose planners differ in numbers alone, under the same cache and blocks.

    Attributes:
        family: the planner without its numbers.
        cache: the cache's spec.
        block_size: positions of a block; None for the whole body.
        points: how many settings they are.
        aup: accuracy under parallelism, with a bootstrap interval.
    """

    family: str
    cache: str
    block_size: int | None
    points: int
    aup: Interval


def curves(measured: Sequence[Measured]) -> list[Curve]:
    """The curve of each family, the one with the largest area first."""
    groups: dict[tuple[str, str, int | None], list[int]] = {}
    for i, each in enumerate(measured):
        groups.setdefault((each.setting.family, *each.setting.surroundings), []).append(i)
    values = torch.stack([each[name] for each in measured for name in ("score", "filled", "sequential_forwards")], 1)
    drawn = resampled(values) if len(values) > 1 else None
    found = []
    for key, members in groups.items():
        area = float(_areas(values.mean(0)[None], members))
        aup = Interval(area, nan, nan) if drawn is None else interval_of(_areas(drawn, members), area)
        found.append(Curve(*key, len(members), aup))
    return sorted(found, key=lambda curve: -curve.aup.mean)


def _areas(means: Tensor, members: Sequence[int]) -> Tensor:
    """The area of some settings, [r], from means of score, filled and forwards of all settings, [r 3s]."""
    score, filled, forwards = means.double().reshape(len(means), -1, 3).unbind(-1)
    best = 100 * score.max(-1).values
    return accuracy_under_parallelism((filled / forwards.clamp(min=1e-9))[:, members], 100 * score[:, members], best)


def accuracy_under_parallelism(parallelism: Tensor, accuracy: Tensor, best: Tensor) -> Tensor:
    """The area under accuracy by tokens per forward, in which accuracy that is lost weighs more (AUP, of d3LLM).

    With the points (rho, y) by rising rho, and W = min(exp(-3 (1 - y / best)), 1), the area is
    rho_1 y_1 + the sum of (rho_i - rho_(i-1)) (y_i W_i + y_(i-1) W_(i-1)) / 2. A point that lies more than 5 below y_1
    is left out. Of points with the same rho the most accurate counts.

    Args:
        parallelism: tokens per sequential forward, [r p], of p points in r resamples.
        accuracy: in percent, [r p].
        best: the highest accuracy of all that is compared, in percent, [r].

    Returns:
        The area, [r].
    """
    tied = (parallelism[:, :, None] - parallelism[:, None, :]).abs() <= _SAME * parallelism[:, :, None]
    accuracy = torch.where(tied, accuracy[:, None, :], 0.0).max(-1).values
    order = parallelism.argsort(-1)
    rho, y = parallelism.gather(-1, order), accuracy.gather(-1, order)
    weighted = y * torch.exp(-_STEEPNESS * (1 - y / best.clamp(min=1e-9)[:, None])).clamp(max=1)
    area, before, height = rho[:, 0] * y[:, 0], rho[:, 0], weighted[:, 0]
    for i in range(1, rho.shape[1]):
        kept = y[:, i] >= y[:, 0] - _MOST_LOST
        area = area + torch.where(kept, (rho[:, i] - before) * (weighted[:, i] + height) / 2, 0.0)
        before, height = torch.where(kept, rho[:, i], before), torch.where(kept, weighted[:, i], height)
    return area


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other beats in both cost and accuracy, by rising cost."""
    found: list[tuple[float, float]] = []
    for cost, accuracy in sorted(points, key=lambda point: (point[0], -point[1])):
        if not found or accuracy > found[-1][1]:
            found.append((cost, accuracy))
    return found
