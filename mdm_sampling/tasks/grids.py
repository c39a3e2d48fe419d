"""Sudoku grids: a row of cells read row by row, 0 for a hole. Sizes 4 (2x2 boxes), 6 (2x3 boxes) and 9 (3x3 boxes)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from functools import cache
from itertools import islice
from math import isqrt
from random import Random

BOXES = {4: (2, 2), 6: (2, 3), 9: (3, 3)}  # rows and columns of a box

Cells = tuple[int, ...]


@cache
def _units(size: int) -> tuple[Cells, ...]:
    """The positions of each row, column and box; each must hold every digit once."""
    high, wide = BOXES[size]
    lines = [tuple(range(size * r, size * (r + 1))) for r in range(size)]
    columns = [tuple(range(c, size * size, size)) for c in range(size)]
    boxes = [
        tuple(size * (r + i) + c + j for i in range(high) for j in range(wide))
        for r in range(0, size, high)
        for c in range(0, size, wide)
    ]
    return (*lines, *columns, *boxes)


@cache
def _units_of(size: int) -> tuple[Cells, ...]:
    """For each position, the numbers of its row, its column and its box in `_units`."""
    return tuple(tuple(u for u, unit in enumerate(_units(size)) if position in unit) for position in range(size * size))


def size_of(cells: Sized) -> int:
    """Rows of the grid that these are all cells of."""
    return isqrt(len(cells))


def is_solution(puzzle: Sequence[int], cells: Sequence[int]) -> bool:
    """Whether `cells` fills `puzzle` by the rules without changing a given digit. Any valid filling counts."""
    size = size_of(puzzle)
    digits = set(range(1, size + 1))
    return (
        len(cells) == len(puzzle)
        and all(given in (0, cell) for given, cell in zip(puzzle, cells, strict=True))
        and all({cells[position] for position in unit} == digits for unit in _units(size))
    )


def solutions(puzzle: Sequence[int], rng: Random | None = None) -> Iterator[Cells]:
    """All solutions, by depth-first search at the position with the fewest options; in random order if `rng` is
    given.
    """
    size = size_of(puzzle)
    cells, of = list(puzzle), _units_of(size)
    used = [0] * (3 * size)  # of each unit, its digits as bits

    def taken(position: int) -> int:
        row, column, box = of[position]
        return used[row] | used[column] | used[box]

    def toggle(position: int, digit: int) -> None:
        for unit in of[position]:
            used[unit] ^= 1 << digit

    def search() -> Iterator[Cells]:
        holes = [position for position, cell in enumerate(cells) if not cell]
        if not holes:
            yield tuple(cells)
            return
        position = max(holes, key=lambda hole: taken(hole).bit_count())
        digits = [digit for digit in range(1, size + 1) if not taken(position) >> digit & 1]
        if rng is not None:
            rng.shuffle(digits)
        for digit in digits:
            cells[position] = digit
            toggle(position, digit)
            yield from search()
            toggle(position, digit)
        cells[position] = 0

    for position, digit in enumerate(puzzle):
        if digit and taken(position) >> digit & 1:
            return
        if digit:
            toggle(position, digit)
    yield from search()


def random_grid(size: int, rng: Random) -> Cells:
    """A complete grid."""
    return next(solutions((0,) * size**2, rng))


def dig(grid: Sequence[int], holes: int, rng: Random) -> Cells:
    """The grid with `holes` random cells emptied."""
    emptied = set(rng.sample(range(len(grid)), holes))
    return tuple(0 if position in emptied else cell for position, cell in enumerate(grid))


def is_unique(puzzle: Sequence[int]) -> bool:
    """Whether the puzzle has exactly one solution."""
    return len(list(islice(solutions(puzzle), 2))) == 1


def as_text(cells: Sequence[int], hole: str, separator: str) -> str:
    """Rows of digits, holes as `hole`, with a separator between the rows."""
    size = size_of(cells)
    symbols = [str(cell) if cell else hole for cell in cells]
    return separator.join("".join(symbols[r : r + size]) for r in range(0, len(cells), size))
