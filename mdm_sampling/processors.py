"""Processors: what changes logits before anything is chosen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from .backends.base import ModelBackend
from .errors import SpecError, require
from .kinds import check_fields

if TYPE_CHECKING:
    from torch import Tensor


class Processor(ABC):
    """Changes logits before anything reads them, by building a transformers logits processor."""

    @abstractmethod
    def build(self, backend: ModelBackend) -> Callable[[Tensor, Tensor], Tensor]:
        """A function of canvas tokens [r t] and logits [r v] that returns logits [r v]."""


def _checked_ids(name: str, ids: tuple[int, ...], backend: ModelBackend) -> list[int]:
    """The ids without repetition, or the model's end tokens if there are none. Raises `SpecError` for unknown ids."""
    chosen = sorted(set(ids or backend.eos_ids))
    if not chosen:
        raise SpecError(f"{name}: the model has no end tokens; name the token ids with ids=[...]")
    wrong = [token for token in chosen if not 0 <= token < backend.vocab_size]
    if wrong:
        raise SpecError(f"{name}: token ids must be in [0, {backend.vocab_size}), got {wrong}")
    return chosen


@final
@dataclass(frozen=True)
class Ban(Processor):
    """Never predict some tokens.

    Args:
        ids: token ids; empty for the model's end tokens.
    """

    ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self, "ban")

    def build(self, backend: ModelBackend) -> Callable[[Tensor, Tensor], Tensor]:
        from transformers import SuppressTokensLogitsProcessor

        banned = _checked_ids("ban", self.ids, backend)
        processor: Callable[[Tensor, Tensor], Tensor] = SuppressTokensLogitsProcessor(banned, device=backend.device)
        return processor


_MOST = 1e4
"""Beyond this a penalty is a ban, and in float32 it would drown the logits."""


@final
@dataclass(frozen=True)
class Penalise(Processor):
    """Lower the logits of some tokens by a constant.

    Args:
        ids: token ids; empty for the model's end tokens.
        by: how much to subtract; the authors of Info-Gain lower end tokens by 4.
    """

    ids: tuple[int, ...] = ()
    by: float = 4.0

    def __post_init__(self) -> None:
        check_fields(self, "penalise")
        require(abs(self.by) <= _MOST, f"penalise: by must be at most {_MOST:g}, got {self.by}; ban forbids tokens")

    def build(self, backend: ModelBackend) -> Callable[[Tensor, Tensor], Tensor]:
        from transformers import SequenceBiasLogitsProcessor

        bias = {(token,): -float(self.by) for token in _checked_ids("penalise", self.ids, backend)}
        processor: Callable[[Tensor, Tensor], Tensor] = SequenceBiasLogitsProcessor(bias)
        return processor
