"""Installed distributions and their plug-ins, without those whose metadata cannot be read.

One broken `.dist-info`, of whatever package, makes `importlib.metadata.entry_points` raise, and with it the import of
torch, transformers and hypothesis. So it is hidden from this process.
"""

from __future__ import annotations

import importlib.metadata as metadata
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

GROUP = "mdm_sampling"
"""The entry-point group of plug-ins."""


def plugins() -> list[metadata.EntryPoint]:
    """The entry points of the installed plug-ins, by name; none of them is imported."""
    hide_unreadable()
    return sorted(metadata.entry_points(group=GROUP), key=lambda entry: entry.name)


@cache
def hide_unreadable() -> tuple[Path, ...]:
    """Hide distributions whose metadata cannot be read, if there are any, and return where they are."""
    try:
        metadata.entry_points()
    except Exception:  # what is raised of a broken one differs between versions of Python
        unreadable = [each for each in metadata.distributions() if not _is_readable(each)]
    else:
        return ()
    found = metadata.MetadataPathFinder.find_distributions

    def readable(context: Any = metadata.DistributionFinder.Context()) -> Iterator[metadata.Distribution]:  # noqa: B008
        return (each for each in found(context) if _is_readable(each))

    metadata.MetadataPathFinder.find_distributions = readable  # type: ignore[assignment,method-assign]
    return tuple(sorted({Path(str(getattr(each, "_path", "a distribution"))) for each in unreadable}))


def _is_readable(distribution: metadata.Distribution) -> bool:
    """Whether a distribution has a name and a list of entry points."""
    try:
        list(distribution.entry_points)
        return isinstance(distribution.name, str)
    except Exception:
        return False


def names() -> set[str]:
    """The names of all readable distributions, as package indexes compare them."""
    readable = (each.name for each in metadata.distributions() if _is_readable(each))
    return {re.sub(r"[-_.]+", "-", name).lower() for name in readable}
