"""Sudoku: fill a grid so that each row, column and box holds every digit once. Any valid filling counts."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, final

from ..encoding import read_text
from ..errors import SpecError, require
from ..kinds import check_fields
from .base import Grade, Item, Task
from .grids import BOXES, Cells, as_text, dig, is_solution, is_unique, random_grid, size_of
from .split import draw_distinct, is_held_out

_HOLES = {4: (6, 12), 6: (14, 24), 9: (36, 54)}  # fewest and most, unless told otherwise
_DEFAULT_COUNT = 64
_INSTRUCTION = """Solve this {size}x{size} Sudoku. Each row, each column and each box of {high} rows by {wide} columns \
must hold every digit from 1 to {size} exactly once. Dots are empty cells; keep the given digits.

{puzzle}

Answer with the {size} completed rows, one a line, and nothing else."""


@final
@dataclass(frozen=True)
class Sudoku(Task):
    """Sudokus of size 4, 6 (boxes of 2 rows by 3 columns) or 9, dug from random grids or read from a file.

    No generated puzzle was in the embedded model's training: 6x6 and 9x9 are kept apart by their solution, 4x4, which
    has only 288 grids, by the puzzle.

    Args:
        size: rows of the grid.
        holes: cells to fill, a number such as 10 or a range such as 6-12; none for 6-12 (size 4), 14-24 (6) or
            36-54 (9).
        form: "infill" makes the grid the canvas, with a mask in each hole; "prompt" gives the puzzle as the embedded
            model reads it and generates the whole grid; "instruct" asks in words.
        unique: take only puzzles with a single solution.
        file: a CSV file with the columns Puzzle and Solution: grids row by row, 0 for a hole.
    """

    size: Literal[4, 6, 9] = 4
    holes: str | None = None
    form: Literal["infill", "prompt", "instruct"] = "infill"
    unique: bool = False
    file: str | None = None

    def __post_init__(self) -> None:
        check_fields(self, "sudoku")
        if self.file is not None:
            require(self.holes is None, "sudoku: holes would be ignored: the puzzles come from a file")
        else:
            self._hole_range()

    @property
    def max_new_tokens(self) -> int | None:
        """Rows of digits, the line breaks between them and an end token; in words there may be spaces as well."""
        length = self.size * (self.size + 1)
        return {"infill": None, "prompt": length, "instruct": 4 * length}[self.form]

    def items(self, count: int | None, seed: int) -> Sequence[Item]:
        """Distinct puzzles; from a file its first `count` rows, whatever the seed."""
        puzzles = (
            self._from_file() if self.file is not None else self._made(_DEFAULT_COUNT if count is None else count, seed)
        )
        if self.unique:
            puzzles = [puzzle for puzzle in puzzles if is_unique(puzzle)]
        if count is not None and len(puzzles) < count:
            raise SpecError(f"sudoku: {count} puzzles were asked for, and {self.file} has {len(puzzles)}")
        return [self._item(puzzle) for puzzle in puzzles[:count]]

    def grade(self, item: Item, text: str) -> Grade:
        """Right if the last complete grid in the text fills the puzzle by the rules; see `read_grid`."""
        answer = read_grid(text, size_of(item.name))
        puzzle = [int(cell) for cell in item.name]
        solved = answer is not None and is_solution(puzzle, [int(c) for c in answer if c != "\n"])
        return Grade(answer, float(solved))

    def _item(self, puzzle: Cells) -> Item:
        name = "".join(map(str, puzzle))
        if self.form == "infill":
            return Item(name, "", as_text(puzzle, "[MASK]", "\n"))
        if self.form == "prompt":
            return Item(name, as_text(puzzle, ".", " "))
        size = size_of(name)
        high, wide = BOXES[size]
        return Item(name, _INSTRUCTION.format(size=size, high=high, wide=wide, puzzle=as_text(puzzle, ".", "\n")))

    def _hole_range(self) -> tuple[int, int]:
        if self.holes is None:
            return _HOLES[self.size]
        match = re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", self.holes)
        fewest, most = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        require(
            1 <= fewest <= most <= self.size**2,
            f"sudoku: holes must be a number or a range within 1 and {self.size**2}, such as 6-12, got {self.holes!r}",
        )
        return fewest, most

    def _made(self, count: int, seed: int) -> list[Cells]:
        """Distinct held-out puzzles."""
        drawn = draw_distinct(
            self._draw, key=lambda pair: pair[1], fits=self._fits, count=count, seed=seed, task="sudoku"
        )
        return [puzzle for _, puzzle in drawn]

    def _draw(self, rng: Random) -> tuple[Cells, Cells]:
        """A grid and a puzzle dug from it."""
        grid = random_grid(self.size, rng)
        return grid, dig(grid, rng.randint(*self._hole_range()), rng)

    def _fits(self, drawn: tuple[Cells, Cells]) -> bool:
        grid, puzzle = drawn
        key = puzzle if self.size == 4 else grid
        return is_held_out("".join(map(str, key))) and (not self.unique or is_unique(puzzle))

    def _from_file(self) -> list[Cells]:
        assert self.file is not None
        rows = csv.DictReader(read_text(self.file, "sudoku: ").split("\n"))
        try:
            if not {"Puzzle", "Solution"} <= set(rows.fieldnames or ()):
                raise SpecError(f"sudoku: {self.file} needs the columns Puzzle and Solution, has {rows.fieldnames}")
            puzzles = [self._checked(row, rows.line_num) for row in rows]
        except csv.Error as error:
            raise SpecError(f"sudoku: {self.file}, line {rows.line_num}: {error}") from error
        if not puzzles:
            raise SpecError(f"sudoku: {self.file} holds no puzzle")
        return list(dict.fromkeys(puzzles))

    def _checked(self, row: dict[str, str | None], line: int) -> Cells:
        """A row's puzzle. Raises `SpecError` unless its solution, which is only used for this, solves it."""
        where = f"sudoku: {self.file}, line {line}"
        puzzle, solution = ((row[name] or "").strip() for name in ("Puzzle", "Solution"))
        if len(puzzle) not in (16, 36, 81) or not re.fullmatch(r"[0-9]+", puzzle):
            raise SpecError(f"{where}: a puzzle is 16, 36 or 81 digits, 0 for a hole, got {puzzle!r}")
        if len(puzzle) != self.size**2:
            size = size_of(puzzle)
            raise SpecError(f"{where}: the puzzle's size is {size}, not {self.size}; write sudoku:size={size},file=...")
        cells = tuple(map(int, puzzle))
        if not re.fullmatch(r"[0-9]+", solution) or not is_solution(cells, tuple(map(int, solution))):
            raise SpecError(f"{where}: the solution does not solve the puzzle")
        if 0 not in cells:
            raise SpecError(f"{where}: the puzzle has no hole")
        return cells


def read_grid(text: str, size: int) -> str | None:
    """The last complete grid of a text: `size` lines of `size` digits each, or all of them in one line.

    What else people put between digits is dropped. Empty lines may part a grid, and part it from what follows. None if
    there is no grid: lines that follow each other are grids only if their number is a multiple of `size`.
    """
    last: list[str] | None = None
    rows: list[str] = []  # lines that follow each other
    begun: list[str] = []  # those of blocks before them that are not a grid yet
    for line in [*text.splitlines(), "end"]:
        digits = re.sub(r"[\s|\u2502,;/\[\]]", "", line)
        if re.fullmatch(f"[1-{size}]{{{size}}}", digits):
            rows.append(digits)
            continue
        if not digits.strip("-+\u2500\u253c") and digits:
            continue  # a rule between boxes
        begun = begun + rows if len(begun) + len(rows) <= size else rows
        if begun and len(begun) % size == 0:
            last, begun = begun[-size:], []
        elif len(begun) > size:
            begun = []
        rows = []
        if digits:
            begun = []
        if re.fullmatch(f"[1-{size}]{{{size**2}}}", digits):
            last = [digits[i : i + size] for i in range(0, size**2, size)]
    return None if last is None else "\n".join(last)
