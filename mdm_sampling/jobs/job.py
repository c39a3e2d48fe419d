"""A job from its rows to its output: resumable, one process at a time, and with the same result whatever happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

from ..errors import MDMError, SpecError, require
from ..folders.store import Line, Store
from ..sampler import Sampler
from .batches import Batch, BatchSize, Ready, check_batch_size, encode, plan
from .engine import Engine, LocalEngine
from .inputs import Asked
from .outputs import check_output, output_of_job, write_output
from .rendered import Renderings
from .worker import Way, Worker

QUESTION = "job.json"


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        output: the file that was written.
        rows: how many rows it has.
        errors: how many of them have an error instead of a text.
        before: how many were decoded by earlier calls.
    """

    output: Path
    rows: int
    errors: int
    before: int


@dataclass(frozen=True)
class Job:
    """Many rows, one sampler, one output.

    Args:
        sampler: decodes the rows.
        asked: the input, see `read_rows`.
        output: the file to write, .jsonl or .parquet.
        folder: keeps what is finished until the output can be written, and after; None for the output's name and
            `.job`.
        seed: a row is drawn with a seed made of this one and its id.
        chat: see `Sampler.generate`.
        infill: whether prompts are texts with masks to fill in.
        batch_size: most rows decoded together; "auto" for as many as fit into memory, found by halving.
        batch_tokens: most positions decoded together, padding included.
        changed: whether to go on where the input or the settings differ from the folder's: rows that are the same
            are kept, the others decoded anew.
        engine: where batches are decoded.
        overwrite: whether an output may be replaced that this job did not write.
        reads: files that the input and settings come from, which an output never replaces.
    """

    sampler: Sampler
    asked: Sequence[Asked]
    output: Path | str
    folder: Path | str | None = None
    seed: int = 0
    chat: bool | None = None
    infill: bool = False
    batch_size: BatchSize = 8
    batch_tokens: int | None = None
    changed: bool = False
    engine: Engine = field(default_factory=LocalEngine)
    overwrite: bool = False
    reads: Sequence[Path] = ()

    def __post_init__(self) -> None:
        require(len(self.asked) > 0, "a job needs rows")
        check_batch_size(self.batch_size)
        require(
            self.batch_tokens is None or self.batch_tokens >= 1,
            f"batch_tokens must be at least 1, got {self.batch_tokens}",
        )

    @property
    def results_folder(self) -> Path:
        """The folder of the job."""
        return Path(self.folder or f"{self.output}.job")

    def run(self, progress: Callable[[int, int], None] = lambda done, total: None) -> Outcome:
        """Decode what is not decoded yet, and write the output.

        Args:
            progress: called with the numbers of rows that are done and wanted, bad ones not counted, first before any
                is decoded.

        Raises:
            SpecError: if another process is at this job, if the input or the settings have changed, or if the output is
                there and this job did not write it.
        """
        # A part that changes the working folder must not move what is written.
        folder = self.results_folder.absolute()
        output = output_of_job(Path(self.output).absolute(), folder, self.overwrite, self.reads)
        check_output(output)
        if Path(self.output).resolve().parent == folder.resolve():
            raise SpecError(
                f"{self.output} is inside the job's folder, which holds what the job keeps; name another file"
            )
        renderings = Renderings(folder)
        ready, bad = encode(
            self.sampler, self.asked, seed=self.seed, chat=self.chat, infill=self.infill, renderings=renderings
        )
        worker = Worker([Way(self.sampler, until_eos=not self.infill)], splits=self.batch_size == "auto")
        batches = plan(ready, self.batch_size, self.batch_tokens)
        question = self._question(ready, bad, worker)
        opened = Store(
            folder, question, name=QUESTION, changed=self.changed, complete=whole_batches, first=renderings.keep
        )
        with opened as store:
            wanted = {_key(row, worker) for row in ready}
            done = {_line_key(line) for line in store.lines} & wanted
            before = len(done)
            progress(before, len(ready))
            with closing(self.engine.decode(worker, pending(batches, done, worker))) as decoded:
                for lines in decoded:
                    refuse_if_nothing_works(lines, done)
                    store.add([without_order(line) for line in lines])
                    done |= {_line_key(line) for line in lines}
                    progress(len(done), len(ready))
            lines = list({_line_key(line): line for line in store.lines if _line_key(line) in wanted}.values())
            write_output(output, folder, lines, bad, {row.number: row.chat for row in ready})
        errors = len(bad) + sum(line["error"] is not None for line in lines)
        return Outcome(Path(self.output), len(self.asked), errors, before)

    def _question(self, ready: Sequence[Ready], bad: Sequence[Asked], worker: Worker) -> dict[str, Any]:
        """What must be the same for a job to go on."""
        (spec,) = worker.specs
        if worker.weights is None or spec["backend"] is None:
            raise SpecError(
                "this model was passed in memory, so a job could not tell or load it again; load it by name"
            )
        rows = [[each.number, each.digest] for each in ready] + [[each.number, each.id, each.error] for each in bad]
        return {
            "input": sha256(repr(sorted(map(str, rows))).encode()).hexdigest()[:16],
            "rows": len(self.asked),
            "spec": spec,
            "weights": worker.weights,
            "seed": self.seed,
            "chat": self.chat,
            "infill": self.infill,
            "batch_size": self.batch_size,
            "batch_tokens": self.batch_tokens,
        }


def pending(batches: Sequence[Batch], done: set[Any], worker: Worker) -> list[Batch]:
    """The batches that have rows left; of a changed job's only those rows."""
    left = [replace(b, rows=tuple(row for row in b.rows if _key(row, worker) not in done)) for b in batches]
    return [batch for batch in left if batch.rows]


def whole_batches(lines: Sequence[Line]) -> int:
    """How many lines belong to batches that were written whole. Only the last can be torn: `ValueError` for others."""
    parts = [(size, len(list(part))) for (_, size), part in groupby(lines, key=lambda line: line["batch"])]
    if any(count % size for size, count in parts[:-1]):
        raise ValueError("a batch in the middle is not whole")
    return len(lines) - (parts[-1][1] % parts[-1][0] if parts else 0)


def without_order(line: Line) -> Line:
    """The line as a job keeps it: of a million rows, the step of each position would be as large as the token ids."""
    return {name: value for name, value in line.items() if name != "order"}


def refuse_if_nothing_works(lines: Sequence[Line], done: set[Any]) -> None:
    """Raise `MDMError` if not one row of the first batch could be decoded: then it is not the rows that are bad."""
    errors = Counter(line["error"] for line in lines)
    if not done and len(lines) > 1 and len(errors) == 1 and None not in errors:
        raise MDMError(f"not one of the first {len(lines)} rows could be decoded: {lines[0]['error']}")


def _key(row: Ready, worker: Worker) -> tuple[Any, ...]:
    """What tells a result from all others that a folder may hold."""
    return row.number, row.digest, row.seed, worker.settings[0]


def _line_key(line: Line) -> tuple[Any, ...]:
    """The same, from the result's line."""
    return line["number"], line["digest"], line["seed"], line["settings"]
