"""Random numbers by row: a row's draws depend on its seed and its own progress, never on its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING
from zlib import crc32

from .lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RowNoise:
    """One generator for each row of the batch: the only source of randomness in a step.

    The loop seeds them anew at each step from (row's seed, block, step of the block). A draw that is made only because
    a neighbour needed one so leaves no trace in later steps.
    """

    generators: tuple[torch.Generator, ...]

    @classmethod
    def from_seeds(cls, seeds: Sequence[int], device: torch.device, *key: int) -> RowNoise:
        """Generators for rows with these seeds, at the moment of the run that `key` names."""
        return cls.from_keys([(seed, *key) for seed in seeds], device)

    @classmethod
    def from_keys(cls, keys: Sequence[Sequence[int]], device: torch.device) -> RowNoise:
        """Generators for rows, each with its own seed and moment."""
        return cls(tuple(torch.Generator(device).manual_seed(_mixed(*key)) for key in keys))

    def uniform(self, rows: Sequence[int], *shape: int) -> Tensor:
        """For each listed row, in order, `shape` float64 numbers in [0, 1) from its generator: `[len(rows) *shape]`."""
        draws = [
            torch.rand(shape, generator=self.generators[row], dtype=torch.float64, device=self.generators[row].device)
            for row in rows
        ]
        return torch.stack(draws)

    def gumbel(self, rows: Sequence[int], *shape: int) -> Tensor:
        """Standard Gumbel noise in float64, `[len(rows) *shape]`.

        Single or half precision would cap the noise and tie its largest values, which favours low token ids.
        """
        return -torch.log(-torch.log(self.uniform(rows, *shape)))


@dataclass(frozen=True)
class StepNoise:
    """A planner's random numbers in one step: some for each position of the block.

    Attributes:
        rows: the rows' generators.
        width: positions of a full block. Numbers are drawn for all of them, so that a block cut short gets the same.
        length: positions of this block.
    """

    rows: RowNoise
    width: int
    length: int

    def uniform(self, count: int) -> Tensor:
        """`count` numbers in [0, 1) for each position, float64 [n b l]."""
        return self._by_position(self.rows.uniform, count)

    def gumbel(self, count: int) -> Tensor:
        """`count` draws of standard Gumbel noise for each position, float64 [n b l]."""
        return self._by_position(self.rows.gumbel, count)

    def _by_position(self, draw: Callable[..., Tensor], count: int) -> Tensor:
        draws = draw(range(len(self.rows.generators)), count, self.width)
        return draws[..., : self.length].transpose(0, 1)


def row_seed(name: str, seed: int) -> int:
    """The seed of a row, made of the seed of its run and its name: rows that shared one would share their noise."""
    return crc32(f"{seed}/{name}".encode("utf-8", "surrogatepass"))


def _mixed(*numbers: int) -> int:
    """One 64-bit seed from several numbers; neighbouring numbers give unrelated seeds."""
    text = ",".join(str(number) for number in numbers)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)
