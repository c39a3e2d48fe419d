"""The model that ships inside the package: a small LLaDA that solves little puzzles, for trying things out offline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from ..interfaces import BackendFamily, ModelBackend
from .llada import LLaDA
from .options import LoadOptions, ModelSource

FOLDER = Path(__file__).parent / "embedded_model"


@final
@dataclass(frozen=True)
class Embedded(BackendFamily):
    """The small model inside this package, for Sudoku and Countdown; its name as a model is `embedded`."""

    def recognises(self, source: str, config: Mapping[str, Any] | None) -> bool:
        return source == "embedded"

    def load(self, source: str, config: Mapping[str, Any] | None, options: LoadOptions) -> ModelBackend:
        from .files import read_config

        backend = LLaDA().load(str(FOLDER), read_config(str(FOLDER), None), options)
        backend.source = ModelSource(source, "embedded", options)
        return backend
