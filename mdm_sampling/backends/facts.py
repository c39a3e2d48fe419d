"""What a checkpoint is, as its small files say it: told without reading a weight."""

from __future__ import annotations

from dataclasses import dataclass

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1}


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a checkpoint before its weights are read.

    Attributes:
        model: folder or hub id.
        family: registered name of its family.
        trunk: the class of transformers that computes it.
        parameters: how many numbers its weights are.
        attention: "full", or the length of attention blocks and where they are counted from.
        look_back: 1 for a right-shifted model, else 0.
        mask_id: id of the mask token.
        eos_ids: ids that end a text or a turn.
        vocab_size: rows of its embedding.
        max_length: most positions of a canvas; None if config.json does not say.
        has_chat_template: whether its tokenizer has one.
    """

    model: str
    family: str
    trunk: str
    parameters: int
    attention: str
    look_back: int
    mask_id: int
    eos_ids: tuple[int, ...]
    vocab_size: int
    max_length: int | None
    has_chat_template: bool

    @property
    def bytes_by_dtype(self) -> dict[str, int]:
        """What the weights take in memory, by the format of their numbers."""
        return {dtype: self.parameters * size for dtype, size in _BYTES.items()}
