"""The records that the parts exchange. Axes: b batch, t canvas, l block, n candidates, v vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .errors import CanvasError
from .lazy import torch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from .backends.text import TextCodec
    from .prediction import Prediction

Message = Mapping[str, str]
Prompt = str | Sequence[Message]


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
        """Lay out rows of (prefix, body) token ids, at least one. Raises `CanvasError` for a row without a mask."""
        if pad_id == mask_id:
            raise CanvasError(f"the pad id and the mask id are both {mask_id}; padding would be taken for masks")
        for i, (prefix, body) in enumerate(rows):
            check_row(i, prefix, body, mask_id)
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

    def row(self, i: int) -> list[int]:
        """The token ids of row i without its padding."""
        ids: list[int] = self.tokens[i][self.valid[i]].tolist()
        return ids

    def body(self, i: int) -> list[int]:
        """The token ids of row i's body without its padding."""
        ids: list[int] = self.tokens[i, self.start :][self.valid[i, self.start :]].tolist()
        return ids


def check_row(number: int, prefix: Sequence[int], body: Sequence[int], mask_id: int) -> None:
    """Raise `CanvasError` unless the body of row `number` holds a mask and its prefix none."""
    if mask_id in prefix:
        raise CanvasError(
            f"row {number}: the prompt holds the mask token (id {mask_id}); `infill` is for texts with masks"
        )
    if mask_id not in body:
        raise CanvasError(f"row {number}: there is nothing to fill, no position holds the mask token (id {mask_id})")


@dataclass(frozen=True, eq=False)
class Proposal:
    """What a token sampler drew: a token for every masked position, and the probability the model gives it.

    Attributes:
        tokens: int64 [n b l], n draws; anything at positions that are not masked.
        confidence: the model's probability of the drawn token, before temperature, [n b l].
    """

    tokens: Tensor
    confidence: Tensor


@dataclass(frozen=True, eq=False)
class Filled:
    """When, and how surely, the loop filled the positions of the block.

    Attributes:
        at: the step of the block, counted from 0, int64 [b l]; -1 where it did not fill the position: masked positions,
            and those that were there from the start.
        confidence: the model's probability of the token when it was filled, [b l]; 0 where `at` is -1.
    """

    at: Tensor
    confidence: Tensor

    @classmethod
    def nothing(cls, masked: Tensor) -> Filled:
        """For positions [b l] of which none has been filled yet."""
        return cls(torch.full_like(masked, -1, dtype=torch.long), torch.zeros_like(masked, dtype=torch.float32))

    def after(self, unmask: Tensor, remask: Tensor, confidence: Tensor, taken: int) -> Filled:
        """With what step number `taken` filled and reopened: bool [b l], bool [b l] and the confidences [b l]."""
        at = torch.where(unmask, taken, self.at).masked_fill(remask, -1)
        return Filled(at, torch.where(unmask, confidence.to(self.confidence), self.confidence).masked_fill(remask, 0))

    def select(self, rows: Tensor) -> Filled:
        """Only the rows with the indices `rows`, [n]."""
        return Filled(self.at[rows], self.confidence[rows])


@dataclass(frozen=True, eq=False)
class Candidates:
    """The moves that a planner weighed, for traces.

    Attributes:
        unmask: positions, bool [n b l].
        tokens: int64 [n b l].
        cost: C(a), summed entropy of the positions filled, [n b].
        next_entropy: H(a), mean entropy of the positions still masked after the move, [n b]; nan if not looked at.
        score: J(a), the larger the better, [n b]; nan if not looked at.
        chosen: the winner's number, int64 [b].
    """

    unmask: Tensor
    tokens: Tensor
    cost: Tensor
    next_entropy: Tensor
    score: Tensor
    chosen: Tensor


@dataclass(frozen=True, eq=False)
class Plan:
    """A planner's answer.

    Attributes:
        unmask: the positions to fill now, bool [b l]; at least one in each row.
        tokens: what to fill them with, int64 [b l]; None for the step's proposal.
        candidates: the moves that were weighed, for traces.
        memory: tensors whose first axis is the batch; the next step of the same block gets them back.
        next: the prediction after this very move, if a lookahead already computed it. It saves a forward.
        remask: filled positions to mask again, bool [b l], of those that the step calls reopenable. Only for planners
            whose `needs` say so.
    """

    unmask: Tensor
    tokens: Tensor | None = None
    candidates: Candidates | None = None
    memory: Mapping[str, Tensor] = field(default_factory=dict)
    next: Prediction | None = None
    remask: Tensor | None = None


@dataclass(frozen=True, eq=False)
class StepRecord:
    """One step of the loop, as `Sampler.iterate` yields it. Only rows that were still unfinished take part.

    Attributes:
        step: counts from 0 over the whole run.
        block: the span of the block that is being filled.
        rows: which rows of the run's canvas took part, [b].
        unmask: the positions filled, bool [b l].
        tokens: what they were filled with, int64 [b l].
        confidence: the model's probability of those tokens, [b l].
        entropy: the entropies of the positions when they were filled, in nats, [b l].
        remask: the positions that were masked again, bool [b l].
        candidates: the moves that the planner weighed, if it weighed any.
        forwards: forwards spent on each row in this step, lookahead included, int64 [b].
        token_forwards: tokens computed for each row in this step, int64 [b].
        finished: rows with no mask left anywhere, bool [b].
        canvas: the whole run's canvas after the step, all rows.
        prediction: the model's distributions at the block's positions before the step, its statistics computed, [b l].
    """

    step: int
    block: Span
    rows: Tensor
    unmask: Tensor
    tokens: Tensor
    confidence: Tensor
    entropy: Tensor
    remask: Tensor
    candidates: Candidates | None
    forwards: Tensor
    token_forwards: Tensor
    finished: Tensor
    canvas: Canvas
    prediction: Prediction


@dataclass(frozen=True)
class RowReport:
    """What one row cost.

    Attributes:
        seed: the seed that draws this row again.
        steps: steps in which the row took part.
        forwards: model rows computed for it; a lookahead at 8 candidates counts 8.
        token_forwards: tokens computed for it over all forwards.
        cumulative_entropy: the entropies of all positions at the moment they were filled, summed, in nats. A position
            that is reopened and filled again counts each time.
        seconds: from the start of its batch until the row was finished, without the time that observers took.
    """

    seed: int
    steps: int
    forwards: int
    token_forwards: int
    cumulative_entropy: float
    seconds: float


@dataclass(frozen=True)
class Weighed:
    """The moves that a planner weighed for one row at one step.

    Attributes:
        step: the row's step, from 0.
        cost: C of each move.
        next_entropy: H of each.
        score: J of each.
        chosen: the number of the winner in these lists.
    """

    step: int
    cost: list[float]
    next_entropy: list[float]
    score: list[float]
    chosen: int


@dataclass(frozen=True)
class RowHistory:
    """How one row was decoded. Steps are the row's own, from 0; positions are those of its body.

    Attributes:
        order: for each position the step that filled it last; -1 for one that no step filled.
        entropy: for each position its entropy when it was filled, in nats; 0 where `order` is -1.
        step_entropy: for each step the summed entropies of the positions that it filled, in nats.
        weighed: the moves of each step that weighed any.
    """

    order: list[int]
    entropy: list[float]
    step_entropy: list[float]
    weighed: list[Weighed]


@dataclass(frozen=True)
class Result:
    """What a run produced.

    Attributes:
        texts: the generated text of each row, up to its first end token; "" where the backend has no tokenizer.
        sequences: each row's token ids without padding, prompt included.
        rows: what each row cost.
        spec: the settings that rebuild the sampler, see `mdm_sampling.from_spec`.
        histories: how each row was decoded.
        codec: names the tokens in figures, or None.
    """

    texts: list[str]
    sequences: list[list[int]]
    rows: list[RowReport]
    spec: dict[str, Any]
    histories: list[RowHistory] = field(repr=False)
    codec: TextCodec | None = field(default=None, repr=False, compare=False)

    def plot_order(self, row: int | None = None, ax: Axes | None = None) -> Figure:
        """When each position was filled, see `mdm_sampling.plots.plot_order`."""
        from .plots import plot_order

        return plot_order(self, row, ax)

    def plot_entropy(self, row: int | None = None, ax: Axes | None = None) -> Figure:
        """What uncertainty the positions were filled at, see `mdm_sampling.plots.plot_entropy`."""
        from .plots import plot_entropy

        return plot_entropy(self, row, ax)

    def plot_candidates(self, row: int = 0, ax: Axes | None = None) -> Figure:
        """The moves that were weighed, see `mdm_sampling.plots.plot_candidates`."""
        from .plots import plot_candidates

        return plot_candidates(self, row, ax)

    def _repr_html_(self) -> str:
        from .notebook import html

        return html(self)


@dataclass(frozen=True)
class Item:
    """One question of a task.

    Attributes:
        name: unique within the task and stable, so that results can be told apart.
        prompt: text or chat messages; "" if there is only a body.
        body: a text with `[MASK]`s to fill in after the prompt, or None to generate an answer.
        data: what the grader needs to know.
    """

    name: str
    prompt: Prompt
    body: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Grade:
    """What a grader found.

    Attributes:
        answer: the answer as it was read out of the text; None if there is none.
        score: 1 if it is right, 0 if it is wrong; in between where a task gives partial credit.
    """

    answer: str | None
    score: float
