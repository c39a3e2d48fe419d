"""Faults that tests put into decoding."""

from typing import Any

import pytest

import mdm_sampling as mdm


def fill_but(monkeypatch: pytest.MonkeyPatch, fault: Any) -> list[int]:
    """Let `fault` look at the rows of each batch first; the sizes of the batches that were decoded."""
    sizes = []
    fill = mdm.Sampler.fill

    def faulty(self: mdm.Sampler, rows: Any, *args: Any, **options: Any) -> mdm.Result:
        fault(rows)
        sizes.append(len(rows))
        return fill(self, rows, *args, **options)

    monkeypatch.setattr(mdm.Sampler, "fill", faulty)
    return sizes
