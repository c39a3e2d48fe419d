"""What a comparison found, and how it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..folders.lines import Line
from .frontier import Curve, curves
from .settings import Setting
from .statistics import Measured, Summary, measure, summarise


@dataclass(frozen=True, repr=False)
class Comparison:
    """What was found.

    Attributes:
        manifest: the task, the model and whatever else all settings share.
        settings: in the order in which they were asked.
        lines: one for each item, setting and seed, in the order in which they were asked.
    """

    manifest: dict[str, Any]
    settings: Sequence[Setting]
    lines: Sequence[Line]

    def __repr__(self) -> str:
        return f"Comparison({self.manifest['task']}, {len(self.settings)} settings, {len(self.lines)} lines)"

    def _repr_markdown_(self) -> str:
        return self.markdown()

    @cached_property
    def summaries(self) -> list[Summary]:
        """One for each setting: accuracy, entropy and cost with their intervals."""
        return summarise(self._measured)

    @cached_property
    def curves(self) -> list[Curve]:
        """One for each planner, cache and block: its settings' accuracy under parallelism, the largest first."""
        return curves(self._measured)

    @cached_property
    def _measured(self) -> list[Measured]:
        return [measure(setting, self.lines) for setting in self.settings]

    def markdown(self, *, plots: bool = False) -> str:
        """The report: question, table, how to read it, and what it was measured on.

        Args:
            plots: whether it shows the images that `plot` draws, which stand beside it.
        """
        from .report import markdown

        return markdown(self.manifest, self.summaries, self.curves, self.lines, plots=plots)

    def as_json(self) -> dict[str, Any]:
        """The numbers of the report, JSON-able: for each setting and each curve, with their intervals."""
        from .report import as_json

        return as_json(self.manifest, self.summaries, self.curves)

    def plot(self, folder: Path | str, *, overwrite: bool = False, reads: Sequence[Path] = ()) -> list[Path]:
        """Draw the figures as PNG and SVG into a folder, which is made. Needs the extra `plot`.

        Raises `SpecError` for a file of such a name that holds anything else, unless `overwrite` is set; a file in
        `reads` is never replaced.
        """
        from .plots import draw

        return draw(self.manifest, self.summaries, self.lines, Path(folder), overwrite=overwrite, reads=reads)
