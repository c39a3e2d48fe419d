"""The loop that jobs, comparisons and evaluations share: decode what a folder does not hold yet, and add it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from ..errors import MDMError
from ..folders.lines import Key, Line
from ..folders.store import Store
from ..progress import Progress
from .batches import Batch
from .engine import Engine
from .worker import Worker


@dataclass(frozen=True)
class _Held:
    """The rows that were wanted, all of them decoded.

    Attributes:
        lines: of each row, by its key, in the order of the batches.
        before: how many of them the folder held before.
    """

    lines: dict[Key, Line]
    before: int


def decode_missing(
    store: Store,
    engine: Engine,
    worker: Worker,
    batches: Sequence[Batch],
    *,
    finish: Callable[[list[Line]], list[Line]],
    keeps_errors: bool = False,
    progress: Progress = lambda done, total: None,
) -> _Held:
    """Decode the rows of batches that a store does not hold, and add their lines to it batch by batch.

    A row is told from others by the key that the store's format makes of its identity, and a line by the same key.

    Args:
        batches: every row that is wanted. Of a batch only those rows are decoded that the store lacks.
        finish: makes of a worker's lines those that are kept, with the same identities.
        keeps_errors: whether the line of a row that cannot be decoded is kept as well.

    Raises:
        MDMError: for a row that cannot be decoded, unless errors are kept; the others of its batch are kept. For a
            first batch of which no row can be decoded.
    """

    def keys(batch: Batch) -> list[Key]:
        return [store.format.key_of(worker.identity(row, batch.variant)) for row in batch.rows]

    wanted = {key: None for batch in batches for key in keys(batch)}
    done = {store.format.key_of(line) for line in store.lines} & wanted.keys()
    before = len(done)
    progress(before, len(wanted))
    left = [
        replace(b, rows=tuple(row for row, key in zip(b.rows, keys(b), strict=True) if key not in done))
        for b in batches
    ]
    with closing(engine.decode(worker, [batch for batch in left if batch.rows])) as decoded:
        for lines in decoded:
            failed = next((line for line in lines if line["error"] is not None), None)
            if keeps_errors:
                _refuse_if_nothing_works(lines, done)
            kept = finish([line for line in lines if keeps_errors or line["error"] is None])
            store.add(kept)
            done |= {store.format.key_of(line) for line in kept}
            progress(len(done), len(wanted))
            if failed is not None and not keeps_errors:
                planner = failed["spec"]["planner"]
                raise MDMError(f"item {failed['item']!r} could not be decoded with {planner}: {failed['error']}")
    if len(done) < len(wanted):
        raise MDMError(f"the engine ended with {len(done)} of {len(wanted)} rows decoded")
    held = {store.format.key_of(line): line for line in store.lines}
    return _Held({key: held[key] for key in wanted}, before)


def _refuse_if_nothing_works(lines: Sequence[Line], done: set[Key]) -> None:
    """Raise `MDMError` if not one row of the first batch could be decoded: then it is not the rows that are bad."""
    errors = Counter(line["error"] for line in lines)
    if not done and len(lines) > 1 and len(errors) == 1 and None not in errors:
        raise MDMError(f"not one of the first {len(lines)} rows could be decoded: {lines[0]['error']}")
