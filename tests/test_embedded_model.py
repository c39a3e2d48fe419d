"""The embedded model: its recipe runs and resumes, the tasks' items are held out, it shows what the paper claims."""

import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from extras import needs

import mdm_sampling as mdm
from mdm_sampling.backends.embedded import FOLDER
from mdm_sampling.compare import compare, grid
from mdm_sampling.tasks.grids import is_solution
from mdm_sampling.tasks.split import is_held_out

RECIPE = Path(__file__).parent.parent / "benchmarks" / "embedded_model"


@pytest.fixture(scope="module", autouse=True)
def recipe_on_the_path() -> None:
    sys.path.insert(0, str(RECIPE))


@pytest.fixture(scope="module")
def data() -> ModuleType:
    return importlib.import_module("data")


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    return importlib.import_module("train")


@pytest.fixture(scope="module")
def batches(data: ModuleType) -> Any:
    monkey = pytest.MonkeyPatch()
    monkey.setattr(data, "POOL", 50)
    yield data.Batches(3)
    monkey.undo()


# --- What it can do -----------------------------------------------------------------------------------------------


def test_it_is_small() -> None:
    assert (FOLDER / "model.safetensors").stat().st_size < 8_000_000


@pytest.mark.defect(1)
@pytest.mark.parametrize("cache", ["none", "prefix", "dual"])
@pytest.mark.parametrize("block_size", [20, 10])
def test_it_solves_held_out_puzzles_under_every_cache(cache: str, block_size: int) -> None:
    """The published prefix mode loses half of them or all of them."""
    wanted = grid(["confidence"], caches=[cache], tokens_per_step=[1], block_sizes=[block_size])
    found = compare(mdm.load(), mdm.Sudoku(form="prompt"), wanted, items=60, item_seed=1)
    assert found.summaries[0].accuracy.mean >= 0.9


@needs("a minute")
def test_info_gain_is_surer_than_the_greedy_rules_at_two_positions_a_step() -> None:
    """Items that the documents' tables do not use."""
    wanted = grid(["confidence", "margin", "entropy", "info-gain"], tokens_per_step=[2])
    *greedy, ours = compare(mdm.load(), mdm.Sudoku(6), wanted, items=60, item_seed=1).summaries
    assert ours.accuracy.mean >= max(s.accuracy.mean for s in greedy)
    assert ours.entropy.mean < min(s.entropy.mean for s in greedy)


@pytest.mark.parametrize(("mark", "least"), [("", 18), (" ", 13), ("\n", 13)], ids=repr)
def test_a_space_or_line_break_after_a_prompt_costs_little(mark: str, least: int) -> None:
    sampler = replace(mdm.load(max_new_tokens=20), planner=mdm.Confidence())
    task = mdm.Sudoku(form="prompt")
    items = task.items(20, 2)
    texts = sampler.generate([f"{item.prompt}{mark}" for item in items], batch_size=20).texts
    assert sum(task.grade(item, text).score for item, text in zip(items, texts, strict=True)) >= least


# --- What it was trained on ---------------------------------------------------------------------------------------


def read_cells(data: ModuleType, tokens: torch.Tensor, first: int, size: int, masked: torch.Tensor) -> list[str]:
    """The cells of each row as text, 0 where they are masked or holes."""
    positions = first + torch.tensor([(size + 1) * r + c for r in range(size) for c in range(size)])
    digits = {data.ID[str(d)]: str(d) for d in range(1, size + 1)}
    shown = tokens.masked_fill(masked, -1)[:, positions]
    return ["".join(digits.get(token, "0") for token in row) for row in shown.tolist()]


def test_no_training_row_with_weight_shows_what_a_task_may_ask(data: ModuleType, batches: Any) -> None:
    """Read back from the canvases, for each kind of item as the tasks hold it out."""
    vocabulary = importlib.import_module("vocabulary").VOCABULARY
    seen = dict.fromkeys(("4", "6", "countdown"), 0)
    for step in range(60):
        batch = batches[step]
        used = batch.weight > 0
        tokens, masked = batch.tokens[used], batch.masked[used]
        nothing = torch.zeros_like(masked)
        first = int((tokens[0] == data.ID[data.ANSWER]).nonzero()) + 1
        line_break = (tokens[0, first:] == data.ID["\n"]).nonzero()
        if len(line_break) == 0:
            seen["countdown"] += len(tokens)
            for row in tokens[:, 1 : first - 1].tolist():
                numbers, target = "".join(vocabulary[token] for token in row).strip().split("=")
                assert not is_held_out(f"{','.join(sorted(numbers.split(',')))}={target}")
            continue
        size = int(line_break[0])
        seen[str(size)] += len(tokens)
        solution, visible = (read_cells(data, tokens, first, size, m) for m in (nothing, masked))
        shown = [visible]
        if first > 2:
            given = read_cells(data, tokens, 1, size, nothing)
            both = ["".join(max(pair) for pair in zip(*rows, strict=True)) for rows in zip(given, visible, strict=True)]
            shown += [given, both]
        for keys in [solution] if size == 6 else shown:
            assert not any(is_held_out(key) for key in keys)
        assert all(is_solution((0,) * size**2, list(map(int, grid))) for grid in solution)
    assert min(seen.values()) > 500, seen


@pytest.mark.parametrize("size", [4, 6])
def test_what_the_tasks_ask_is_what_training_left_out(size: int, data: ModuleType) -> None:
    """A training row made of a task's own puzzle and solution weighs nothing."""
    task = mdm.Sudoku(size)  # type: ignore[arg-type]
    from mdm_sampling.tasks.grids import solutions

    for item in task.items(20, 0):
        puzzle = torch.tensor([[int(cell) for cell in item.name]])
        grids = torch.tensor(list(solutions(tuple(puzzle[0].tolist()))))
        out = [bool(data.held_out_grids(grid[None], puzzle, puzzle == 0)) for grid in grids]
        assert all(out) if size == 4 else any(out)


def test_a_shuffled_grid_is_a_grid(data: ModuleType, batches: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    for grids in batches.grids.values():
        shuffled = data.shuffled(grids, generator)
        assert not torch.equal(shuffled, grids)
        assert all(is_solution((0,) * grids.shape[1], grid) for grid in shuffled.tolist())


def test_a_batch_depends_on_its_seed_and_step_alone(data: ModuleType, batches: Any) -> None:
    a, b = batches[7], batches[7]
    assert torch.equal(a.tokens, b.tokens)
    assert torch.equal(a.masked, b.masked)
    assert not all(batches[step].tokens.shape == a.tokens.shape for step in range(8))


# --- How it was trained -------------------------------------------------------------------------------------------


@pytest.fixture
def small(recipe: ModuleType, data: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "TOKENS", 256)
    monkeypatch.setattr(data, "POOL", 5)


def test_training_goes_on_from_its_state(
    recipe: ModuleType, small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off after four steps of six and resumed from the state of step four: the same weights, bit for bit."""
    whole = recipe.train(6, 0, 1e-3, tmp_path / "whole.state", save_every=2)
    loss_of, calls = recipe.loss_of, []

    def cut_off(*arguments: object) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        loss: torch.Tensor = loss_of(*arguments)
        return loss

    monkeypatch.setattr(recipe, "loss_of", cut_off)
    with pytest.raises(KeyboardInterrupt):
        recipe.train(6, 0, 1e-3, tmp_path / "cut.state", save_every=2)
    monkeypatch.setattr(recipe, "loss_of", loss_of)
    resumed = recipe.train(6, 0, 1e-3, tmp_path / "cut.state", save_every=2)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_longer_run_begins_like_a_shorter_one(recipe: ModuleType) -> None:
    rates = {steps: [recipe.share_of_peak(step, steps) for step in range(steps)] for steps in (1000, 4000)}
    assert rates[1000][:700] == rates[4000][:700]
    assert rates[1000][-1] < 0.011
    assert max(rates[1000]) == 1


@needs("a minute")
def test_the_recipe_writes_a_checkpoint_that_loads(tmp_path: Path) -> None:
    command = [sys.executable, RECIPE / "train.py", "--out", tmp_path, "--steps", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert mdm.load(str(tmp_path)).max_new_tokens == 20


@pytest.mark.parametrize("cache", ["none", "prefix", "dual"])
def test_a_batch_of_eight_prompts_gives_the_tokens_of_each_alone_in_float32(cache: str) -> None:
    base = replace(mdm.load(max_new_tokens=20, steps=10), planner=mdm.InfoGain(), cache=mdm.build("caches", cache))
    puzzles = [item.prompt for item in mdm.Sudoku(holes="4-6", form="prompt").items(3, 0)]
    puzzles += [item.prompt for item in mdm.Sudoku(6, "4-6", "prompt").items(2, 0)]
    puzzles += [item.prompt for item in mdm.Countdown().items(3, 0)]
    assert len({len(text) for text in puzzles}) > 2
    together = base.generate(puzzles, list(range(8)), batch_size=8)
    alone = [base.generate(text, seed).sequences[0] for seed, text in enumerate(puzzles)]
    assert together.sequences == alone
