"""Decodes a fixed set of rows in every way and prints a digest of each, so that two states of the code can be compared.

    python tests/helpers/digests.py > before.txt       # then change what must not change an answer
    python tests/helpers/digests.py | diff before.txt -

Every planner, cache, schedule and token sampler, both families, ragged rows, infilling, token temperature, remasking,
records and jobs. In float64, so that rounding decides nothing. A digest covers tokens, order, entropies and counts.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

import torch
from naive import NaiveDream, NaiveLLaDA, save_dream, save_llada

import mdm_sampling as mdm
from mdm_sampling.jobs import Job, read_rows

PROMPTS = ["hello", "a b c", "is it so?"]
TEXTS = ["a[MASK:3]b", "[MASK]xy[MASK:4]", "long text before it [MASK:6]."]
CACHES = {"none": mdm.NoCache(), "prefix": mdm.PrefixCache(), "dual": mdm.DualCache()}
CACHES |= {f"refresh-{name}": mdm.Refresh(otherwise=cache, every=2) for name, cache in CACHES.items()}
SCHEDULES = {
    "uniform": mdm.Uniform(),
    "linear": mdm.Linear(),
    "cosine": mdm.Cosine(),
    "constant-1": mdm.Constant(1),
    "constant-3": mdm.Constant(3),
}
TOKENS = {
    "greedy": mdm.Greedy(),
    "warm": mdm.GumbelMax(temperature=0.7),
    "top-k": mdm.GumbelMax(temperature=1.5, top_k=3),
    "top-p": mdm.GumbelMax(temperature=1.0, top_p=0.7),
}


@dataclass(frozen=True)
class Reopens(mdm.PositionPlanner):
    """Fills the likeliest positions and reopens some by chance."""

    needs = mdm.Needs(remasking=True)

    def plan(self, step: mdm.Step) -> mdm.Plan:
        plan = mdm.Confidence().plan(step)
        return replace(plan, remask=step.reopenable & (step.noise.uniform(1)[0] < 0.3))


PLANNERS: dict[str, mdm.PositionPlanner] = {
    "random": mdm.Random(),
    "left-to-right": mdm.LeftToRight(),
    "confidence": mdm.Confidence(),
    "margin": mdm.Margin(),
    "entropy": mdm.Entropy(),
    "info-gain": mdm.InfoGain(4, 0.5),
    "info-gain-canvas": mdm.InfoGain(3, 1.0, "canvas"),
    "lookum": mdm.InfoGain(3, 0.5, "block", "lookum"),
    "bypass": mdm.Bypass(threshold=0.3, otherwise=mdm.InfoGain(3, 0.5)),
    "defer": mdm.Defer(otherwise=mdm.Bypass(threshold=0.5, otherwise=mdm.Margin())),
    "reopens": Reopens(),
}


def digest(values: Any) -> str:
    return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def of_result(found: mdm.Result) -> str:
    costs = [[round(row.cumulative_entropy, 9), row.steps, row.forwards, row.token_forwards] for row in found.rows]
    return digest([found.sequences, found.texts, [history.order for history in found.histories], costs])


def of_records(sampler: mdm.Sampler) -> str:
    rows = sampler.prompt_rows(PROMPTS, chat=False)
    seen = []
    for record in sampler.iterate(sampler.canvas(rows), [0, 1, 2]):
        seen.append([record.unmask.tolist(), record.remask.tolist(), record.canvas.tokens.tolist()])
    return digest(seen)


def of_job(sampler: mdm.Sampler, batch_size: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "asked.jsonl"
        asked.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS * 2))
        written = Job(sampler, read_rows(asked), Path(folder) / "out.jsonl", batch_size=batch_size).run().output
        lines = [json.loads(line) for line in written.read_text().splitlines()]
        kept = ("text", "tokens", "seed", "steps", "forwards", "token_forwards")
        return digest([[line[name] for name in kept] + [round(line["cumulative_entropy"], 9)] for line in lines])


def cases(family: str, base: mdm.Sampler) -> Iterator[tuple[str, Callable[[], str]]]:
    def generated(sampler: mdm.Sampler, batch_size: int = 3) -> Callable[[], str]:
        return lambda: of_result(sampler.generate(PROMPTS, seed=7, chat=False, batch_size=batch_size))

    for (name, planner), (cache, strategy) in product(PLANNERS.items(), CACHES.items()):
        sampler = replace(base, planner=planner, cache=strategy)
        yield f"{family} {name} {cache}", generated(sampler)
        if cache in ("none", "dual"):
            yield f"{family} {name} {cache} one by one", generated(sampler, 1)
            yield f"{family} {name} {cache} infill", lambda s=sampler: of_result(s.infill(TEXTS, seed=3))
    for (name, tokens), planner in product(TOKENS.items(), ("info-gain", "bypass", "random")):
        yield f"{family} {planner} {name}", generated(replace(base, planner=PLANNERS[planner], token_sampler=tokens))
    for (name, schedule), planner in product(SCHEDULES.items(), ("confidence", "info-gain")):
        yield f"{family} {planner} {name}", generated(replace(base, planner=PLANNERS[planner], schedule=schedule))
    for name in ("info-gain", "defer"):
        chosen = replace(base, planner=PLANNERS[name])
        yield f"{family} {name} finish", generated(replace(chosen, eos="finish"))
        yield f"{family} {name} penalise", generated(replace(chosen, processors=(mdm.Penalise(by=4.0),)))
        yield f"{family} {name} lookahead in twos", generated(replace(chosen, lookahead_batch=2))
        yield f"{family} {name} chat", lambda s=chosen: of_result(s.generate(PROMPTS, seed=7, chat=True))
    for name in ("info-gain", "reopens", "bypass"):
        yield f"{family} {name} records", lambda n=name: of_records(replace(base, planner=PLANNERS[n]))
    for size in (1, 2, 4):
        yield f"{family} job in batches of {size}", lambda n=size: of_job(replace(base, planner=mdm.Margin()), n)


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for family, naive, save in (("llada", NaiveLLaDA, save_llada), ("dream", NaiveDream, save_dream)):
            backend = mdm.load_backend(str(save(naive(seed=0), Path(folder) / family)), dtype="float64", device="cpu")
            for name, found in cases(family, mdm.Sampler(backend, max_new_tokens=12, block_size=6, steps=6)):
                print(f"{name}: {found()}", flush=True)


if __name__ == "__main__":
    main()
    sys.exit()
