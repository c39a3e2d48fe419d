"""Training batches: 4x4 and 6x6 Sudoku and Countdown, without anything that the tasks may ask.

A row is `<|start|> prompt <|answer|> response <|end|>...`. A step's batch depends on the seed and the step alone, so a
run that was cut off goes on with the batches it would have had.

Held out, and weighed nothing here: a 6x6 grid by its solution, a 4x4 grid (there are only 288) by the puzzle that its
visible cells form, a Countdown problem by its numbers and target.
"""

from dataclasses import dataclass
from itertools import permutations, product
from random import Random

import torch
from torch import Tensor
from vocabulary import ANSWER, DIGITS, END, ID, START, ids

from mdm_sampling.tasks import BOXES, Problem, is_held_out, random_grid, random_problem, solutions

TOKENS = 6144  # of a batch, whatever its rows' length
ANSWER_LENGTH = 24  # of a Countdown response
LARGEST, LIMIT = 9, 99
LEAST_MASKED = 0.05  # a smaller share t would make its weight 1/t, and so the gradient's variance, explode
KINDS = ("sudoku-4", "sudoku-6", "countdown-3", "countdown-4")
EARLY, LATE = (20, 48, 14, 18), (7, 23, 48, 22)  # shares of the kinds: Sudoku is learnt first, Countdown takes longer
SWITCH = 1400  # the step from which the late shares hold
POOL = 4000  # 6x6 grids, of which every batch sees random symmetries


@dataclass(frozen=True)
class Batch:
    """Token ids [n t], which of them are masked [n t], and the weight of each row's loss [n]."""

    tokens: Tensor
    masked: Tensor
    weight: Tensor


class Batches:
    """The training batches of a seed, by step."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        rng = Random(seed)
        self.grids = {
            4: torch.tensor(list(solutions((0,) * 16))),
            6: torch.tensor([random_grid(6, rng) for _ in range(POOL)]),
        }

    def __getitem__(self, step: int) -> Batch:
        seed = self.seed * 1_000_003 + step
        rng, generator = Random(seed), torch.Generator().manual_seed(seed)
        kind = rng.choices(KINDS, EARLY if step < SWITCH else LATE)[0]
        if kind.startswith("sudoku"):
            return sudoku_batch(self.grids[int(kind[-1])], rng, generator)
        return countdown_batch(int(kind[-1]), rng, generator)


def sudoku_batch(grids: Tensor, rng: Random, generator: torch.Generator) -> Batch:
    """Grids to fill in, without a prompt or, in three batches of ten, with the puzzle as the prompt."""
    cells = grids.shape[1]
    size = round(cells**0.5)
    ends = torch.full((1, rng.choice((0, 1, 1, 5, 13))), ID[END])
    with_puzzle = rng.random() < 0.3
    length = 2 + (size * (size + 1) - 1) * (2 if with_puzzle else 1) + ends.shape[1]
    rows = TOKENS // length
    solution = shuffled(grids[torch.randint(len(grids), (rows,), generator=generator)], generator)
    hidden = torch.rand(rows, 1, generator=generator) * 0.75 + 0.15
    puzzle = torch.where(torch.rand(rows, cells, generator=generator) < hidden, 0, solution)

    prompt = torch.cat([encoded(puzzle, " "), trailing(rows, rng)], dim=1) if with_puzzle else torch.empty(rows, 0)
    response = torch.cat([encoded(solution, "\n"), ends.expand(rows, -1)], dim=1)
    batch = masked_rows(prompt.long(), response, generator)
    positions = [(size + 1) * r + c for r in range(size) for c in range(size)]
    masked = batch.masked[:, -response.shape[1] :][:, positions]
    return Batch(batch.tokens, batch.masked, batch.weight.masked_fill(held_out_grids(solution, puzzle, masked), 0))


def held_out_grids(solution: Tensor, puzzle: Tensor, masked: Tensor) -> Tensor:
    """Which rows a test may ask, bool [n]: 6x6 by solution; 4x4 by prompt, by visible cells and by both together."""
    if solution.shape[1] == 36:
        return held_out_keys(solution)
    visible = torch.where(masked, 0, solution)
    return held_out_keys(puzzle) | held_out_keys(visible) | held_out_keys(torch.where(masked, puzzle, solution))


def held_out_keys(cells: Tensor) -> Tensor:
    return torch.tensor([is_held_out("".join(map(str, row))) for row in cells.tolist()])


def shuffled(grids: Tensor, generator: torch.Generator) -> Tensor:
    """Each grid under a random symmetry: digits renamed, bands, stacks and their lines permuted, [n cells]."""
    rows, cells = grids.shape
    size = round(cells**0.5)
    high, wide = BOXES[size]
    names = torch.rand(rows, size, generator=generator).argsort(1) + 1
    lines, columns = orders(size, high), orders(size, wide)
    line = lines[torch.randint(len(lines), (rows,), generator=generator)]
    column = columns[torch.randint(len(columns), (rows,), generator=generator)]
    positions = (line[:, :, None] * size + column[:, None, :]).flatten(1)
    return names.gather(1, grids.gather(1, positions) - 1)


def orders(size: int, group: int) -> Tensor:
    """All orders of `size` lines that keep groups of `group` neighbours together, [k size]."""
    within = list(permutations(range(group)))
    found = [
        [group * g + i for g, inside in zip(outer, inner, strict=True) for i in inside]
        for outer in permutations(range(size // group))
        for inner in product(within, repeat=size // group)
    ]
    return torch.tensor(found)


def encoded(cells: Tensor, separator: str) -> Tensor:
    """Grids [n cells] as token ids: lines of digits, dots for holes, a separator between the lines."""
    size = round(cells.shape[1] ** 0.5)
    marks = torch.full((len(cells), size, 1), ID[separator])
    return torch.cat([DIGITS[cells].view(-1, size, size), marks], dim=2).flatten(1)[:, :-1]


def countdown_batch(numbers: int, rng: Random, generator: torch.Generator) -> Batch:
    """Problems whose targets have the same number of digits, so that all rows are of one length."""
    digits = rng.choice((1, 2, 2))
    rows = TOKENS // (2 * numbers + digits + 2 + ANSWER_LENGTH)
    problems: list[Problem] = []
    while len(problems) < rows:
        problem = random_problem(numbers, LARGEST, LIMIT, rng)
        if len(str(problem.target)) == digits and not is_held_out(problem.key):
            problems.append(problem)
    prompt = torch.tensor([ids(f"{','.join(map(str, p.numbers))}={p.target}") for p in problems])
    response = torch.tensor([(ids(p.derivation) + [ID[END]] * ANSWER_LENGTH)[:ANSWER_LENGTH] for p in problems])
    return masked_rows(torch.cat([prompt, trailing(rows, rng)], dim=1), response, generator)


def trailing(rows: int, rng: Random) -> Tensor:
    """Mostly nothing; sometimes the space or line break that people leave after a prompt, [n 0 or 1]."""
    mark = rng.choices(("", " ", "\n"), (8, 1, 1))[0]
    return torch.tensor([ids(mark)], dtype=torch.long).expand(rows, -1)


def masked_rows(prompt: Tensor, response: Tensor, generator: torch.Generator) -> Batch:
    """Mask each token of a response with probability t, t spread evenly over the batch; the weight is 1/t."""
    rows = len(response)
    spread = (torch.arange(rows) + torch.rand((), generator=generator)) / rows
    t = (spread * (1 - LEAST_MASKED) + LEAST_MASKED)[torch.randperm(rows, generator=generator)]
    masked = torch.rand(response.shape, generator=generator) < t[:, None]
    start, answer = torch.full((rows, 1), ID[START]), torch.full((rows, 1), ID[ANSWER])
    prefix = torch.cat([start, prompt, answer], dim=1)
    masked = torch.cat([torch.zeros_like(prefix, dtype=torch.bool), masked], dim=1)
    return Batch(torch.cat([prefix, response], dim=1), masked, 1 / t)
