"""A results folder: going on where a comparison was cut off, and what is refused."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from compared import TASK, without_times
from faults import fill_but

import mdm_sampling as mdm
from mdm_sampling.compare import compare, grid
from mdm_sampling.compare.engine import COMPARISON_LINES
from mdm_sampling.folders.store import Store


def opened(folder: Path, manifest: dict[str, Any]) -> Store:
    """A folder as `compare` opens it."""
    return Store(folder, manifest, COMPARISON_LINES)


class Stop(Exception):
    """Stands for a crash."""


def crash_after(rows: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done >= rows:
            raise Stop

    return progress


@pytest.mark.parametrize("tear", [0, 1, 40, "a line"], ids=lambda n: f"{n} torn off")
def test_a_comparison_goes_on_where_it_was_cut_off(base: mdm.Sampler, tear: int | str, tmp_path: Path) -> None:
    """A batch that was not written whole is decoded again as one, so that every line is that of an unbroken run."""
    wanted = grid(["confidence", "info-gain"], tokens_per_step=[2])
    whole = compare(base, TASK, wanted, items=5, batch_size=2, folder=tmp_path / "whole")
    with pytest.raises(Stop):
        compare(base, TASK, wanted, items=5, batch_size=2, folder=tmp_path, progress=crash_after(6))
    file = tmp_path / "results.jsonl"
    kept = file.read_bytes().splitlines(keepends=True)
    assert len(kept) == 7, "batches of 2, 2, 1 and 2"
    torn = len(kept[-1]) if tear == "a line" else int(tear)
    file.write_bytes(file.read_bytes()[: -torn or None])
    kept = kept[:5] if tear else kept
    seen: list[tuple[int, int]] = []
    again = compare(base, TASK, wanted, items=5, batch_size=2, folder=tmp_path, progress=lambda *n: seen.append(n))
    assert seen[0] == (len(kept), 10)
    assert file.read_bytes().splitlines(keepends=True)[: len(kept)] == kept, "done twice"
    assert len(file.read_text().splitlines()) == 10
    assert without_times(again.lines) == without_times(whole.lines)
    assert [line["batch_size"] for line in again.lines] == [line["batch_size"] for line in whole.lines]


def test_a_folder_takes_more_settings_seeds_and_items(base: mdm.Sampler, tmp_path: Path) -> None:
    decoded: list[int] = []

    def count(done: int, total: int) -> None:
        decoded.append(done)

    def rows(**options: Any) -> int:
        decoded.clear()
        planners = options.pop("planners", ["confidence"])
        found = compare(base, TASK, grid(planners, tokens_per_step=[2]), folder=tmp_path, progress=count, **options)
        assert len(found.lines) == decoded[-1]
        return decoded[-1] - decoded[0]

    assert rows(items=3) == 3
    assert rows(items=3) == 0
    assert rows(items=5) == 2
    assert rows(items=5, seeds=[0, 1]) == 5
    assert rows(items=2, planners=["margin", "confidence"]) == 2
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 12


@pytest.mark.parametrize(
    ("task", "options", "word"),
    [
        (mdm.Sudoku(holes="4"), {}, "holes=3-5"),
        (TASK, {"item_seed": 1}, "item_seed 0, not 1"),
        (mdm.Countdown(), {}, "task"),
    ],
)
def test_another_question_is_refused_and_nothing_is_lost(
    base: mdm.Sampler, task: mdm.Task, options: dict[str, Any], word: str, tmp_path: Path
) -> None:
    wanted = grid(["confidence"], tokens_per_step=[2])
    compare(base, TASK, wanted, items=2, folder=tmp_path)
    before = (tmp_path / "results.jsonl").read_bytes()
    with pytest.raises(mdm.SpecError, match=word):
        compare(base, task, wanted, items=2, folder=tmp_path, **options)
    assert (tmp_path / "results.jsonl").read_bytes() == before
    compare(base, TASK, wanted, items=2, folder=tmp_path)


def test_a_folder_is_open_to_one_process_at_a_time(tmp_path: Path) -> None:
    with opened(tmp_path, {}), pytest.raises(mdm.SpecError, match="another process is writing"):
        opened(tmp_path, {})
    with opened(tmp_path, {}):
        pass


@pytest.mark.parametrize("text", ["{\n{}\n", "5\n", "[]\n", '{"item": "a"}\n{}\n'])
@pytest.mark.parametrize("file", ["manifest.json", "results.jsonl"])
def test_a_damaged_folder_is_refused(file: str, text: str, tmp_path: Path) -> None:
    with opened(tmp_path, {"a": 1}):
        pass
    (tmp_path / file).write_text(text)
    for _ in range(2):  # the lock is not left behind
        with pytest.raises(mdm.SpecError, match=f"{file} is damaged"):
            opened(tmp_path, {"a": 1})


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(mdm.SpecError, match="cannot be a results folder"):
        opened(tmp_path / "file" / "folder", {})


def question_file(folder: Path, answer: str, prompt: str = "1") -> str:
    file = folder / "questions.jsonl"
    file.write_text(json.dumps({"prompt": prompt, "answer": answer}) + "\n")
    return str(file)


@pytest.mark.defect(31)
def test_an_item_that_was_edited_is_decoded_anew(base: mdm.Sampler, tmp_path: Path) -> None:
    wanted = grid(["confidence"], tokens_per_step=[4])
    seen = []
    for answer in ("2", "2", "3"):
        task = mdm.JSONLines(question_file(tmp_path, answer), length=4)
        compare(base, task, wanted, folder=tmp_path / "out", progress=lambda *n: seen.append(n))
    assert seen == [(0, 1), (1, 1), (1, 1), (0, 1), (1, 1)]


@pytest.mark.defect(31)
def test_answers_of_other_settings_and_other_files_count_for_nothing(base: mdm.Sampler, tmp_path: Path) -> None:
    wanted = grid(["confidence"], tokens_per_step=[2])
    alone = compare(base, TASK, wanted, items=3)
    compare(base, TASK, grid(["confidence", "random"], tokens_per_step=[4]), items=5, folder=tmp_path)
    (tmp_path / "old.jsonl").write_bytes((tmp_path / "results.jsonl").read_bytes())
    found = compare(base, TASK, wanted, items=3, folder=tmp_path)
    assert without_times(found.lines) == without_times(alone.lines)
    assert [summary.accuracy for summary in found.summaries] == [summary.accuracy for summary in alone.summaries]


def test_other_weights_are_another_question(base: mdm.Sampler, llada_folder: Path, tmp_path: Path) -> None:
    """The same name, other weights: as after a checkpoint was trained further in place."""
    wanted = grid(["confidence"], tokens_per_step=[4])
    compare(base, TASK, wanted, items=1, folder=tmp_path)
    other = mdm.load_backend()
    with torch.no_grad():
        other.model.model.norm.weight.mul_(1.01)  # type: ignore[attr-defined]
    with pytest.raises(mdm.SpecError, match="weights"):
        compare(replace(base, backend=other), TASK, wanted, items=1, folder=tmp_path)
    compare(replace(base, backend=mdm.load_backend()), TASK, wanted, items=1, folder=tmp_path)


def test_what_could_not_be_told_apart_later_is_refused(base: mdm.Sampler, tmp_path: Path) -> None:
    class Nameless(mdm.ScorePlanner):
        def score(self, step: mdm.Step) -> torch.Tensor:
            return step.confidence

    class NamelessCache(mdm.CacheStrategy):
        def span(self, block: mdm.Span, length: int, step: int) -> mdm.Span:
            return mdm.Span(0, length)

    for settings in (grid([Nameless()]), grid(["margin"], caches=[NamelessCache()])):
        with pytest.raises(mdm.SpecError, match="needs a __repr__"):
            compare(base, TASK, settings, items=1, folder=tmp_path)
    with opened(tmp_path / "a", {"a": 1}) as store:
        store.add([dict.fromkeys(("item", "digest", "seed", "planner", "cache", "tokens_per_step", "block_size"))])
    (tmp_path / "a" / "manifest.json").unlink()
    with pytest.raises(mdm.SpecError, match=r"without the manifest\.json"):
        opened(tmp_path / "a", {"a": 1})


def test_longer_bodies_are_another_question(base: mdm.Sampler, tmp_path: Path) -> None:
    """Noise is drawn for the longest body, so results of a call with a longer one are not those of this call."""
    settings = grid(["margin"], tokens_per_step=[2])
    compare(base, Bodies(("1[MASK]",)), settings, folder=tmp_path)
    with pytest.raises(mdm.SpecError, match="longest 2, not 3"):
        compare(base, Bodies(("1[MASK]", "1[MASK:2]")), settings, folder=tmp_path)


def test_any_text_survives_the_folder(tmp_path: Path) -> None:
    """Line ends of Unicode stand inside a line; published readers split there."""
    counts = ("seed", "tokens_per_step", "block_size", "score", "steps", "forwards", "token_forwards", "filled")
    counts += ("sequential_forwards",)
    line = dict.fromkeys(("item", "digest", "planner", "cache", "answer"), "x") | dict.fromkeys(counts, 1)
    line |= {"spec": {}, "machine": {}, "cumulative_entropy": 1.0, "seconds": 1.0, "order": [0]}
    lines = [line | {"text": text} for text in ("a\u2028b", "a\u0085b\x0b", "a\r\nb", '"\\ \u00e9')]
    with opened(tmp_path, {}) as store:
        store.add(lines)
    with opened(tmp_path, {}) as store:
        assert store.lines == [each | {"batch": [0, len(lines)]} for each in lines]


@dataclass(frozen=True)
class Bodies(mdm.Task):
    """Texts with masks; its repr is the same for all of them, as that of a task that reads a file is."""

    texts: tuple[str, ...] = field(repr=False)

    def items(self, count: int | None, seed: int) -> list[mdm.Item]:
        return [mdm.Item(text, "", text) for text in self.texts]

    def grade(self, item: mdm.Item, text: str) -> mdm.Grade:
        return mdm.Grade(text, 1.0)


@dataclass(frozen=True)
class Odd(mdm.Task):
    """Two items, as told."""

    names: tuple[str, str] = ("a", "b")
    score: float = 1.0

    def items(self, count: int | None, seed: int) -> list[mdm.Item]:
        return [mdm.Item(name, "", "1[MASK]") for name in self.names]

    def grade(self, item: mdm.Item, text: str) -> mdm.Grade:
        return mdm.Grade(text, self.score)


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        (Odd(("a", "a")), {}, "2 items the name 'a'"),
        (Odd(score=1.5), {}, "a score of 1.5, expected 0 to 1"),
        (Odd(score=math.nan), {}, "a score of nan"),
        (Odd(), {"seeds": []}, "a setting and a seed"),
        (Odd(), {"batch_size": 0}, "at least 1"),
        (Odd(), {"items": -1}, "at least 1"),
    ],
)
def test_bad_arguments_are_refused(base: mdm.Sampler, task: mdm.Task, options: dict[str, Any], message: str) -> None:
    with pytest.raises(mdm.SpecError, match=message):
        compare(base, task, grid(["confidence"]), **options)


def test_a_seed_that_is_given_twice_counts_once(base: mdm.Sampler) -> None:
    assert len(compare(base, Odd(), grid(["confidence"], tokens_per_step=[1]), seeds=[0, 0]).lines) == 2


# --- What the folder holds, and rows and memory that fail ---------------------------------------------------------


def test_a_line_has_the_fields_that_folders_have_always_had(base: mdm.Sampler, tmp_path: Path) -> None:
    compare(base, TASK, grid(["confidence"], tokens_per_step=[4]), items=1, folder=tmp_path)
    (line,) = lines_of(tmp_path)
    assert " ".join(line) == (
        "item digest seed row_seed planner cache tokens_per_step block_size score answer text filled steps "
        "sequential_forwards forwards token_forwards cumulative_entropy seconds batch_size order spec machine batch"
    )


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_a_batch_that_does_not_fit_is_halved(
    base: mdm.Sampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What did not fit under one setting may fit under another, which is tried."""
    wanted = grid(["confidence", "margin"], tokens_per_step=[4])
    whole = compare(base, TASK, wanted, items=8, batch_size=2)
    refused = []

    def fault(rows: Any) -> None:
        if len(rows) > 2:
            refused.append(len(rows))
            raise torch.OutOfMemoryError("CUDA out of memory")

    sizes = fill_but(monkeypatch, fault)
    found = compare(base, TASK, wanted, items=8, batch_size="auto", folder=tmp_path)
    assert refused == [8, 4] * 2
    assert sizes == [1, *[2] * 8], "one row to warm up, then halves"
    assert without_times(found.lines) == without_times(whole.lines)
    assert all(line["batch_size"] == 2 for line in lines_of(tmp_path))
    with pytest.raises(torch.OutOfMemoryError):
        compare(base, TASK, wanted, items=8, batch_size=4)


def test_a_row_that_cannot_be_decoded_stops_the_comparison_and_the_others_are_kept(
    base: mdm.Sampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no line, so that the next call decodes it."""
    wanted = grid(["confidence", "margin"], tokens_per_step=[4])
    item = TASK.items(6, 0)[4]
    bad = base.masked_rows([item.body or ""])[0][1]

    def fault(rows: Any) -> None:
        if any(list(body) == list(bad) for _, body in rows):
            raise mdm.PredictionError("the model returned logits that are not finite")

    with monkeypatch.context() as patch:
        fill_but(patch, fault)
        with pytest.raises(
            mdm.MDMError, match=f"item '{item.name}' could not be decoded with confidence: the model returned logits"
        ):
            compare(base, TASK, wanted, items=6, batch_size=3, folder=tmp_path)
    kept = lines_of(tmp_path)
    assert [line["item"] for line in kept] == [each.name for each in TASK.items(6, 0) if each.name != item.name]
    assert len(compare(base, TASK, wanted, items=6, batch_size=3, folder=tmp_path).lines) == 12
    assert lines_of(tmp_path)[:5] == kept


# --- Tasks whose own code fails ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fails(Bodies):
    """Grades the first item and does as told with the second."""

    do: Any = field(default=None, repr=False)

    def grade(self, item: mdm.Item, text: str) -> Any:
        return mdm.Grade(text, True) if item.name == self.texts[0] else self.do(item)  # type: ignore[arg-type]


def raising(error: BaseException) -> Callable[[Any], Any]:
    def do(_: Any) -> Any:
        raise error

    return do


@pytest.mark.parametrize(
    ("do", "words"),
    [
        (raising(RuntimeError("boom")), "grading item '12.MASK.', raised RuntimeError: boom"),
        (raising(SystemExit(0)), "grading item '12.MASK.', raised SystemExit: 0"),
        (raising(MemoryError()), "grading item '12.MASK.', raised MemoryError"),
        (raising(GeneratorExit()), "grading item '12.MASK.', raised GeneratorExit"),
        (lambda item: 1 / 0, "grading item '12.MASK.', raised ZeroDivisionError"),
        (lambda item: 1.0, "gave item '12.MASK.' 1.0, expected a grade"),
        (lambda item: mdm.Grade("", "x"), "a score of x, expected 0 to 1, for item '12.MASK.'"),
        (lambda item: mdm.Grade("", 10**400), "a score of 1000"),
        (lambda item: mdm.Grade("\ud800", 1.0), "expected a Unicode text"),
        (lambda item: mdm.Grade(5, 1.0), "expected a Unicode text"),
    ],
)
def test_whatever_a_task_raises_names_it_and_the_item_and_the_answers_are_kept(
    do: Any, words: str, base: mdm.Sampler, tmp_path: Path
) -> None:
    settings = grid(["confidence"], tokens_per_step=[1])
    with pytest.raises(mdm.MDMError, match=f"(?s)task .*Fails.*{words}"):
        compare(base, Fails(("1[MASK]", "12[MASK]"), do), settings, folder=tmp_path)
    kept = [json.loads(line) for line in (tmp_path / "ungraded.jsonl").read_text().splitlines()]
    assert [line["item"] for line in kept] == ["1[MASK]", "12[MASK]"]
    assert all(line["text"] for line in kept)
    right = Fails(("1[MASK]", "12[MASK]"), lambda item: mdm.Grade("x", 0.0))
    assert [line["score"] for line in compare(base, right, settings, folder=tmp_path).lines] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("items", "words"),
    [
        (raising(RuntimeError("boom")), "making its items, raised RuntimeError: boom"),
        (raising(SystemExit(0)), "making its items, raised SystemExit"),
        (lambda _: None, "making its items, raised TypeError"),
        (lambda _: ["x"], "gave 'x', expected items"),
        (lambda _: [mdm.Item("\ud800", "1")], "expected a Unicode text"),
        (lambda _: [mdm.Item(5, "1")], "expected a Unicode text"),  # type: ignore[arg-type]
    ],
)
def test_items_that_cannot_be_made_are_told_with_their_task(items: Any, words: str, base: mdm.Sampler) -> None:
    @dataclass(frozen=True)
    class Broken(Bodies):
        def items(self, count: int | None, seed: int) -> Any:
            return items(self)

    with pytest.raises(mdm.MDMError, match=words):
        compare(base, Broken(()), grid(["confidence"]))


def test_too_many_items_are_refused_before_any_is_made(base: mdm.Sampler) -> None:
    with pytest.raises(mdm.SpecError, match="at most 100,000 items"):
        compare(base, Bodies(()), grid(["confidence"]), items=2_000_000_000)
