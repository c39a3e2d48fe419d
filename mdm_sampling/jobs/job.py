"""A job from its rows to its output: resumable, one process at a time, and with the same result whatever happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import SpecError, require
from ..folders.lines import COUNTS, Line, LineFormat, digest
from ..folders.store import Store
from ..progress import Progress
from ..sampler import Sampler
from ..stops import checked_stops
from .batches import BatchSize, EncodedRow, check_batch_size, encode, plan
from .engine import Engine, LocalEngine
from .inputs import InputRow
from .outputs import check_output, output_of_job, output_row, write_output
from .rendered import Renderings
from .resume import decode_missing
from .worker import Variant, Worker

_JOB_LINES = LineFormat(
    kind="job",
    key=("number", "digest", "seed", "settings"),
    required=("item", "number", "digest", "seed", "settings", "error", "spec", "machine"),
    decoded=("text", "tokens", *COUNTS, "cumulative_entropy", "seconds"),
)


@dataclass(frozen=True)
class JobOutcome:
    """What became of a job.

    Attributes:
        output: the file that was written.
        rows: how many rows it has.
        errors: how many of them have an error instead of a text.
        before: how many were decoded by earlier calls.
        first_error: the first of the errors, with its row's id before it; None if there is none.
    """

    output: Path
    rows: int
    errors: int
    before: int
    first_error: str | None = None


@dataclass(frozen=True)
class Job:
    """Many rows, one sampler, one output.

    Args:
        sampler: decodes the rows.
        rows: the input, see `read_rows`.
        output: the file to write, .jsonl or .parquet.
        folder: keeps what is finished until the output can be written, and after; None for the output's name and
            `.job`.
        seed: a row is drawn with a seed made of this one and its id.
        chat, system, stop: see `Sampler.generate`.
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
    rows: Sequence[InputRow]
    output: Path | str
    folder: Path | str | None = None
    seed: int = 0
    chat: bool | None = None
    system: str | None = None
    stop: str | Sequence[str] = ()
    infill: bool = False
    batch_size: BatchSize = 8
    batch_tokens: int | None = None
    changed: bool = False
    engine: Engine = field(default_factory=LocalEngine)
    overwrite: bool = False
    reads: Sequence[Path] = ()

    def __post_init__(self) -> None:
        require(len(self.rows) > 0, "a job needs rows")
        check_batch_size(self.batch_size)
        object.__setattr__(self, "stop", checked_stops(self.stop))
        plain = self.system is None and not self.stop
        require(plain or not self.infill, "a job that fills texts takes neither a system message nor stop strings")
        require(
            self.batch_tokens is None or self.batch_tokens >= 1,
            f"batch_tokens must be at least 1, got {self.batch_tokens}",
        )

    @property
    def results_folder(self) -> Path:
        """The folder of the job."""
        return Path(self.folder or f"{self.output}.job")

    def run(self, progress: Progress = lambda done, total: None) -> JobOutcome:
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
        check_output(output, dict.fromkeys(name for row in self.rows for name in row.kept))
        if Path(self.output).resolve().parent == folder.resolve():
            raise SpecError(
                f"{self.output} is inside the job's folder, which holds what the job keeps; name another file"
            )
        renderings = Renderings(folder)
        rows, bad = encode(
            self.sampler,
            self.rows,
            seed=self.seed,
            chat=self.chat,
            system=self.system,
            infill=self.infill,
            renderings=renderings,
        )
        variant = Variant(self.sampler, until_eos=not self.infill, stop=tuple(self.stop))
        worker = Worker([variant], splits=self.batch_size == "auto")
        batches = plan(rows, self.batch_size, self.batch_tokens)
        manifest = self._manifest(rows, bad, worker)
        with Store(folder, manifest, _JOB_LINES, changed=self.changed, first=renderings.keep) as store:
            held = decode_missing(
                store, self.engine, worker, batches, finish=_without_order, keeps_errors=True, progress=progress
            )
            lines = [held.lines[_JOB_LINES.key_of(worker.identity(row, 0))] for row in rows]
            told = [output_row(line | self._asked(row), row.kept) for line, row in zip(lines, rows, strict=True)]
            told += [output_row({"item": row.id, "number": row.number, "error": row.error}, row.kept) for row in bad]
            write_output(output, folder, told)
        errors = [f"{line['item']}: {line['error']}" for line in lines if line["error"] is not None]
        errors = [f"{row.id}: {row.error}" for row in bad] + errors
        return JobOutcome(Path(self.output), len(self.rows), len(errors), held.before, next(iter(errors), None))

    def _asked(self, row: EncodedRow) -> Line:
        """How a row was asked, as its output tells it."""
        return {"chat": row.chat, "infill": row.chat is None, "system": self.system, "stop": list(self.stop)}

    def _manifest(self, rows: Sequence[EncodedRow], bad: Sequence[InputRow], worker: Worker) -> dict[str, Any]:
        """What must be the same for a job to go on."""
        (spec,) = worker.specs
        if worker.weights is None or spec["backend"] is None:
            raise SpecError(
                "this model was passed in memory, so a job could not tell or load it again; load it by name"
            )
        asked = [[each.identity["number"], each.identity["digest"]] for each in rows]
        asked += [[each.number, each.id, each.error] for each in bad]
        return {
            "input": digest(sorted(map(str, asked))),
            "rows": len(self.rows),
            "spec": spec,
            "weights": worker.weights,
            "seed": self.seed,
            "chat": self.chat,
            "system": self.system,
            "stop": list(self.stop),
            "infill": self.infill,
            "batch_size": self.batch_size,
            "batch_tokens": self.batch_tokens,
        }


def _without_order(lines: Sequence[Line]) -> list[Line]:
    """Lines as a job keeps them: of a million rows, the step of each position would be as large as the token ids."""
    return [{name: value for name, value in line.items() if name != "order"} for line in lines]
