"""The engine that decodes on many devices or machines: Ray Data's `map_batches` over a pool of actors.

Each actor loads the model once, for all variants. What a row gets depends on its batch and its seed alone, so the
output is the local engine's whatever the number of workers, and whichever of them dies. The driver keeps the folder: a
batch counts once it is on the driver's disk.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import warnings
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch

from ..device_faults import is_out_of_memory
from ..errors import MDMError, SpecError, require
from ..folders.lines import Line
from .batches import Batch
from .worker import Worker

_MOST_BLOCKS = 10_000
"""Blocks that Ray holds the batches in: one for each batch, so that little is redone, until there are too many."""


_RETRIES = 3
"""How often a batch is begun anew when its worker dies; one that kills every worker must not go on forever."""


@final
@dataclass(frozen=True)
class RayEngine:
    """Decodes on the workers of a Ray cluster. Needs the extra `ray`.

    Args:
        workers: actors, each with a model of its own.
        gpus_per_worker: how much of a GPU each needs; above 1 for a model that is spread over several.
        address: of a cluster that is running; None for the one that this process is connected to, else to start one for
            as long as the job or the comparison takes.
    """

    workers: int = 1
    gpus_per_worker: float = 0.0
    address: str | None = None

    def __post_init__(self) -> None:
        require(self.workers >= 1, f"workers must be at least 1, got {self.workers}")
        require(self.gpus_per_worker >= 0, f"gpus_per_worker must be 0 or more, got {self.gpus_per_worker}")
        _ray()

    def decode(self, worker: Worker, batches: Sequence[Batch]) -> Generator[list[Line], None, None]:
        ray = _ray()
        if not batches:
            return
        # What an actor needs to decode as this process would.
        settings = {"recipe": worker.recipe(), "threads": torch.get_num_threads(), "folder": os.getcwd()}
        connected = self.address is None and ray.is_initialized()
        if not connected:
            self._start(ray)
        self._configure(ray)
        try:
            for row in self._mapped(ray, settings, batches).iter_rows():
                lines = lines_of(row["lines"])
                if any(line["settings"] not in worker.settings for line in lines):
                    raise MDMError("a worker loaded another model or other settings than this process has")
                yield lines
        except ray.exceptions.RayError as error:
            raise MDMError(f"a Ray worker failed: {_cause(error)}") from error
        finally:
            if not connected:
                ray.shutdown()

    def _mapped(self, ray: Any, settings: dict[str, Any], batches: Sequence[Batch]) -> Any:
        """The dataset of finished batches; nothing runs before it is read."""
        items = [{"batch": batch.to_json()} for batch in batches]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ray.util.annotations.RayDeprecationWarning)  # of how retries are given
            return ray.data.from_items(items, override_num_blocks=min(len(items), _MOST_BLOCKS)).map_batches(
                Decoding,
                fn_constructor_kwargs={"settings": settings},
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=self.workers),
                num_cpus=1,
                num_gpus=self.gpus_per_worker or None,
                max_restarts=-1,
                max_task_retries=_RETRIES,
            )

    def _start(self, ray: Any) -> None:
        """Connect to the cluster, or start one."""
        if self.address is not None:
            _check_reachable(self.address)
        # Ray would keep back processors for reading; here nothing is read.
        own = {"num_cpus": self.workers, "include_dashboard": False}
        cluster = own if self.address is None else {"address": self.address}
        try:
            ray.init(**cluster, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # Ray has an error of its own for each way in which a cluster refuses
            where = f"at {self.address}" if self.address else "in this process"
            said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise MDMError(f"no Ray cluster {where}: {said}") from error

    def _configure(self, ray: Any) -> None:
        """Quiet, and patient with a large model."""
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.wait_for_min_actors_s = 600


def _check_reachable(address: str) -> None:
    """Raise `MDMError` if nobody answers at host:port; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # such as "auto"
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise MDMError(f"no Ray cluster at {address}: {error.strerror or error}") from error


class Decoding:
    """What an actor does. It computes with as many threads as the driver has, so that it rounds alike."""

    def __init__(self, settings: dict[str, Any]) -> None:
        torch.set_num_threads(settings["threads"])
        if os.path.isdir(settings["folder"]):
            os.chdir(settings["folder"])  # where a relative name of a model or a file means what it means to the driver
        self.worker = Worker.from_recipe(settings["recipe"])

    def __call__(self, rows: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        return {"lines": [json.dumps(self._answer(Batch.from_json(text))) for text in rows["batch"]]}

    def _answer(self, batch: Batch) -> Any:
        """The batch's lines, or what ended it: Ray would tell an error with its own words and a traceback."""
        try:
            return self.worker.decode(batch)
        except Exception as error:
            kind = "memory" if is_out_of_memory(error) else "ours" if isinstance(error, MDMError) else "other"
            said = str(error) if kind == "ours" else f"{type(error).__name__}: {error}"
            return {"kind": kind, "error": " ".join(said.split())}


def lines_of(answer: str) -> list[Line]:
    """The lines in an actor's answer. Raises the error that the local engine would have raised."""
    found = json.loads(answer)
    if isinstance(found, dict):
        if found["kind"] == "memory":
            raise torch.OutOfMemoryError(found["error"])
        raise MDMError(found["error"] if found["kind"] == "ours" else f"a Ray worker failed: {found['error']}")
    lines: list[Line] = found
    return lines


def _ray() -> Any:
    """Ray with its data package. Raises `SpecError` where it is missing."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # before it is imported: what its C++ part prints
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise SpecError('--engine ray needs Ray; pip install "mdm-sampling[ray]"') from error
    return ray


def _cause(error: BaseException) -> str:
    """The line of a worker's traceback that says what went wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "Error" in line), lines[-1] if lines else repr(error))
