"""A random model that is small enough to be followed by hand, row by row, and what samplers make of it."""

import torch
from torch import Tensor

import mdm_sampling as mdm

VOCAB, MASK = 9, 8
ROWS = [
    ([1, 2], [MASK] * 9),
    ([3], [MASK, 5, MASK, MASK, MASK]),
    ([4, 0, 6, 2, 7], [MASK] * 4 + [1, 2] + [MASK] * 6),
]


class Toy:
    """Logits of a position from its token, its position and the mean of its row, in float64.

    Args:
        sharpness: the factor of the logits; the larger, the surer the model.
    """

    def __init__(self, seed: int, sharpness: float) -> None:
        self.sharpness = sharpness
        generator = torch.Generator().manual_seed(seed)
        self.embed, self.position, self.out = (
            torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((VOCAB, 8), (32, 8), (8, VOCAB))
        )
        self.backend = mdm.wrap(self.batch, MASK, VOCAB, takes_attention_mask=True)

    def row(self, tokens: Tensor) -> Tensor:
        """[t] -> [t v]"""
        x = torch.tanh(self.embed[tokens] + self.position[: len(tokens)])
        return torch.tanh(x + 2 * x.mean(0)) @ self.out * self.sharpness

    def batch(self, tokens: Tensor, attention_mask: Tensor) -> Tensor:
        logits = torch.zeros(*tokens.shape, VOCAB, dtype=torch.float64)
        for i, valid in enumerate(attention_mask):
            logits[i, valid] = self.row(tokens[i, valid])
        return logits


def moves_of(sampler: mdm.Sampler, rows: list[tuple[list[int], list[int]]]) -> list[list[dict[int, int]]]:
    """What a sampler filled in each row at each of its steps."""
    canvas = sampler.canvas(rows)
    moves: list[list[dict[int, int]]] = [[] for _ in rows]
    for record in sampler.iterate(canvas):
        first = record.block.start - canvas.start
        for i, row in enumerate(record.rows.tolist()):
            positions = record.unmask[i].nonzero()[:, 0].tolist()
            moves[row].append({first + position: int(record.tokens[i, position]) for position in positions})
    return moves
