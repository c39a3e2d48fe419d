"""Several samplers decode the same row, a step of each in turn, and a screen shows them beside each other."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from ...registry.observers import plugin_observers
from ...sampler import Sampler
from ...traces.replay import Replay
from ...traces.trace import TraceLines
from .screen import Screen, follow
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
        canvas, told = sampler.canvas([row]), plugin_observers(sampler)
        for observer in told:
            observer.begin(canvas, [seed])
        lines, replay = TraceLines(sampler.backend, sampler.spec()), Replay()
        replay.add(lines.opening(canvas, [seed]))
        lanes.append(Lane(title, replay.films[0]))
        runs.append((lanes[-1], sampler.iterate(canvas, seed), lines, replay, told))
    screen.step(lanes)
    while runs:
        going = []
        for lane, records, lines, replay, told in runs:
            began = time.monotonic()
            record = next(records, None)
            if record is not None:
                lane.seconds += time.monotonic() - began
                follow(replay, lines, record)
                for observer in told:
                    observer.add(record)
                going.append((lane, records, lines, replay, told))
        runs = going
        if runs:
            screen.step(lanes if screen.live else [lane for lane, *_ in runs])
    return lanes
