"""The model that ships inside the package: a small LLaDA that solves little puzzles, for trying things out offline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from .base import BackendFamily, ModelBackend
from .facts import ModelFacts
from .families.llada import LLaDA
from .options import LoadOptions, ModelSource

FOLDER = Path(__file__).parent / "embedded_model"
_HINT = "; the small model inside this package only knows Sudoku and Countdown; pass --model FOLDER or HUB_ID"


@final
@dataclass(frozen=True)
class Embedded(BackendFamily):
    """The small model inside this package, for Sudoku and Countdown; its name as a model is `embedded`."""

    def recognises(self, source: str, config: Mapping[str, Any] | None) -> bool:
        return source == "embedded"

    def load(self, source: str, config: Mapping[str, Any] | None, options: LoadOptions) -> ModelBackend:
        from .files import read_config

        backend = LLaDA().load(str(FOLDER), read_config(str(FOLDER), None), options)
        if backend.codec is not None:
            backend.codec = replace(backend.codec, hint=_HINT)
        backend.source = ModelSource(source, "embedded", options)
        return backend

    def facts(self, source: str, config: Mapping[str, Any] | None, options: LoadOptions) -> ModelFacts:
        from .files import read_config

        return replace(LLaDA().facts(str(FOLDER), read_config(str(FOLDER), None), options), model=source)
