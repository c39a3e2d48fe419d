"""What a model must do for the loop. Axes: b batch, t canvas, l span, d hidden size, v vocabulary."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..at_work import at_work
from ..canvas import Canvas, Span
from ..errors import ModelError
from ..lazy import torch
from ..prediction import Head
from ..reductions import compiled_slice_statistics, slice_statistics

if TYPE_CHECKING:
    from torch import Tensor

    from .facts import ModelFacts
    from .options import LoadOptions, ModelSource
    from .text import TextCodec
    from .visibility import AttentionBlocks


class Slots(ABC):
    """Keys and values of one run, one slot for each position of each row. Only its backend looks inside."""

    @abstractmethod
    def select(self, rows: Tensor) -> Slots:
        """The slots of the rows with the indices `rows`, [n]. They replace these slots, which may be emptied."""

    def copied(self, rows: Tensor) -> Slots:
        """The same beside these slots, which stay. Asked of models with attention blocks alone."""
        raise NotImplementedError


class ModelBackend(ABC):
    """A masked diffusion model: tokens in, hidden states out, and a head that turns those into logits.

    Attributes:
        mask_id: id of the mask token.
        eos_ids: ids that end a text or a turn; the first one pads a row that ended early.
        pad_id: id for padding; never read by attention.
        vocab_size: v.
        max_length: longest canvas that the model takes, or None.
        device: where canvases live.
        codec: encodes and decodes text, or None for a model without a tokenizer.
        source: where the model came from, or None for a model that was passed in memory.
        compiled: whether `compile` was called.
        attention_blocks: of a block-causal model; None if attention is full.
        unused_ids: ids below `vocab_size` that have no token, as ranges; they are never predicted.
        module: the module that computes, in evaluation mode while a run lasts; None if there is none to be seen.
    """

    mask_id: int
    pad_id: int
    vocab_size: int
    device: torch.device
    eos_ids: tuple[int, ...] = ()
    max_length: int | None = None
    codec: TextCodec | None = None
    source: ModelSource | None = None
    compiled: bool = False
    attention_blocks: AttentionBlocks | None = None
    unused_ids: tuple[range, ...] = ()
    module: torch.nn.Module | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.source.model if self.source else 'in memory'})"

    @property
    def dtype(self) -> torch.dtype | None:
        """The type of the model's numbers; None if there are no weights to be seen."""
        weights = () if self.module is None else self.module.parameters()
        return next((each.dtype for each in weights if each.is_floating_point()), None)

    def fingerprint(self) -> str | None:
        """A few characters that differ between models with different weights; None if models cannot be told apart.

        Without them nothing that this model began can be resumed.
        """
        from ..provenance import fingerprint_of

        return None if self.module is None else fingerprint_of(self.module)

    def distributions(self, processors: tuple[Callable[[Tensor, Tensor], Tensor], ...] = ()) -> Head:
        """What turns hidden states into logits and statistics.

        Args:
            processors: functions of canvas tokens [r t] and logits [r v], applied in turn; none for the model's own
                logits.
        """

        def project(hidden: Tensor) -> Tensor:
            with at_work("model", self):
                return self.head(hidden)

        return Head(
            project,
            processors,
            self.mask_id,
            self.vocab_size,
            self.head_matrix,
            compiled_slice_statistics() if self.compiled else slice_statistics,
            self.unused_ids,
        )

    @property
    def head_matrix(self) -> Tensor | None:
        """[v d] if `head` is nothing but a product with it and it pays to read it in slices; else None."""
        return None

    @abstractmethod
    def trunk(self, canvas: Canvas, span: Span, slots: Slots | None, rows: Tensor | None = None) -> Tensor:
        """Hidden states that predict the positions of `span`: [b l d]; row i of a sequence predicts position i.

        The forward attends to all valid positions of the canvas: those it recomputes and, for the rest, `slots`.

        Args:
            canvas: [b t], or for a fork [n t].
            span: the positions to recompute. A backend may recompute more, never fewer.
            slots: keys and values; None if `span` is the whole canvas and nothing will be read later.
            rows: None for a forward that writes `span` into the slots. For a fork, the slots' row that each
                candidate reads, int64 [n]; a fork writes nothing.
        """

    @abstractmethod
    def head(self, hidden: Tensor) -> Tensor:
        """Logits [r v] of hidden states [r d]."""

    @abstractmethod
    def allocate(self) -> Slots:
        """Empty slots; the first forward, over the whole canvas, fills them."""

    def compile(self) -> None:
        """Compile the model with `torch.compile`, for any number of rows and positions; `ModelError` if it can't."""
        raise ModelError(f"a {type(self).__name__} cannot be compiled")

    def positions_computed(self, span: Span, length: int) -> int:
        """How many positions a forward over `span` of a canvas of this length computes, for the report."""
        return len(span)


class BackendFamily(ABC):
    """A family of checkpoints, such as LLaDA or Dream: recognises its checkpoints and loads them."""

    @abstractmethod
    def recognises(self, source: str, config: Mapping[str, Any] | None) -> bool:
        """Whether this family reads `source`, a folder or hub id, given its config.json (None: there is none)."""

    @abstractmethod
    def load(self, source: str, config: Mapping[str, Any] | None, options: LoadOptions) -> ModelBackend:
        """Load the checkpoint. Raises `ModelError` with a sentence that says what is wrong with it."""

    def facts(self, source: str, config: Mapping[str, Any] | None, options: LoadOptions) -> ModelFacts:
        """What the checkpoint is, without reading a weight; its `family` may be left empty.

        Raises `ModelError`, as this does where a family does not override it.
        """
        raise ModelError(f"{source}: its family, {type(self).__name__}, tells nothing of a checkpoint; load it instead")
