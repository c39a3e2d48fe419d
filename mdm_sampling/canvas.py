"""Rows of tokens with masks in them, side by side. Axes: b batch, t canvas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import index
from typing import TYPE_CHECKING, NamedTuple

from .errors import CanvasError
from .fields import is_whole
from .lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

    from .backends.base import ModelBackend


@dataclass(frozen=True)
class Span:
    """The positions from `start` up to, not including, `stop` of a canvas."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ValueError(f"a span needs 0 <= start < stop, got [{self.start}, {self.stop})")

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def positions(self) -> slice:
        """The same positions as a slice, for indexing tensors."""
        return slice(self.start, self.stop)

    def covers(self, other: Span) -> bool:
        return self.start <= other.start and other.stop <= self.stop


class Row(NamedTuple):
    """Token ids to sample from: what stands before, and the positions to fill, which hold masks.

    Attributes:
        prefix: ids of a prompt; it may be empty.
        body: ids with masks among them, in which blocks are counted.
    """

    prefix: Sequence[int]
    body: Sequence[int]

    @property
    def positions(self) -> int:
        """How long the row's canvas is."""
        return len(self.prefix) + len(self.body)


@dataclass(frozen=True, eq=False)
class Canvas:
    """Rows of tokens in which the unknown positions hold the mask token.

    A row is a prefix, which is padded on the left, and a body, which is padded on the right, so that the bodies of
    all rows begin at the same column, `start`. Blocks are counted from there: a row's blocks, and so its result, do
    not depend on its neighbours. Only the body may hold masks. A revealed token never changes, but for one that the
    plan of a remasking planner reopens.

    Attributes:
        tokens: token ids, int64 [b t].
        valid: False at padding, bool [b t].
        start: the column at which the bodies begin.
        mask_id: the id of the mask token.
        padded: whether any position is padding, known without asking the device.
    """

    tokens: Tensor
    valid: Tensor
    start: int
    mask_id: int
    padded: bool

    @classmethod
    def from_rows(
        cls,
        rows: Sequence[tuple[Sequence[int], Sequence[int]]],
        *,
        mask_id: int,
        pad_id: int,
        device: torch.device | str = "cpu",
    ) -> Canvas:
        """Lay out rows of (prefix, body) token ids, at least one, that `check_rows` would let pass."""
        if pad_id == mask_id:
            raise CanvasError(f"the pad id and the mask id are both {mask_id}; padding would be taken for masks")
        start = max(len(prefix) for prefix, _ in rows)
        width = start + max(len(body) for _, body in rows)
        tokens = torch.full((len(rows), width), pad_id, dtype=torch.long)
        valid = torch.zeros(len(rows), width, dtype=torch.bool)
        for i, (prefix, body) in enumerate(rows):
            positions = slice(start - len(prefix), start + len(body))
            tokens[i, positions] = torch.tensor([*prefix, *body], dtype=torch.long)
            valid[i, positions] = True
        return cls(tokens.to(device), valid.to(device), start, mask_id, padded=not bool(valid.all()))

    @property
    def masked(self) -> Tensor:
        """Whether a position is still to be filled, bool [b t]."""
        return self.valid & (self.tokens == self.mask_id)

    @property
    def batch(self) -> int:
        return self.tokens.shape[0]

    @property
    def length(self) -> int:
        return self.tokens.shape[1]

    def commit(self, block: Span, unmask: Tensor, tokens: Tensor) -> Canvas:
        """The canvas after the positions `unmask`, bool [b l] in `block`, received `tokens`, [b l]."""
        filled = self.tokens.clone()
        filled[:, block.positions] = torch.where(unmask, tokens, filled[:, block.positions])
        return replace(self, tokens=filled)

    def reopen(self, block: Span, positions: Tensor) -> Canvas:
        """The canvas with the positions `positions`, bool [b l] in `block`, masked again."""
        return self.commit(block, positions, torch.full_like(positions, self.mask_id, dtype=torch.long))

    def fork(self, rows: Tensor, block: Span, unmask: Tensor, tokens: Tensor) -> Canvas:
        """One canvas a candidate: candidate i is row `rows[i]` with `tokens[i]` at `unmask[i]`. [n], [n l], [n l]."""
        return self.select(rows).commit(block, unmask, tokens)

    def select(self, rows: Tensor) -> Canvas:
        """Only the rows with the indices `rows`, [n], which may repeat."""
        return replace(self, tokens=self.tokens[rows], valid=self.valid[rows])

    def slice(self, first: int, stop: int) -> Canvas:
        """A few neighbouring rows, without copying."""
        return replace(self, tokens=self.tokens[first:stop], valid=self.valid[first:stop])

    def until(self, stop: int) -> Canvas:
        """The canvas cut off before the column `stop`, without copying."""
        return self if stop == self.length else replace(self, tokens=self.tokens[:, :stop], valid=self.valid[:, :stop])

    def row(self, i: int) -> list[int]:
        """The token ids of row i without its padding."""
        ids: list[int] = self.tokens[i][self.valid[i]].tolist()
        return ids

    def body(self, i: int) -> list[int]:
        """The token ids of row i's body without its padding."""
        ids: list[int] = self.tokens[i, self.start :][self.valid[i, self.start :]].tolist()
        return ids


def check_rows(backend: ModelBackend, rows: object) -> None:
    """Raise `CanvasError`, naming the row, unless each is a (prefix, body) of token ids that the model can sample."""
    limit, vocabulary, mask = backend.max_length, backend.vocab_size, backend.mask_id
    if not isinstance(rows, Sequence) or isinstance(rows, str | bytes):
        raise CanvasError(f"rows are a list of pairs (prefix ids, body ids), got {type(rows).__name__}")
    if not rows:
        raise CanvasError("there is no row to sample: the list of prompts is empty")
    for i, row in enumerate(rows):
        if not _is_pair(row):
            raise CanvasError(f"row {i}: a row is a pair (prefix ids, body ids), got {row!r:.80}")
        prefix, body = row
        if limit is not None and len(prefix) + len(body) > limit:
            raise CanvasError(
                f"row {i}: a prompt of {len(prefix)} tokens and {len(body)} positions after it exceed the model's "
                f"context of {limit}; shorten one of them"
            )
        wrong = [token for token in (*prefix, *body) if not _is_id(token, vocabulary)][:1]
        if wrong:
            kind = "whole numbers" if whole_number(wrong[0]) is None else f"in [0, {vocabulary})"
            raise CanvasError(f"row {i}: token ids must be {kind}, got {wrong[0]!r:.40}")
        if mask in prefix:
            raise CanvasError(f"row {i}: the prompt holds the mask token (id {mask}); `infill` is for texts with masks")
        if mask not in body:
            raise CanvasError(f"row {i}: there is nothing to fill, no position holds the mask token (id {mask})")


def whole_number(value: object) -> int | None:
    """A whole number of at most 64 bits, numpy's and a tensor's included, as Python's own; None for anything else."""
    if isinstance(value, torch.Tensor) and (value.ndim or value.dtype == torch.bool or value.is_complex()):
        return None
    try:
        number = index(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):  # which floats raise, and texts
        return None
    return number if is_whole(number) and not isinstance(value, bool) else None


def _is_id(token: object, vocabulary: int) -> bool:
    """Whether it is a token id."""
    if type(token) is int:  # as nearly all are; the general question costs ten times as much
        return 0 <= token < vocabulary
    number = whole_number(token)
    return number is not None and 0 <= number < vocabulary


def _is_pair(row: object) -> bool:
    """Whether a row is a pair of lists or the like; texts are none."""
    if not isinstance(row, Sequence) or isinstance(row, str | bytes) or len(row) != 2:
        return False
    return all(isinstance(part, Sequence) and not isinstance(part, str | bytes) for part in row)
