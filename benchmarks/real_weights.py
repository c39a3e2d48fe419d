"""Fill masked antibody sequences with AntiBERTy, a model that others trained: which planner recovers most?

AntiBERTy (Ruffolo et al., arXiv:2112.07782; MIT) has 26 million parameters in BERT's format, and was trained on 558
million antibody sequences. Version 0.1.3 of its package holds the weights, 104 MB; nothing is installed or downloaded
here:

    pip download --no-deps antiberty==0.1.3 && unzip antiberty-0.1.3-py3-none-any.whl -d antiberty
    python benchmarks/real_weights.py antiberty/antiberty/trained_models/AntiBERTy_md_smooth

Each sequence is masked at random places, `--draws` times, and filled. Recovery is the share of masks that get the
letter that was there. `benchmarks/antibodies.fasta` has the variable domains of seven approved antibodies, which are
public; `--sequences` takes another FASTA file, or a CSV file with a column `sequence`.
"""

import csv
import random
import statistics
from collections.abc import Iterator
from pathlib import Path

import click
import torch
import transformers

import mdm_sampling as mdm

LETTERS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"ACDEFGHIKLMNPQRSTVWY"]
OPEN, CLOSE, MASK = (LETTERS.index(name) for name in ("[CLS]", "[SEP]", "[MASK]"))
PLANNERS = (
    "random",
    "left-to-right",
    "confidence",
    "margin",
    "entropy",
    "info-gain",
    "speculate",
    "eb:gamma=0.1",
    "factor:factor=0.5",
    "bounded-chain",
)


def sequences_in(file: Path) -> list[str]:
    """The sequences of a FASTA or CSV file, each a text of letters."""
    if file.suffix == ".csv":
        with file.open(newline="") as opened:
            return [row["sequence"].strip() for row in csv.DictReader(opened)]
    blocks = file.read_text().split(">")[1:]
    return ["".join(block.splitlines()[1:]).strip() for block in blocks]


def masked_rows(sequences: list[str], share: float, draws: int) -> Iterator[tuple[list[int], list[int]]]:
    """Each sequence with this share of its letters masked, and the letters: the body of a row, and what it was."""
    for number, sequence in enumerate(sequences):
        whole = [LETTERS.index(letter) for letter in sequence]
        for draw in range(draws):
            places = random.Random(f"{number} {draw} {share}").sample(range(len(whole)), round(share * len(whole)))
            chosen = set(places)
            yield [MASK if i in chosen else token for i, token in enumerate(whole)], whole


@click.command(help=__doc__)
@click.argument("model", type=click.Path(exists=True, file_okay=False))
@click.option("--sequences", type=click.Path(exists=True, path_type=Path), help="A FASTA or CSV file.")
@click.option("--share", "shares", multiple=True, type=click.FloatRange(0, 1, min_open=True), default=(0.15, 0.5, 0.8))
@click.option("--draws", default=10, show_default=True, help="How often each sequence is masked.")
@click.option("--planner", "planners", multiple=True, default=PLANNERS)
@click.option("--batch-size", default=28, show_default=True)
@click.option("--device", default="cpu", show_default=True)
def main(
    model: str,
    sequences: Path | None,
    shares: tuple[float, ...],
    draws: int,
    planners: tuple[str, ...],
    batch_size: int,
    device: str,
) -> None:
    file = sequences or Path(__file__).parent / "antibodies.fasta"
    texts = sequences_in(file)
    backend = mdm.load_backend(model, mask_id=MASK, device=device)
    click.echo(
        f"{len(texts)} sequences of {file.name}, each masked {draws} times; torch {torch.__version__}, transformers "
        f"{transformers.__version__}, {torch.get_num_threads()} threads, {device}\n"
    )
    click.echo(
        "| masks | planner | recovery | entropy | sequential forwards | row-forwards |\n|---|---|---|---|---|---|"
    )
    for share in shares:
        rows = [*masked_rows(texts, share, draws)]
        for planner in planners:
            sampler = mdm.Sampler(
                backend, planner=planner, cache="none", schedule="constant:1", block_size=512, steps=512,
                processors=("ban:ids=[0,1,2,3]",),
            )  # fmt: skip
            result = sampler.fill([([OPEN], [*body, CLOSE]) for body, _ in rows], batch_size=batch_size)
            found = []
            for (body, whole), filled in zip(rows, result.sequences, strict=True):
                hits = [a == b for a, b, masked in zip(filled[1:], whole, body, strict=False) if masked == MASK]
                found.append(statistics.mean(hits))
            mean, error = statistics.mean(found), statistics.stdev(found) / len(found) ** 0.5
            costs = [statistics.mean(getattr(row, name) for row in result.rows) for name in (
                "cumulative_entropy", "sequential_forwards", "forwards",
            )]  # fmt: skip
            click.echo(
                f"| {share:.0%} | `{planner}` | {100 * mean:.1f} ± {196 * error:.1f} | {costs[0]:.1f} | {costs[1]:.1f} "
                f"| {costs[2]:.1f} |"
            )


if __name__ == "__main__":
    main()
