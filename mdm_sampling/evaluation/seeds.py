"""The seeds of answers: items that shared one would share their noise."""

from __future__ import annotations

from ..randomness import row_seed


def answer_seed(prompt: str, seed: int, repeat: int = 0) -> int:
    """The seed of the row that answers a prompt, made of the run's seed, which a repeat adds to, and the prompt.

    So items are independent, as the harness's standard errors take them to be, and `compare`'s items are.
    """
    return row_seed(prompt, seed + repeat)
