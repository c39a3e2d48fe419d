"""Text of the kind that the small model writes: 4x4 Sudokus that it may train on, each with its solution.

    python benchmarks/corpus.py > results/corpus.txt

For planners that weigh tokens by their frequency in a corpus. No puzzle that the tasks ask for is among them.
"""

from __future__ import annotations

from itertools import count
from random import Random

import click

from mdm_sampling.tasks import as_text, dig, is_held_out, random_grid


@click.command()
@click.option("--puzzles", default=2000, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=0, show_default=True)
@click.option("--quick", is_flag=True, help="Ten puzzles.")
def main(puzzles: int, seed: int, quick: bool) -> None:
    """Print puzzles and their solutions."""
    rng = Random(seed)
    left = 10 if quick else puzzles
    for _ in count():
        grid = random_grid(4, rng)
        puzzle = dig(grid, rng.randint(6, 12), rng)
        if not is_held_out("".join(map(str, puzzle))):
            click.echo(f"{as_text(puzzle, '.', ' ')}\n{as_text(grid, '.', chr(10))}")
            left -= 1
        if not left:
            return


if __name__ == "__main__":
    main()
