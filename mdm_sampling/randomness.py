"""Random numbers by row: every row has its own generator, so that its draws don't depend on its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RowNoise:
    """One generator a row of the batch. The only source of randomness in a run."""

    generators: tuple[torch.Generator, ...]

    @classmethod
    def from_seeds(cls, seeds: Sequence[int], device: torch.device) -> RowNoise:
        return cls(tuple(torch.Generator(device).manual_seed(seed) for seed in seeds))

    def uniform(self, rows: Sequence[int], *shape: int) -> Tensor:
        """For each listed row, in order, `shape` float64 numbers in [0, 1) from its generator: [len(rows) *shape]."""
        draws = [
            torch.rand(shape, generator=self.generators[row], dtype=torch.float64, device=self.generators[row].device)
            for row in rows
        ]
        return torch.stack(draws)

    def gumbel(self, rows: Sequence[int], *shape: int) -> Tensor:
        """Standard Gumbel noise in float64, [len(rows) *shape].

        Single or half precision would cap the noise and tie its largest values, which favours low token ids.
        """
        return -torch.log(-torch.log(self.uniform(rows, *shape)))

    def select(self, rows: Sequence[int]) -> RowNoise:
        return RowNoise(tuple(self.generators[row] for row in rows))
