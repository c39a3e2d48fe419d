"""Comparisons: what is decoded is what the sampler does alone, whatever the batch."""

import json
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from compared import TASK, without_times
from hypothesis import given, settings
from hypothesis import strategies as st

import mdm_sampling as mdm
from mdm_sampling.compare import Setting, compare, grid
from mdm_sampling.folders.lines import Line
from mdm_sampling.jobs.batches import Batch
from mdm_sampling.jobs.worker import Worker


def test_a_line_says_what_the_sampler_does_alone(base: mdm.Sampler) -> None:
    """Decoded here one by one through `Sampler.fill`, with the line's own spec and seed."""
    found = compare(base, TASK, grid(["confidence", "info-gain"], tokens_per_step=[2]), items=4, seeds=[0, 5])
    assert len(found.lines) == 2 * 4 * 2
    for line in found.lines:
        item = next(item for item in TASK.items(4, 0) if item.name == line["item"])
        sampler = mdm.from_spec(line["spec"], base.backend)
        assert mdm.describe(sampler.planner) == line["planner"]
        result = sampler.fill(base.masked_rows([item.body or ""]), line["row_seed"])
        assert result.texts[0] == line["text"]
        assert TASK.grade(item, line["text"]).score == line["score"]
        assert result.rows[0].forwards == line["forwards"]
        assert result.rows[0].sequential_forwards == line["sequential_forwards"]
        assert result.rows[0].cumulative_entropy == pytest.approx(line["cumulative_entropy"], abs=1e-5)
        assert line["filled"] == item.name.count("0")
        assert line["steps"] == math.ceil(line["filled"] / 2)
        assert line["machine"]["torch"] == torch.__version__


def test_a_task_may_be_given_as_its_spec(base: mdm.Sampler) -> None:
    wanted = grid(["confidence"], tokens_per_step=[4])
    by_spec, by_object = (compare(base, task, wanted, items=2) for task in ("countdown", mdm.Countdown()))
    assert by_spec.manifest == by_object.manifest
    assert without_times(by_spec.lines) == without_times(by_object.lines)
    with pytest.raises(mdm.SpecError, match="task: unknown name 'countdwn'"):
        compare(base, "countdwn", wanted)
    with pytest.raises(mdm.SpecError, match="task must be a Task object, got 5"):
        compare(base, 5, wanted)  # type: ignore[arg-type]


def test_the_order_holds_the_step_of_each_position(base: mdm.Sampler) -> None:
    (line,) = compare(base, TASK, grid(["left-to-right"], tokens_per_step=[2]), items=1).lines
    cells = [line["order"][5 * r + c] for r in range(4) for c in range(4)]
    holes = [step for cell, step in zip(line["item"], cells, strict=True) if cell == "0"]
    assert holes == [i // 2 for i in range(len(holes))]
    assert [line["order"][position] for position in (4, 9, 14)] == [-1] * 3
    assert all(step == -1 for cell, step in zip(line["item"], cells, strict=True) if cell != "0")


def test_items_have_seeds_of_their_own_and_settings_share_them(base: mdm.Sampler) -> None:
    lines = compare(base, TASK, grid(["random", "confidence"], tokens_per_step=[1]), items=6, seeds=[0, 1]).lines
    seeds = {(line["item"], line["seed"]): set() for line in lines}
    for line in lines:
        seeds[line["item"], line["seed"]].add(line["row_seed"])
    assert all(len(shared) == 1 for shared in seeds.values())
    assert len(set.union(*seeds.values())) == 12


@settings(max_examples=5)
@given(batch_size=st.integers(1, 9))
def test_the_batch_size_changes_nothing(base: mdm.Sampler, batch_size: int) -> None:
    wanted = grid(["random", "info-gain"], tokens_per_step=[2])
    one, other = (compare(base, TASK, wanted, items=5, seeds=[0, 1], batch_size=n).lines for n in (1, batch_size))
    for a, b in zip(without_times(one), without_times(other), strict=True):
        assert a.pop("cumulative_entropy") == pytest.approx(b.pop("cumulative_entropy"), abs=1e-5)
        for line in (a, b):  # a row that has no choice left rides along with those that have
            del line["forwards"], line["token_forwards"]
        assert a == b


def test_blocks_caches_and_prompts(base: mdm.Sampler) -> None:
    wanted = grid(["confidence"], caches=["none", "dual"], tokens_per_step=[4], block_sizes=[5, None])
    found = compare(base, mdm.Sudoku(form="prompt"), wanted, items=3)
    assert [s.key for s in found.settings] == [s.key for s in wanted]
    assert {(line["cache"], line["block_size"]) for line in found.lines} == {
        (cache, block) for cache in ("none", "dual") for block in (5, None)
    }
    assert all(line["filled"] == 20 for line in found.lines)
    assert all(line["steps"] == (8 if line["block_size"] else 5) for line in found.lines)


def test_a_planner_that_is_not_registered_can_be_compared(base: mdm.Sampler) -> None:
    class Mine(mdm.ScorePlanner):
        def score(self, step: mdm.Step) -> torch.Tensor:
            return step.confidence

        def __repr__(self) -> str:
            return "Mine()"

    found = compare(base, TASK, grid([Mine(), "confidence"], tokens_per_step=[2]), items=3)
    mine, theirs = ([line["text"] for line in found.lines if line["planner"] == n] for n in ("Mine()", "confidence"))
    assert mine == theirs
    assert len(mine) == 3


def test_a_grid_is_every_combination_once() -> None:
    settings = grid(["confidence", "margin", "confidence"], caches=["none", "prefix"], tokens_per_step=[1, 2, 1])
    assert len(settings) == len(set(settings)) == 8
    assert settings[0] == Setting(mdm.Confidence(), mdm.NoCache(), 1, None)
    for wrong in ({"planners": []}, {"planners": ["random"], "tokens_per_step": [0]}, {"planners": ["greedy"]}):
        with pytest.raises(mdm.SpecError):
            grid(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("family", ["llada_folder", "dream_folder"])
@pytest.mark.parametrize("cache", ["none", "prefix", "dual"])
def test_both_families_are_compared_on_a_file_of_questions(
    family: str, cache: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder: Path = request.getfixturevalue(family)
    base = replace(mdm.load(str(folder)), max_new_tokens=6)
    word = base.backend.codec.decode([5]).strip() or "a"  # type: ignore[union-attr]
    lines = [{"prompt": word * n, "answer": "x"} for n in (1, 3, 2)]
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    task = mdm.JSONLines(str(file), match="regex", length=5)
    found = compare(base, task, grid(["margin", "info-gain:2"], caches=[cache], tokens_per_step=[2]), chat=False)
    assert len(found.lines) == 6
    assert all(line["filled"] == 5 and line["steps"] == 3 for line in found.lines)
    assert sum(line.startswith("| 2 |") for line in found.markdown().splitlines()) == 2


class Mixed(mdm.Task):
    """Prompts and canvases."""

    def items(self, count: int | None, seed: int) -> list[mdm.Item]:
        prompts = mdm.Sudoku(form="prompt").items(3, 0)
        return [item for pair in zip(prompts, TASK.items(3, 0), strict=True) for item in pair]

    def grade(self, item: mdm.Item, text: str) -> mdm.Grade:
        return mdm.Grade(text, 1.0)

    @property
    def max_new_tokens(self) -> int:
        return 20


@dataclass
class Backwards:
    """An engine of somebody else: the last batch first, by a worker that is built from what can be sent."""

    sizes: list[int]

    def decode(self, worker: Worker, batches: Sequence[Batch]) -> Generator[list[Line], None, None]:
        other = Worker.from_recipe(json.loads(json.dumps(worker.recipe())))
        assert len({id(each.sampler.backend) for each in other.variants}) == 1, "the model was loaded for each setting"
        for batch in reversed(batches):
            self.sizes.append(len(batch.rows))
            yield json.loads(json.dumps(other.decode(Batch.from_json(batch.to_json()))))


def test_another_engine_gives_the_same_lines_in_the_order_asked(base: mdm.Sampler) -> None:
    """Prompts, whose texts end at an end token, and canvases, whose texts don't, are decoded apart."""
    wanted = grid(["confidence", "info-gain:2"], tokens_per_step=[2])
    backwards = Backwards([])
    here = compare(base, Mixed(), wanted, seeds=[0, 1], batch_size=4)
    there = compare(base, Mixed(), wanted, seeds=[0, 1], batch_size=4, engine=backwards)
    assert backwards.sizes == [2, 4] * 4
    for other in there.lines:
        assert other["seconds"] > 0
    assert without_times(there.lines) == without_times(here.lines)
    assert [line["item"] for line in there.lines] == [line["item"] for line in here.lines]
