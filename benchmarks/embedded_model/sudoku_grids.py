"""4x4 Sudoku for the embedded model: all grids, seeded puzzles, an exact grader and a held-out split.

A grid is a row of 16 numbers from 1 to 4, read row by row; 0 is a hole.
"""

from itertools import permutations, product

import torch
from torch import Tensor

HELD_OUT_SHARE = 16  # one puzzle in 16 is a test puzzle


def all_grids() -> Tensor:
    """The 288 complete 4x4 grids, [288 16]."""
    rows = list(permutations((1, 2, 3, 4)))
    return torch.tensor([sum(grid, ()) for grid in product(rows, repeat=4) if _is_grid(sum(grid, ()))])


def _is_grid(cells: tuple[int, ...]) -> bool:
    return all(len({cells[i] for i in unit}) == 4 for unit in UNITS)


UNITS = (
    [tuple(range(4 * r, 4 * r + 4)) for r in range(4)]
    + [tuple(range(c, 16, 4)) for c in range(4)]
    + [tuple(4 * (r + i) + c + j for i in (0, 1) for j in (0, 1)) for r in (0, 2) for c in (0, 2)]
)


def is_solution(puzzle: str, answer: str) -> bool:
    """Whether `answer` fills `puzzle` without changing a given digit. Any valid filling counts, not one stored."""
    given = [0 if c == "." else int(c) for c in puzzle if c in ".1234"]
    cells = [int(c) for c in answer if c in "1234"]
    if len(answer.split()) != 4 or len(answer.strip()) != 19 or len(cells) != 16:
        return False
    return _is_grid(tuple(cells)) and all(g in (0, c) for g, c in zip(given, cells, strict=True))


def is_held_out(puzzles: Tensor) -> Tensor:
    """Whether each puzzle, [n 16] with 0 for holes, belongs to the test split: a fixed hash of its cells, [n] bool."""
    code = (puzzles * 5 ** torch.arange(16)).sum(1)
    code = (code ^ (code >> 15)) * 0x2C1B3C6D
    code = (code ^ (code >> 12)) * 0x297A2D39
    return (code ^ (code >> 15)) % HELD_OUT_SHARE == 0


def dig(grids: Tensor, holes: Tensor, generator: torch.Generator) -> Tensor:
    """Empty `holes[i]` random cells of grid i: [n 16] with 0 for holes."""
    rank = torch.rand(grids.shape, generator=generator).argsort(1).argsort(1)
    return torch.where(rank < holes[:, None], 0, grids)


def held_out_puzzles(count: int, seed: int, fewest: int = 6, most: int = 12) -> list[str]:
    """`count` held-out puzzles with 6 to 12 holes as text: rows of digits and dots, separated by spaces."""
    generator = torch.Generator().manual_seed(seed)
    grids, found = all_grids(), torch.empty(0, 16, dtype=torch.long)
    while len(found) < count:
        chosen = grids[torch.randint(len(grids), (1024,), generator=generator)]
        holes = torch.randint(fewest, most + 1, (1024,), generator=generator)
        puzzles = dig(chosen, holes, generator)
        found = torch.cat([found, puzzles[is_held_out(puzzles)]])
    return [as_text(puzzle, " ") for puzzle in found[:count]]


def as_text(cells: Tensor, separator: str) -> str:
    """One grid, [16], as four rows of digits, with dots for holes."""
    text = "".join(".1234"[cell] for cell in cells.tolist())
    return separator.join(text[i : i + 4] for i in range(0, 16, 4))
