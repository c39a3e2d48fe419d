"""PC-Sampler, now UNCODE: early positions first, and tokens that say something before trivial ones (arXiv:2508.13021).

The score of a masked position is exp(-lambda i) min(-p log f(x), alpha): i counts the positions from the start of the
generation, x is the proposed token, p its probability and f its frequency in a reference corpus. A confident guess of a
rare token is worth more than the same confidence in a comma.

The frequencies stand in a JSON file, {"tokenizer": name, "total": tokens counted, "vocab_size": size of the tokenizer's
vocabulary, "counts": {token id: times}}, which the command `mdm-sampling pc-frequencies` makes from any text.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any, final

import click
import torch
from torch import Tensor

import mdm_sampling as mdm

TOKEN_ID = re.compile(r"0|[1-9][0-9]{0,9}")

LINES = 1000
"""Lines that are tokenized together."""

SECONDS = 2.0
"""Between two notes of the command's progress."""


@final
@dataclass(frozen=True)
class PCSampler(mdm.ScorePlanner):
    """Unmask where exp(-decay i) min(-p log f, alpha) is largest, for position i and a token of frequency f in a
    corpus.

    Args:
        frequencies: the file of token counts, made by `mdm-sampling pc-frequencies` with this model's tokenizer. It is
            read at the first step. A token that it lacks has the frequency of one that was seen once.
        decay: the paper's lambda, 0 or more: how strongly early positions are preferred. The paper takes 0 for Sudoku,
            0.25 for most tasks and 0.5 for Countdown.
        alpha: the largest worth of a position, above 0.
    """

    frequencies: str
    decay: float = 0.25
    alpha: float = 10.0

    def __post_init__(self) -> None:
        mdm.check_fields(self, "pc")
        if not self.frequencies.strip():
            raise mdm.SpecError(f"pc: frequencies must be the name of a file, got {self.frequencies!r}")
        if not 0 <= self.decay < inf:
            raise mdm.SpecError(f"pc: decay must be finite and 0 or more, got {self.decay}")
        if not 0 < self.alpha < inf:
            raise mdm.SpecError(f"pc: alpha must be finite and above 0, got {self.alpha}")

    def score(self, step: mdm.Step) -> Tensor:
        rarity = surprisals(self.frequencies, step.vocab_size, step.tokens.device)
        tokens = step.tokens.masked_fill(~step.masked, 0)  # what is proposed elsewhere may be anything
        worth = (step.confidence.double() * rarity[tokens]).clamp(max=self.alpha)
        # The logarithm orders positions as the score does, and far from the start it does not underflow.
        return worth.log() - self.decay * step.positions


@dataclass(frozen=True)
class Frequencies:
    """How often each token occurs in a corpus.

    Attributes:
        tokenizer: the model whose tokenizer counted.
        vocab_size: tokens that the tokenizer knows.
        counts: times by token id; tokens that do not occur may be left out.
        total: tokens counted, at least the sum of the counts.
    """

    tokenizer: str
    vocab_size: int
    counts: Mapping[int, int]
    total: int

    @classmethod
    def read(cls, path: str) -> Frequencies:
        """Read a file. Raises `SpecError` with a sentence that says what is wrong with it."""
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise _unreadable(path, error) from error
        except ValueError as error:
            raise mdm.SpecError(f"pc: {path} is not valid JSON ({error})") from error
        missing = {"tokenizer", "vocab_size", "counts", "total"} - (set(values) if isinstance(values, dict) else set())
        if missing:
            raise mdm.SpecError(f"pc: {path} is not a frequency file, it lacks {', '.join(sorted(missing))}")
        found = cls(
            str(values["tokenizer"]),
            _whole(path, "vocab_size", values["vocab_size"], 1),
            _counts(path, values["counts"]),
            _whole(path, "total", values["total"], 1),
        )
        if found.largest_id >= found.vocab_size:
            raise mdm.SpecError(f"pc: {path} counts token {found.largest_id}, but says vocab_size={found.vocab_size}")
        if sum(found.counts.values()) > found.total:
            raise mdm.SpecError(
                f"pc: {path} says total={found.total}, but its counts add up to {sum(found.counts.values())}"
            )
        return found

    def write(self, output: mdm.Output | Path) -> None:
        """Write the file whole or not at all. Raises `OSError` if it cannot, `SpecError` if it must not be written."""
        values = {
            "tokenizer": self.tokenizer,
            "total": self.total,
            "vocab_size": self.vocab_size,
            "counts": {str(token): self.counts[token] for token in sorted(self.counts)},
        }
        target = output if isinstance(output, mdm.Output) else mdm.Output(output)
        target.write(json.dumps(values) + "\n")

    @property
    def largest_id(self) -> int:
        """The largest token id that was counted, -1 if there is none."""
        return max(self.counts, default=-1)


def surprisals(path: str, vocab_size: int, device: torch.device) -> Tensor:
    """-log f of each token of a model's vocabulary, float64 [v]; a file is read once, until it changes."""
    try:
        stat = os.stat(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    return _surprisals(path, stat.st_mtime_ns, stat.st_size, vocab_size, device)


@lru_cache(maxsize=8)
def _surprisals(path: str, modified: int, size: int, vocab_size: int, device: torch.device) -> Tensor:
    found = Frequencies.read(path)
    if found.largest_id >= vocab_size:
        raise mdm.SpecError(
            f"pc: {path} counts token {found.largest_id}, but the model has only {vocab_size} tokens; it was made with "
            f"the tokenizer of {found.tokenizer}, so make one with this model's own"
        )
    times = torch.ones(vocab_size, dtype=torch.float64)
    if found.counts:
        ids = torch.tensor(list(found.counts), dtype=torch.long)
        times[ids] = torch.tensor(list(found.counts.values()), dtype=torch.float64).clamp(min=1)
    return -(times / found.total).log().to(device)


def _unreadable(path: str, error: OSError) -> mdm.SpecError:
    return mdm.SpecError(
        f"pc: the frequency file {path!r} cannot be read: {error.strerror}; `mdm-sampling pc-frequencies` makes one"
    )


def _whole(path: str, name: str, value: object, least: int) -> int:
    """`value` if it is a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise mdm.SpecError(f"pc: {path} says {name}={value!r}, expected a whole number of at least {least}")
    return value


def _counts(path: str, values: object) -> dict[int, int]:
    if not isinstance(values, dict):
        raise mdm.SpecError(f"pc: {path} says counts={values!r:.40}, expected an object of token ids and numbers")
    strange = next((key for key in values if not TOKEN_ID.fullmatch(key)), None)
    if strange is not None:
        raise mdm.SpecError(f"pc: {path} counts {strange!r:.40}, which is not a token id")
    return {int(key): _whole(path, f"counts[{key}]", value, 0) for key, value in values.items()}


@click.command("pc-frequencies", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model")
@click.argument("corpus", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file to write."
)
@click.option("--field", default="text", show_default=True, help="Which field of a .jsonl file's lines is counted.")
@click.option("--overwrite", is_flag=True, help="Write even over a file that is there.")
def pc_frequencies(model: str, corpus: tuple[Path, ...], output: Path, field: str, overwrite: bool) -> None:
    """Count the tokens of a corpus for the planner `pc`.

    MODEL is a checkpoint folder, a hub id or `embedded`; only its tokenizer is loaded. CORPUS is one or more files of
    UTF-8 text, or of JSON lines if they end in .jsonl.
    """
    try:
        target = _target(model, corpus, output, overwrite)
        tokenizer = mdm.load_tokenizer(model)
        counts, unknown = count_tokens(tokenizer, corpus, field)
        found = Frequencies(model, len(tokenizer), counts, counts.total())
        if not found.total:
            raise click.ClickException("the corpus holds no text that the model's tokenizer knows")
        found.write(target)
    except mdm.MDMError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"cannot write {output}: {error.strerror}") from error
    click.echo(f"{output}: {found.total:,} tokens, {len(counts):,} of the {found.vocab_size:,} that there are")
    if unknown:
        click.echo(f"{unknown:,} more that the tokenizer does not know were skipped")


def _target(model: str, corpus: Sequence[Path], file: Path, overwrite: bool) -> mdm.Output:
    """The file to write. Refuses what would only fail once the corpus has been counted."""
    for each in corpus:
        if not each.is_file():
            raise click.ClickException(f"there is no file {str(each)!r}")
    folder = Path(model)
    checkpoint = list(folder.iterdir()) if folder.is_dir() else []
    target = mdm.Output(file.absolute(), overwrite=overwrite, reads=[*corpus, *checkpoint])
    target.check()
    return target


def count_tokens(tokenizer: Any, corpus: Sequence[Path], field: str) -> tuple[Counter[int], int]:
    """How often each token occurs, and how many tokens were unknown. Line ends are tokens as well."""
    counts: Counter[int] = Counter()
    told = monotonic()
    lines = 0
    source = _texts(corpus, field)
    while texts := list(islice(source, LINES)):
        for ids in tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]:
            counts.update(ids)
        lines += len(texts)
        if monotonic() - told > SECONDS:
            told = monotonic()
            click.echo(f"{lines:,} lines, {counts.total():,} tokens", err=True)
    # An unknown token stands for many different texts, and is never proposed.
    unknown = counts.pop(tokenizer.unk_token_id, 0) if tokenizer.unk_token_id is not None else 0
    return counts, unknown


def _texts(corpus: Sequence[Path], field: str) -> Iterator[str]:
    """What the files hold, line by line."""
    for file in corpus:
        try:
            with file.open(encoding="utf-8-sig") as lines:
                if file.suffix == ".jsonl":
                    yield from (_field(file, i, line, field) for i, line in enumerate(lines, 1) if line.strip())
                else:
                    yield from _with_blank_lines(lines)
        except UnicodeDecodeError as error:
            raise click.ClickException(f"{file} is not UTF-8 text ({error.reason})") from error
        except OSError as error:
            raise click.ClickException(f"cannot read {file}: {error.strerror}") from error


def _with_blank_lines(lines: Iterable[str]) -> Iterator[str]:
    """Lines with their ends and the blank lines behind them: two line ends are often one token, and a frequent one."""
    text = ""
    for line in lines:
        if line.strip() and text.strip():
            yield text
            text = ""
        text += line
    if text.strip():
        yield text


def _field(file: Path, number: int, line: str, field: str) -> str:
    """The text of a field of a JSON line."""
    try:
        values = json.loads(line)
    except ValueError as error:
        raise click.ClickException(f"{file}, line {number}: not valid JSON ({error})") from error
    text = values.get(field) if isinstance(values, dict) else None
    if not isinstance(text, str):
        has = f"it has {', '.join(values)}" if isinstance(values, dict) and values else "it has no fields"
        raise click.ClickException(f"{file}, line {number}: there is no text {field!r} ({has}); choose with --field")
    return text.encode(errors="replace").decode()  # JSON may spell half a surrogate pair, which is not text


@mdm.hookimpl
def register_planners(register: mdm.Register) -> None:
    register("pc", PCSampler)


@mdm.hookimpl
def register_commands(cli: click.Group) -> None:
    cli.add_command(pc_frequencies)
