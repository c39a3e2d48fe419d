"""The observers that plug-ins bring: told of a run, and unable to disturb it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ..at_work import at_work
from ..errors import MDMError
from .registry import registry

if TYPE_CHECKING:
    from ..canvas import Canvas
    from ..records import StepRecord
    from ..sampler import Observer, Sampler


@dataclass
class _HarmlessObserver:
    """An observer of a plug-in. Once it has failed, which is told on stderr, it is told nothing more.

    Attributes:
        plugin: its name.
        observer: the plug-in's own; None once it has failed.
    """

    plugin: str
    observer: Observer | None

    def begin(self, canvas: Canvas, seeds: list[int]) -> None:
        self._tell(lambda observer: observer.begin(canvas, list(seeds)))

    def add(self, record: StepRecord) -> None:
        self._tell(lambda observer: observer.add(record))

    def _tell(self, call: Callable[[Observer], None]) -> None:
        observer = self.observer
        if observer is not None and not _harmless(self.plugin, lambda: call(observer)):
            self.observer = None


def plugin_observers(sampler: Sampler) -> list[_HarmlessObserver]:
    """The observers that plug-ins have for a run of this sampler, see the hook `observe_run`."""
    found: list[_HarmlessObserver] = []

    def ask(name: str, module: object) -> None:
        made = registry().call(module, "observe_run", sampler=sampler)
        found.extend(_HarmlessObserver(name, observer) for observer in made if observer is not None)

    for name, module in registry().manager.list_name_plugin():
        _harmless(name, partial(ask, name, module))
    return found


def _harmless(plugin: str, call: Callable[[], object]) -> bool:
    """Call a plug-in's code; False, and a warning on stderr, if it fails."""
    try:
        with at_work("plug-in", plugin, "observing a run", decodes=False):
            call()
    except MDMError as error:
        print(f"Warning: {error}; it is told nothing more of this run", file=sys.stderr)
        return False
    return True
