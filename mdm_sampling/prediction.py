"""A prediction: hidden states plus a head. Rows are projected to the vocabulary only when somebody asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .errors import PredictionError
from .lazy import torch
from .reductions import Reduce, row_statistics, slice_statistics

if TYPE_CHECKING:
    from torch import Tensor

CHUNK_BYTES = 32 * 2**20
"""Logits of one chunk of positions, in bytes. A few temporaries of this size exist at a time, whatever the canvas."""

SLICE = 4096
"""Tokens of a slice of the vocabulary, where the head's matrix can be read in slices: its logits stay in the cache."""


@dataclass(frozen=True)
class Head:
    """Turns hidden states into logits over the tokens that may be predicted.

    Attributes:
        project: the backend's head, hidden [r d] -> logits [r v].
        processors: applied in turn to (canvas tokens [r t], logits [r v]), as transformers' processors are.
        mask_id: never predicted.
        vocab_size: v, for choosing the size of a chunk.
        matrix: [v d] if `project` is nothing but a product with it; statistics then read it a slice at a time.
        reduce: turns a slice of logits into statistics.
        unused: ids that have no token, as ranges; never predicted either.
    """

    project: Callable[[Tensor], Tensor]
    processors: tuple[Callable[[Tensor, Tensor], Tensor], ...]
    mask_id: int
    vocab_size: int
    matrix: Tensor | None = None
    reduce: Reduce = slice_statistics
    unused: tuple[range, ...] = ()

    @property
    def slice_width(self) -> int:
        """Logits of a row that are alive at a time while statistics are computed."""
        return self.vocab_size if self._readable_in_slices is None else min(SLICE, self.vocab_size)

    @property
    def _readable_in_slices(self) -> Tensor | None:
        """The matrix, unless a processor needs whole rows of logits."""
        return None if self.processors else self.matrix

    def statistics(self, hidden: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Likeliest token, its probability, the second's and the entropy, of hidden states [r d]: 4 x [r]."""
        return row_statistics(self._slices(hidden, context), self.reduce)

    def _slices(self, hidden: Tensor, context: Tensor) -> Iterator[Tensor]:
        """The logits in consecutive slices of the vocabulary."""
        matrix = self._readable_in_slices
        if matrix is None:
            yield self.logits(hidden, context)
            return
        for first, part in enumerate(torch.split(matrix, SLICE)):
            logits = hidden @ part.T
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            self._forbid(logits, first * SLICE)
            yield logits

    def logits(self, hidden: Tensor, context: Tensor) -> Tensor:
        """Logits [r v] of hidden states [r d], at least in float32; what is never predicted is at -inf."""
        logits = self.project(hidden)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        for process in self.processors:
            logits = process(context, logits)
        self._forbid(logits, 0)
        return logits

    def _forbid(self, logits: Tensor, first: int) -> None:
        """Overwrite what is never predicted in logits of the tokens from `first` on."""
        for ids in (range(self.mask_id, self.mask_id + 1), *self.unused):
            start, stop = max(ids.start - first, 0), min(ids.stop - first, logits.shape[-1])
            if start < stop:
                logits[:, start:stop] = -torch.inf


@dataclass(frozen=True, eq=False)
class Statistics:
    """What most planners read of a prediction; zeros at positions that are not masked.

    Attributes:
        token: the likeliest token, int64 [b l].
        confidence: its probability, [b l].
        second: the probability of the second likeliest token, [b l].
        entropy: of the whole distribution, in nats, [b l].
    """

    token: Tensor
    confidence: Tensor
    second: Tensor
    entropy: Tensor

    def select(self, rows: Tensor) -> Statistics:
        """Only the rows with the indices `rows`, [n]."""
        return Statistics(*(each[rows] for each in self._all))

    def joined(self, other: Statistics) -> Statistics:
        """With the rows of another after its own."""
        return Statistics(*(torch.cat(pair) for pair in zip(self._all, other._all, strict=True)))

    def narrow(self, first: int, length: int) -> Statistics:
        """Only the positions [first, first + length) of each row."""
        return Statistics(*(each.narrow(1, first, length) for each in self._all))

    def within(self, masked: Tensor) -> Statistics:
        """Zeros at all positions but those, bool [b l]."""
        return Statistics(*(each.masked_fill(~masked, 0) for each in self._all))

    @property
    def _all(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.token, self.confidence, self.second, self.entropy


@dataclass(frozen=True, eq=False)
class Prediction:
    """The model's distributions at the masked positions of a block or a larger span.

    Attributes:
        hidden: hidden states, row i predicts position i, [b l d].
        masked: the positions that are predicted, bool [b l].
        head: projects hidden states to logits.
        context: canvas tokens, for processors that read them, [b t].
    """

    hidden: Tensor
    masked: Tensor
    head: Head
    context: Tensor
    _known: Statistics | None = field(default=None, init=False, repr=False)

    @property
    def vocab_size(self) -> int:
        """v, how many token ids there are."""
        return self.head.vocab_size

    @property
    def entropy(self) -> Tensor:
        """Entropy in nats, [b l]; 0 at positions that are not masked."""
        return self.statistics.entropy

    @property
    def statistics(self) -> Statistics:
        """Top-1, top-2 and entropy of every masked position, computed chunk by chunk when first read, and kept."""
        return self._known or self._keep(self._computed())

    def _keep(self, statistics: Statistics) -> Statistics:
        object.__setattr__(self, "_known", statistics)
        return statistics

    def _computed(self) -> Statistics:
        rows, columns = self.masked.nonzero(as_tuple=True)
        if not len(rows):
            return self._empty
        size = max(1, CHUNK_BYTES // (4 * self.head.slice_width))
        chunks = zip(torch.split(rows, size), torch.split(columns, size), strict=True)
        found = [self.head.statistics(self.hidden[r, c], self.context[r]) for r, c in chunks]
        parts = [torch.cat(column) for column in zip(*found, strict=True)]
        if not bool(torch.isfinite(parts[3]).all()):
            raise PredictionError(
                "the model returned logits that are not finite (try another dtype), or every token was banned"
            )
        return Statistics(*(self._scatter(part) for part in parts))

    def chunks(self, copies: int = 1) -> Iterator[tuple[tuple[Tensor, Tensor], Tensor]]:
        """The masked positions, a chunk at a time: their (rows [r], columns [r]) and logits [r v].

        Args:
            copies: how many tensors of the logits' size the caller will hold beside them.
        """
        rows, columns = self.masked.nonzero(as_tuple=True)
        size = self.chunk_size(copies)
        for first in range(0, len(rows), size):
            r, c = rows[first : first + size], columns[first : first + size]
            yield (r, c), self.head.logits(self.hidden[r, c], self.context[r])

    def chunk_size(self, copies: int = 1) -> int:
        """Positions whose logits, `copies` times over in float32, fit into a chunk; at least one."""
        return max(1, CHUNK_BYTES // (self.head.vocab_size * 4 * copies))

    def logits(self, where: Tensor) -> Tensor:
        """Processed logits of the positions `where`, bool [b l], in reading order: [r v]. Costs r x v numbers."""
        rows, columns = where.nonzero(as_tuple=True)
        return self.head.logits(self.hidden[rows, columns], self.context[rows])

    def select(self, rows: Tensor) -> Prediction:
        """Only the rows with the indices `rows`, [n]."""
        chosen = replace(self, hidden=self.hidden[rows], masked=self.masked[rows], context=self.context[rows])
        if self._known is not None:
            chosen._keep(self._known.select(rows))
        return chosen

    def joined(self, other: Prediction) -> Prediction:
        """With the rows of another prediction of the same positions after its own."""
        pairs = [(getattr(self, name), getattr(other, name)) for name in ("hidden", "masked", "context")]
        hidden, masked, context = (torch.cat(pair) for pair in pairs)
        both = replace(self, hidden=hidden, masked=masked, context=context)
        if self._known is not None and other._known is not None:
            both._keep(self._known.joined(other._known))
        return both

    def updated(self, at: Tensor, rows: Prediction) -> Prediction:
        """With `rows` in place of those with the indices `at`, [n]."""
        order = torch.arange(len(self.masked), device=at.device)
        order[at] = len(order) + torch.arange(len(at), device=at.device)
        return self.joined(rows).select(order)

    def within(self, masked: Tensor) -> Prediction:
        """The same prediction for fewer positions, bool [b l]; what is known of them is not computed again."""
        fewer = self.at(masked)
        if self._known is not None:
            fewer._keep(self._known.within(masked))
        return fewer

    def at(self, masked: Tensor) -> Prediction:
        """The same prediction for other positions, bool [b l]."""
        return replace(self, masked=masked)

    def narrow(self, first: int, length: int) -> Prediction:
        """Only the positions [first, first + length) of each row."""
        part = replace(self, hidden=self.hidden.narrow(1, first, length), masked=self.masked.narrow(1, first, length))
        if self._known is not None:
            part._keep(self._known.narrow(first, length))
        return part

    def _scatter(self, values: Tensor) -> Tensor:
        full = torch.zeros(self.masked.shape, dtype=values.dtype, device=self.masked.device)
        full[self.masked] = values.to(full.device)
        return full

    @property
    def _empty(self) -> Statistics:
        zeros = torch.zeros(self.masked.shape, device=self.masked.device)
        return Statistics(zeros.long(), zeros, zeros, zeros)
