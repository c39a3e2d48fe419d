"""Adds up the step records of one or more batches into a `Result`."""

from __future__ import annotations

import time
from typing import Any

import torch

from .history import HistoryKeeper
from .interfaces import ModelBackend
from .records import Canvas, Result, RowHistory, RowReport, StepRecord


class Collector:
    """A consumer of `Sampler.iterate`.

    Args:
        backend: decodes the texts.
        until_eos: whether a row's text ends at its first end token, or is its whole body, as in infilling.
    """

    def __init__(self, backend: ModelBackend, until_eos: bool) -> None:
        self.backend = backend
        self.until_eos = until_eos
        self.texts: list[str] = []
        self.sequences: list[list[int]] = []
        self.reports: list[RowReport] = []
        self.histories: list[RowHistory] = []
        self.canvas: Canvas | None = None

    def begin(self, canvas: Canvas, seeds: list[int]) -> None:
        """Start a batch; the one before it is complete."""
        self._end()
        self.canvas, self.seeds, self.given = canvas, seeds, ~canvas.masked[:, canvas.start :]
        self.history = HistoryKeeper(canvas)
        self.began = time.perf_counter()
        self.seconds = [0.0] * canvas.batch
        # Steps, forwards and token-forwards of each row, and its summed entropies, kept on the canvas's device.
        self.counts = torch.zeros(3, canvas.batch, dtype=torch.long, device=canvas.tokens.device)
        self.entropy = torch.zeros(canvas.batch, dtype=torch.float64, device=canvas.tokens.device)

    def add(self, record: StepRecord) -> None:
        """Take in the next step of the current batch."""
        self.canvas = record.canvas
        self.history.add(record)
        spent = torch.stack([torch.ones_like(record.forwards), record.forwards, record.token_forwards])
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
        self._end()
        return Result(self.texts, self.sequences, self.reports, spec, self.histories, self.backend.codec)

    def _end(self) -> None:
        if self.canvas is None:
            return
        codec = self.backend.codec
        totals = zip(self.seeds, *self.counts.tolist(), self.entropy.tolist(), self.seconds, strict=True)
        self.histories += self.history.histories()
        self.reports += [RowReport(*row) for row in totals]
        self.sequences += [self.canvas.row(i) for i in range(self.canvas.batch)]
        for i, given in enumerate(self.given):
            where = set(given.nonzero()[:, 0].tolist())
            self.texts.append("" if codec is None else codec.decode(self.canvas.body(i), self.until_eos, where))
        self.canvas = None
