"""The options that say where and in what batches rows are decoded, shared by `run` and `compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .layout import under
from .types import Finite, Whole

if TYPE_CHECKING:
    from ..jobs.engine import Engine


class BatchSize(click.ParamType[int | str]):
    """A number of rows, or `auto`."""

    name = "integer|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        return "auto" if value == "auto" else int(Whole(min=1).convert(value, param, ctx))


def batch_size_option(default: int) -> Any:
    """`--batch-size` with this default."""
    return click.option(
        "--batch-size",
        type=BatchSize(),
        default=str(default),
        help="Maximum batch size. auto: as many rows as fit into memory, found by halving.",
    )


ENGINE_OPTIONS = under(
    "Engine",
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        help="ray: decode on many devices or machines.",
    ),
    click.option("--workers", type=Whole(min=1), default=1, help="Number of Ray workers. Each loads the model."),
    click.option("--gpus-per-worker", type=Finite(min=0), default=0.0, help="Number of GPUs for each worker."),
    click.option("--ray-address", help="Address of a running Ray cluster.  [default: start one]"),
)


def make_engine(options: dict[str, Any]) -> Engine:
    """The engine that the options describe; those of Ray are refused without it."""
    from ..jobs import LocalEngine, RayEngine

    if options["engine"] == "ray":
        if options["tp_plan"] is not None:
            raise click.UsageError("--tp-plan goes with the local engine: a worker of Ray is one process.")
        return RayEngine(options["workers"], options["gpus_per_worker"], options["ray_address"])
    return LocalEngine()
