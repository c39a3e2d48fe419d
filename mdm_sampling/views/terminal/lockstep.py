"""Several samplers decode the same row, a step of each in turn, and a screen shows them beside each other."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from ...registry.observers import plugin_observers
from ...sampler import Observer, Sampler
from ...traces.keeper import FilmKeeper
from .screen import Screen
from .view import Lane


def watch(
    samplers: Mapping[str, Sampler], row: tuple[Sequence[int], Sequence[int]], seed: int, screen: Screen
) -> list[Lane]:
    """Decode a row with each sampler and show every step.

    Args:
        samplers: by title.
        row: (prefix, body) token ids.
        seed: of the row, for all of them.
        screen: entered already.
    """
    lanes, runs = [], []
    for title, sampler in samplers.items():
        canvas = sampler.canvas([row])
        keeper = FilmKeeper(sampler.backend, sampler.spec())
        told: list[Observer] = [keeper, *plugin_observers(sampler)]
        for observer in told:
            observer.begin(canvas, [seed])
        lanes.append(Lane(title, keeper.films[0]))
        runs.append((lanes[-1], sampler.iterate(canvas, seed), told))
    screen.step(lanes)
    while runs:
        going = []
        for lane, records, told in runs:
            began = time.monotonic()
            record = next(records, None)
            if record is not None:
                lane.seconds += time.monotonic() - began
                for observer in told:
                    observer.add(record)
                going.append((lane, records, told))
        runs = going
        if runs:
            screen.step(lanes if screen.live else [lane for lane, *_ in runs])
    return lanes
