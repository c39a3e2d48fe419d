"""What a run gives: sequences, texts, and what each row cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .canvas import Canvas
from .history import HistoryKeeper, RowCost, RowHistory
from .lazy import torch
from .records import StepRecord
from .stops import before_stops

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .backends.text import TextCodec


@dataclass(frozen=True, repr=False)
class Result:
    """What a run produced.

    Attributes:
        texts: the generated text of each row, up to its first end token and before the first stop string; "" if the
            backend has no tokenizer.
        sequences: each row's token ids without padding, prompt included.
        rows: what each row cost.
        spec: the settings that rebuild the sampler, see `mdm_sampling.from_spec`.
        histories: how each row was decoded.
        codec: names the tokens in figures, or None.
    """

    texts: list[str]
    sequences: list[list[int]]
    rows: list[RowCost]
    spec: dict[str, Any]
    histories: list[RowHistory]
    codec: TextCodec | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        first = f", the first of them {self.texts[0]!r:.60}" if self.texts else ""
        return f"Result({len(self.rows)} row{'s' * (len(self.rows) != 1)}{first})"

    @classmethod
    def joined(cls, batches: Sequence[Result]) -> Result:
        """The rows of several batches of one sampler, at least one, as one result."""
        return replace(
            batches[0],
            texts=[text for batch in batches for text in batch.texts],
            sequences=[sequence for batch in batches for sequence in batch.sequences],
            rows=[row for batch in batches for row in batch.rows],
            histories=[history for batch in batches for history in batch.histories],
        )

    def token_texts(self, row: int) -> list[str]:
        """The tokens of a row's body as figures show them: a newline as ⏎, the end token as ■, or the ids."""
        from .views.drawing import token_texts

        length = len(self.histories[row].order)
        return token_texts(self.sequences[row][-length:] if length else [], self.codec)

    def plot_order(self, row: int | None = None, ax: Axes | None = None) -> Figure:
        """When each position was filled, see `mdm_sampling.views.plot_order`."""
        from .views.plots import plot_order

        return plot_order(self.histories, self.token_texts, row, ax)

    def plot_entropy(self, row: int | None = None, ax: Axes | None = None) -> Figure:
        """What uncertainty the positions were filled at, see `mdm_sampling.views.plot_entropy`."""
        from .views.plots import plot_entropy

        return plot_entropy(self.histories, row, ax)

    def plot_candidates(self, row: int = 0, ax: Axes | None = None) -> Figure:
        """The moves that were weighed, see `mdm_sampling.views.plot_candidates`."""
        from .views.plots import plot_candidates

        return plot_candidates(self.histories, row, ax)

    def _repr_html_(self) -> str:
        from .views.notebook import html

        return html(self.histories, self.rows, self.token_texts, between="" if self.codec else " ")


class Collector:
    """Sums up what the records of one batch say. The sums are kept on the canvas's device.

    Args:
        canvas: the batch as it is given.
        seeds: of its rows.
        codec: decodes the texts, if there is a tokenizer.
        until_eos: whether a row's text ends at its first end token, or is its whole body, as in infilling.
        stops: strings before which a row's text ends.
        heads: tokens of each row's prompt that stand in its body; none if not given.
    """

    def __init__(
        self,
        canvas: Canvas,
        seeds: list[int],
        codec: TextCodec | None,
        until_eos: bool,
        stops: Sequence[str] = (),
        heads: Sequence[int] = (),
    ) -> None:
        self.canvas = canvas
        self.seeds = seeds
        self.codec = codec
        self.until_eos = until_eos
        self.stops = stops
        self.heads = heads or [0] * canvas.batch
        self.given = ~canvas.masked[:, canvas.start :]
        self.history = HistoryKeeper(canvas)
        self.seconds = [0.0] * canvas.batch
        # Steps, forwards, token-forwards and sequential forwards of each row.
        self.counts = torch.zeros(4, canvas.batch, dtype=torch.long, device=canvas.tokens.device)
        self.entropy = torch.zeros(canvas.batch, dtype=torch.float64, device=canvas.tokens.device)
        self.began = self.stopped = time.perf_counter()

    def add(self, record: StepRecord) -> None:
        """Take in the next step."""
        self.canvas = record.canvas
        self.history.add(record)
        one, forwards = torch.ones_like(record.forwards), record.forwards
        spent = torch.stack([one, forwards, record.token_forwards, record.sequential_forwards])
        self.counts.index_add_(1, record.rows, spent)
        self.entropy.index_add_(0, record.rows, record.entropy.sum(1).double())
        rows = record.rows.tolist()  # waits for the device, so the step's work is done before the clock is read
        self.stopped = time.perf_counter()
        for row in rows:
            self.seconds[row] = self.stopped - self.began

    def go_on(self) -> None:
        """The next step begins: what observers did since the last one belongs to no row's seconds."""
        self.began += time.perf_counter() - self.stopped

    def result(self, spec: dict[str, Any]) -> Result:
        """What the batch came to."""
        costs = zip(self.seeds, *self.counts.tolist(), self.entropy.tolist(), self.seconds, strict=True)
        return Result(
            texts=[self._text(i) for i in range(self.canvas.batch)],
            sequences=[self.canvas.row(i) for i in range(self.canvas.batch)],
            rows=[RowCost(*cost) for cost in costs],
            spec=spec,
            histories=self.history.histories(),
            codec=self.codec,
        )

    def _text(self, row: int) -> str:
        if self.codec is None:
            return ""
        head = self.heads[row]
        given = set(self.given[row, head:].nonzero()[:, 0].tolist())
        return before_stops(self.codec.decode(self.canvas.body(row)[head:], self.until_eos, given), self.stops)
