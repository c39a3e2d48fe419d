"""One run of a benchmark: which random model decodes what, and how. The options are the same for every benchmark."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from typing import Any

import click
import torch
from models import FAMILIES, SHAPES, random_prompt

import mdm_sampling as mdm

Row = tuple[list[int], list[int]]


@dataclass(frozen=True)
class Run:
    """A random model, prompts and a sampler: one token a step, no bypass, greedy tokens."""

    family: str = "llada"
    shape: str = "small"
    vocabulary: int = 32_000
    cache: str = "dual"
    candidates: int = 8
    prompt: int = 96
    new: int = 64
    block: int = 32
    batch: int = 1
    ragged: bool = False
    compile: bool = False
    device: str = "cpu"
    dtype: str = "float32"
    threads: int = 2

    def backend(self) -> mdm.TransformerBackend:
        torch.set_num_threads(self.threads)
        device = torch.device(self.device)
        if device.type == "cuda":
            torch.cuda.set_device(device.index or 0)  # which is what memory and clocks are read of
        backend = FAMILIES[self.family](self.shape, self.vocabulary, self.device, getattr(torch, self.dtype))
        if self.compile:
            backend.compile()
        return backend

    def rows(self, mask_id: int) -> list[Row]:
        """Random prompts; ragged ones are of `prompt` down to half as many tokens."""
        step = self.prompt // (2 * self.batch) if self.ragged else 0
        lengths = [max(1, self.prompt - i * step) for i in range(self.batch)]
        return [
            (random_prompt(length, self.vocabulary, seed=i), [mask_id] * self.new) for i, length in enumerate(lengths)
        ]

    def sampler(self, backend: mdm.ModelBackend, greedy: bool = False) -> mdm.Sampler:
        """Info-Gain, or decoding by confidence."""
        return mdm.Sampler(
            backend,
            planner=mdm.Confidence() if greedy else mdm.InfoGain(candidates=self.candidates),
            cache=mdm.build("caches", self.cache),
            block_size=self.block,
            steps=self.new,
        )

    def small(self) -> Run:
        """The same with a tiny model and a short text, for `--quick`."""
        return replace(self, shape="tiny", vocabulary=2000, prompt=16, new=8)


REPEATABLE = {
    "vocabulary": (32_000,),
    "cache": ("none", "prefix", "dual"),
    "candidates": (8,),
    "prompt": (96,),
    "batch": (1,),
}
FLAGS = {"ragged": "Prompts of different lengths in a batch.", "compile": "Compile the model first."}
CHOICES = {"family": list(FAMILIES), "shape": list(SHAPES), "dtype": ["float32", "bfloat16", "float16"]}


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """An option for each field of `Run`, `--threads`, `--quick`, and a hidden one for `apart`."""
    command = click.option("--one", hidden=True)(command)
    command = click.option("--quick", is_flag=True, help="A tiny model and a short text; the tests run this.")(command)
    for field in reversed(fields(Run)):
        if field.name in REPEATABLE:
            settings = {"multiple": True, "default": REPEATABLE[field.name], "help": "Repeatable."}
        elif isinstance(field.default, bool):
            settings = {"is_flag": True, "help": FLAGS[field.name]}
        else:
            settings = {"default": field.default}
        if field.name in CHOICES:
            settings["type"] = click.Choice(CHOICES[field.name])
        command = click.option(f"--{field.name}", show_default=True, **settings)(command)
    return command


def runs(options: dict[str, Any]) -> Iterator[Run]:
    """All combinations of what may be repeated."""
    fixed = {field.name: options[field.name] for field in fields(Run) if field.name not in REPEATABLE}
    for values in product(*(options[name] for name in REPEATABLE)):
        run = Run(**fixed, **dict(zip(REPEATABLE, values, strict=True)))
        yield run.small() if options["quick"] else run


def answer_one(text: str, measure: Callable[[str, Run], dict[str, float]]) -> None:
    """Measure one side of a run and print it; see `isolation.apart`."""
    side, values = json.loads(text)
    click.echo(json.dumps(measure(side, Run(**values))))


def print_report(run: Run, **found: Any) -> None:
    """A JSON line: the run, what was found, and on what machine."""
    machine = {**mdm.describe_machine(torch.device(run.device)), "threads": run.threads}
    click.echo(json.dumps({**asdict(run), **found, "machine": machine}))
