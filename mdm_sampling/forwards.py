"""The forwards of one block: which span each recomputes, what a lookahead saves, and what each row spends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .at_work import at_work, named
from .backends.base import Slots
from .block_rows import BlockRows, Turn, context_of
from .caches import CacheStrategy
from .canvas import Canvas, Span
from .contract import check_moves, check_span, reads_slots
from .errors import ContractError
from .foreseen import Foreseen
from .planners.base import Scope
from .prediction import Head, Prediction

if TYPE_CHECKING:
    from .sampler import Sampler


@dataclass(frozen=True)
class _BlockSpans:
    """What the forwards of one block recompute, each named by how many came before it in the block.

    Attributes:
        cache: chooses the spans.
        block: the block.
        length: of the canvas, as far as the model sees it.
        written: positions at the canvas's start whose slots hold what the forward would write, and are left out.
    """

    cache: CacheStrategy
    block: Span
    length: int
    written: int

    def of(self, forward: int) -> Span:
        """The span of a forward. Raises `ContractError`, naming the cache, for one that does not cover the block."""
        with at_work("cache", self.cache):
            span = self.cache.span(self.block, self.length, forward)
        span = check_span(self.cache, span, self.block, self.length, forward)
        return Span(max(span.start, self.written), span.stop)

    def writes_for_later(self, forward: int) -> bool:
        """Whether a later forward reads what this one writes, which then must be done: a lookahead writes nothing."""
        return reads_slots(self.cache) and not self.of(forward + 1).covers(self.of(forward))

    def replaceable(self, forwards: list[int]) -> list[tuple[int, int]]:
        """The span (start, stop) of each forward that a lookahead over the same span may replace; (-1, -1) for others.

        A planner often asks for the same forward in all rows.
        """
        known = {each: self.of(each) for each in set(forwards) if not self.writes_for_later(each)}
        return [(known[each].start, known[each].stop) if each in known else (-1, -1) for each in forwards]

    def kind_of_step(self, forward: int) -> tuple[bool, int, int, int, int]:
        """What the forward of a step and its lookahead recompute; rows in which it is the same may step together.

        It begins with whether the forward writes what others read, so the smallest is not one that must wait for all.
        """
        now, then = self.of(forward), self.of(forward + 1)
        return self.writes_for_later(forward), now.start, now.stop, then.start, then.stop


@dataclass(frozen=True, eq=False)
class KeptSlots:
    """Slots that outlive their block, in a model in which no position sees what comes after its attention block.

    Attributes:
        slots: of the rows.
        numbers: which rows of the run they are, rising, int64 [n].
        written: positions at the canvas's start whose slots are final: those before the block that was filled last.
    """

    slots: Slots
    numbers: Tensor
    written: int

    def of(self, numbers: Tensor) -> Slots | None:
        """The slots of these rows, rising, int64 [b]; None unless all of them are here."""
        if not bool(torch.isin(numbers, self.numbers).all()):
            return None
        if len(numbers) == len(self.numbers):
            return self.slots
        return self.slots.select(torch.searchsorted(self.numbers, numbers))


class BlockForwards:
    """Computes the predictions of one block's rows, and keeps what a later step may find again.

    Args:
        sampler: its backend, cache and lookahead_batch are used.
        head: turns hidden states into distributions.
        block: the block.
        length: of the canvas, as far as the model sees it.
        numbers: which rows of the run are filled, int64 [b].
        kept: slots of an earlier block, or None.
        keeps: whether slots outlive the block.
    """

    def __init__(
        self,
        sampler: Sampler,
        head: Head,
        block: Span,
        length: int,
        numbers: Tensor,
        kept: KeptSlots | None,
        keeps: bool,
    ) -> None:
        self.sampler = sampler
        self.backend = sampler.backend
        self.head = head
        self.block = block
        reads = reads_slots(sampler.cache)
        found = None if kept is None else kept.of(numbers)
        written = 0 if kept is None or found is None else kept.written
        self.spans = _BlockSpans(sampler.cache, block, length, written)
        self.slots = found if found is not None else self._allocated() if reads else None
        self.kept = KeptSlots(self.slots, numbers, block.start) if keeps and self.slots is not None else None
        self.foreseen: Foreseen | None = None

    def _allocated(self) -> Slots:
        with at_work("model", self.backend):
            return self.backend.allocate()

    def keep_rows(self, keep: Tensor) -> None:
        """Only the rows with the indices `keep`, [n], go on. What was foreseen of others is never found."""
        if self.slots is not None:
            is_kept = self.kept is not None and self.slots is self.kept.slots
            self.slots = self.slots.copied(keep) if is_kept else self.slots.select(keep)

    def together(self, rows: BlockRows) -> Tensor | None:
        """The rows of the next step, int64 [n]; None for all.

        Rows whose forwards recompute the same spans go together. A forward that writes what later ones read is done
        for all rows at once: those that have come to it wait for the others.
        """
        kinds = {taken: self.spans.kind_of_step(taken) for taken in set(rows.taken)}
        if len(set(kinds.values())) == 1:
            return None
        chosen = min(kinds.values())
        at = [row for row, taken in enumerate(rows.taken) if kinds[taken] == chosen]
        return torch.tensor(at, device=rows.numbers.device)

    def predict(self, turn: Turn) -> Prediction:
        """The block's prediction of some rows: what a lookahead computed for this very canvas, else a forward."""
        rows = turn.rows
        known, found = self.recall(rows)
        missing = found < 0
        count = len(rows.seeds) if known is None else int(missing.sum())
        if known is not None and not count:
            return known.select(found)
        span = self.spans.of(rows.taken[0])
        self._count(turn, missing.long(), span)
        if turn.at is None and count == len(rows.seeds):
            return self._seen(self._written(rows.canvas, span), rows.canvas, span, self.block)
        lacking = missing.nonzero()[:, 0]
        canvas = rows.canvas.select(lacking)
        hidden = self._read_only(turn.among_all(lacking), canvas, span, self.block)
        fresh = self._seen(hidden, canvas, self.block, self.block)
        if known is None or count == len(rows.seeds):
            return fresh
        here = (~missing).nonzero()[:, 0]
        return known.select(found[here]).joined(fresh).select(torch.cat([here, lacking]).argsort())

    def recall(self, rows: BlockRows) -> tuple[Prediction | None, Tensor]:
        """What was looked at, and which of it each row stands on, int64 [b]; -1 if on none."""
        if self.foreseen is None:
            return None, torch.full_like(rows.numbers, -1)
        return self.foreseen.prediction, self._find(rows, rows.canvas, rows.taken)

    def foresees(self, rows: BlockRows, unmask: Tensor, tokens: Tensor) -> Tensor:
        """See `planners.base.Step.foreseen`."""
        if self.foreseen is None:
            return torch.zeros_like(rows.numbers, dtype=torch.bool)
        after = [taken + 1 for taken in rows.taken]
        return self._find(rows, rows.canvas.commit(self.block, unmask, tokens), after) >= 0

    def _find(self, rows: BlockRows, canvas: Canvas, forwards: list[int]) -> Tensor:
        """Which of the foreseen canvases each row's canvas is, as input of the forward of that number, int64 [b]."""
        assert self.foreseen is not None
        spans = torch.tensor(self.spans.replaceable(forwards), device=rows.numbers.device)
        return self.foreseen.find(rows.numbers, context_of(canvas), spans)

    def forget(self) -> None:
        """Drop what was foreseen: no row will come to stand on it."""
        self.foreseen = None

    def lookahead(self, turn: Turn, rows: Tensor, unmask: Tensor, tokens: Tensor, scope: Scope = "block") -> Prediction:
        """See `planners.base.Lookahead`: the forward that the next step would do, for each move."""
        planner, canvas = self.sampler.planner, turn.rows.canvas
        if turn.may_wait:
            raise ContractError(f"{named('planner', planner)} looked ahead in a step in which rows may wait")
        masked = canvas.masked[:, self.block.positions]
        check_moves(planner, (rows, unmask, tokens), scope, masked, self.head.vocab_size)
        span = self.spans.of(turn.rows.taken[0] + 1)
        seen = span if scope == "canvas" else self.block
        futures = canvas.fork(rows, self.block, unmask, tokens)
        hidden = self._read_only(turn.among_all(rows), futures, span, seen)
        self._count(turn, torch.bincount(rows, minlength=len(masked)), span)
        prediction = self._seen(hidden, futures, seen, seen)
        self._keep(turn.rows.numbers[rows], span, prediction)
        return prediction

    def _keep(self, numbers: Tensor, span: Span, prediction: Prediction) -> None:
        """Keep a lookahead's prediction, cut to the block, for the steps to come."""
        if prediction.masked.shape[1] != len(self.block):
            prediction = prediction.narrow(self.block.start - span.start, len(self.block))
        spans = torch.tensor([[span.start, span.stop]], device=numbers.device).expand(len(numbers), 2)
        self.foreseen = Foreseen(numbers, spans, prediction).joined(self.foreseen)

    def _written(self, canvas: Canvas, span: Span) -> Tensor:
        """Hidden states of all rows over a span, [b s d], from a forward that writes slots."""
        with at_work("model", self.backend):
            return self.backend.trunk(canvas.until(self.spans.length), span, self.slots)

    def _read_only(self, rows: Tensor, canvas: Canvas, span: Span, seen: Span) -> Tensor:
        """Hidden states of canvases that write no slots, [n s d] over `seen`; each reads the slots of its row, [n]."""
        size = self.sampler.lookahead_batch or len(rows)
        hidden = []
        for first in range(0, len(rows), size):
            part = canvas.slice(first, first + size).until(self.spans.length)
            with at_work("model", self.backend):
                states = self.backend.trunk(part, span, self.slots, rows[first : first + size])
            states = states[:, seen.start - span.start : seen.stop - span.start]
            hidden.append(states if seen == span else states.clone())  # a view would keep the whole span alive
        return torch.cat(hidden)

    def _seen(self, hidden: Tensor, canvas: Canvas, span: Span, seen: Span) -> Prediction:
        """A prediction of the positions `seen` from hidden states over `span`."""
        states = hidden[:, seen.start - span.start : seen.stop - span.start].to(canvas.tokens.device)
        return Prediction(states, canvas.masked[:, seen.positions], self.head, context_of(canvas))

    def _count(self, turn: Turn, forwards: Tensor, span: Span) -> None:
        """Add so many forwards of each row, [b], over a span, all of them at once, to what the step has spent."""
        computed = forwards * self.backend.positions_computed(span, self.spans.length)
        turn.spent.add_(torch.stack([forwards, computed, forwards.clamp(max=1)]))
