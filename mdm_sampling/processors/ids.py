"""Which tokens a processor is about."""

from ..errors import SpecError
from ..interfaces import ModelBackend


def checked_ids(name: str, ids: tuple[int, ...], backend: ModelBackend) -> list[int]:
    """The ids without repetition, or the model's end tokens if there are none. Raises `SpecError` for unknown ids."""
    chosen = sorted(set(ids or backend.eos_ids))
    if not chosen:
        raise SpecError(f"{name}: the model has no end tokens; name the token ids with ids=[...]")
    wrong = [token for token in chosen if not 0 <= token < backend.vocab_size]
    if wrong:
        raise SpecError(f"{name}: token ids must be in [0, {backend.vocab_size}), got {wrong}")
    return chosen
