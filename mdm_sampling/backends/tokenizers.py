"""A model's tokenizer without its weights."""

from __future__ import annotations

import os
from typing import Any

from ..errors import ModelError


def load_tokenizer(model: str | os.PathLike[str] = "embedded", *, revision: str | None = None) -> Any:
    """The transformers tokenizer of a model, for counting or preparing texts; no weights are read.

    Args:
        model: a checkpoint folder, a hub id, or "embedded".
        revision: branch, tag or commit of a hub repository.

    Raises:
        ModelError: if there is no such model, or it has no tokenizer.
    """
    from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer
    from transformers.utils import logging

    from . import checkpoint, files
    from .embedded import FOLDER

    name = os.fspath(model)
    source = str(FOLDER) if name == "embedded" else name
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # transformers warns of every model_type that it does not know
    try:
        files.read_config(source, revision)
        is_whole = files.stored_file(source, "tokenizer.json", revision) is not None
        # Dream's folders may hold a vocabulary and merges only, which are Qwen2's.
        kind = PreTrainedTokenizerFast if is_whole else Qwen2Tokenizer
        tokenizer = checkpoint.load_tokenizer(kind, source, revision)
    finally:
        logging.set_verbosity(verbosity)
    if tokenizer is None:
        raise ModelError(f"{name}: the checkpoint has no tokenizer")
    return tokenizer
