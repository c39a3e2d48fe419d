"""`mdm-sampling results`: comparisons and jobs in one table, filtered, exported and merged."""

import csv
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from compared import TASK

import mdm_sampling as mdm
from mdm_sampling.cli import main
from mdm_sampling.compare import compare, grid
from mdm_sampling.folders.read import filtered, merge, read_folder, summary
from mdm_sampling.jobs import InputRow, Job


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["results", *map(str, arguments)])


@pytest.fixture(scope="module")
def examples(base: mdm.Sampler, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two comparisons of one question with other settings, one of another question, and a job with a bad row."""
    folder = tmp_path_factory.mktemp("results")
    for name, planners, items in (("a", ["confidence", "margin"], 4), ("b", ["margin", "entropy"], 6)):
        compare(base, TASK, grid(planners, tokens_per_step=[2]), items=items, folder=folder / name)
    compare(base, TASK, grid(["confidence"], tokens_per_step=[2]), items=2, item_seed=5, folder=folder / "other")
    asked = [InputRow(0, "x", "1... ..3. .1.. ...4"), InputRow(1, "y", "..2. 4... ...1 .3..")]
    sampler = mdm.Sampler(base.backend, planner=mdm.Confidence(), schedule=mdm.Constant(2), max_new_tokens=20)
    Job(sampler, asked, folder / "out.jsonl").run()
    return folder


def test_comparisons_and_jobs_stand_in_one_table(examples: Path) -> None:
    rows = [row for name in ("a", "out.jsonl.job") for row in read_folder(examples / name).rows]
    assert {(r["planner"], r["cache"], r["tokens_per_step"]) for r in rows} == {
        ("confidence", "none", 2),
        ("margin", "none", 2),
        ("confidence", "prefix", 2),
    }
    lines = summary(rows)
    assert [line["rows"] for line in lines] == [4, 4, 2]
    scores = [r["score"] for r in rows if r["planner"] == "margin"]
    assert lines[1]["score"] == sum(scores) / 4
    assert lines[2]["score"] is None
    shown = run(examples / "a", examples / "out.jsonl.job")
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.count("\n") == 4
    assert "row-forwards" in shown.stdout
    assert "10 " in shown.stdout
    assert "10.0" not in shown.stdout, "steps are counted"


def test_conditions_on_one_column_are_alternatives_and_on_several_all_hold(examples: Path) -> None:
    rows = read_folder(examples / "b").rows
    item = rows[0]["item"]
    assert len(filtered(rows, [("planner", "margin")])) == 6
    assert len(filtered(rows, [("planner", "margin"), ("planner", "entropy")])) == 12
    assert len(filtered(rows, [("planner", "margin"), ("item", item)])) == 1
    assert len(filtered(rows, [("block_size", "none")])) == 12
    with pytest.raises(mdm.SpecError, match="there is no column 'planer'"):
        filtered(rows, [("planer", "margin")])


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_an_export_holds_every_row(examples: Path, form: str, tmp_path: Path) -> None:
    file = tmp_path / f"rows.{form}"
    result = run(examples / "a", examples / "out.jsonl.job", "--export", file, "--where", "planner=confidence")
    assert result.exit_code == 0, result.output
    assert f"{file}: 6 rows" in result.stdout
    if form == "csv":
        with open(file, newline="") as lines:
            rows = list(csv.DictReader(lines))
    elif form == "jsonl":
        rows = [json.loads(line) for line in file.read_text().splitlines()]
    else:
        import pyarrow.parquet

        rows = pyarrow.parquet.read_table(file).to_pylist()
    expected = filtered(
        [*read_folder(examples / "a").rows, *read_folder(examples / "out.jsonl.job").rows], [("planner", "confidence")]
    )
    assert [(row["item"], row["text"]) for row in rows] == [(row["item"], row["text"]) for row in expected]
    assert [float(row["cumulative_entropy"]) for row in rows] == [row["cumulative_entropy"] for row in expected]


def test_merged_folders_hold_each_row_once_and_go_on(base: mdm.Sampler, examples: Path, tmp_path: Path) -> None:
    assert merge([read_folder(examples / "a"), read_folder(examples / "b")], tmp_path / "both") == 4 + 6 + 6
    seen = []
    settings = grid(["confidence", "margin", "entropy"], tokens_per_step=[2])
    compare(base, TASK, settings, items=6, folder=tmp_path / "both", progress=lambda *n: seen.append(n))
    assert seen[0] == (16, 18)
    again = run(examples / "a", examples / "b", "--merge", tmp_path / "both")
    assert again.exit_code == 0, again.output
    assert "both: 18 rows" in again.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a", "other", "--merge", "new"], "cannot be merged, they differ in: item_seed"),
        (["a", "out.jsonl.job", "--merge", "new"], "cannot be merged, they differ in"),
        (["a", "--merge", "new", "--where", "planner=x"], "--where would be ignored by --merge"),
        (["a", "--where", "planner"], "must be column=value"),
        (["a", "--where", "planer=x"], "there is no column 'planer'"),
        (["a", "--export", "x.xlsx"], "an export ends in .csv, .jsonl, .parquet"),
        (["."], "holds no results"),
        (["missing"], "does not exist"),
        ([], "Missing argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_shown_is_said_in_a_sentence(
    examples: Path, arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(examples)
    result = run(*arguments)
    assert result.exit_code in (1, 2)
    assert isinstance(result.exception, SystemExit), result.exception
    assert words in result.output
    assert not (examples / "new").exists()
    assert not (examples / "x.xlsx").exists()


def test_a_line_that_is_being_written_is_left_out_and_a_damaged_folder_told(examples: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in ("manifest.json", "settings.json"):
        (folder / name).write_bytes((examples / "a" / name).read_bytes())
    lines = (examples / "a" / "results.jsonl").read_bytes()
    (folder / "results.jsonl").write_bytes(lines[:-20])
    assert len(read_folder(folder).lines) == 4, "the last batch is not whole"
    (folder / "results.jsonl").write_bytes(b"{\n" + lines)
    with pytest.raises(mdm.SpecError, match="is damaged"):
        read_folder(folder)


def test_seconds_a_row_are_those_of_its_batch_over_its_rows(examples: Path) -> None:
    """Of a comparison and of a job alike, so that costs can be computed from them."""
    for name in ("a", "out.jsonl.job"):
        folder = read_folder(examples / name)
        for row, line in zip(folder.rows, folder.lines, strict=True):
            assert row["batch_seconds"] == pytest.approx(row["seconds"] * line["batch_size"])
    job = read_folder(examples / "out.jsonl.job")
    assert [row["batch_seconds"] for row in job.rows] == [line["batch_seconds"] for line in job.lines]
    assert job.lines[0]["batch_size"] == 2
    shown = run(examples / "out.jsonl.job").stdout
    assert "s/row" in shown
    assert "s/batch" in shown


@pytest.mark.parametrize(
    ("schedule", "tokens"),
    [("constant", 1), ("constant:3", 3), ("constant:positions=4", 4), ("uniform", None), ("not-installed:x=1", None)],
)
def test_tokens_a_step_are_those_of_the_jobs_schedule(
    schedule: str, tokens: int | None, examples: Path, tmp_path: Path
) -> None:
    folder = damaged(examples / "out.jsonl.job", tmp_path / "copy", lambda line: line["spec"].update(schedule=schedule))
    assert {row["tokens_per_step"] for row in read_folder(folder).rows} == {tokens}


def damaged(source: Path, target: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of a folder whose first line is changed, or the spec of all, with whatever JSON can hold."""
    shutil.copytree(source, target)
    first, *others = (target / "results.jsonl").read_text().splitlines(keepends=True)
    shared, line = json.loads((target / "settings.json").read_text()), json.loads(first)
    digest = line["spec"]
    whole = line | {"spec": shared[digest]}
    change(whole)
    if isinstance(whole["spec"], dict) and whole["spec"]:
        (target / "settings.json").write_text(json.dumps(shared | {digest: whole.pop("spec")}))
        whole["spec"] = digest
    (target / "results.jsonl").write_text("".join((json.dumps(whole) + "\n", *others)))
    return target


HUGE = 10**400
BOTH = [
    ("steps", HUGE), ("steps", -1), ("steps", "x"), ("cumulative_entropy", HUGE), ("cumulative_entropy", math.nan),
    ("seconds", HUGE), ("seconds", -1.0), ("text", "\ud800"), ("item", "\ud800"), ("item", 5), ("seed", HUGE),
    ("seed", True), ("token_forwards", 2**70), ("planner", [1]), ("cache", {}), ("block_size", {}),
    ("tokens_per_step", "2"), ("answer", ["x"]), ("score", "abc"), ("score", 5), ("machine", None), ("machine", [1]),
    ("machine", {"cpu": [1]}), ("batch_size", 0), ("spec", None), ("spec", []),
]  # fmt: skip
SPECS = [
    ("planner", [1]), ("cache", {}), ("schedule", "constant:positions=x"), ("schedule", "constant:0"), ("schedule", 5),
    ("block_size", {}), ("processors", "ban"), ("max_new_tokens", HUGE), ("backend", 5), ("eos", None),
]  # fmt: skip


@pytest.mark.parametrize("name", ["a", "out.jsonl.job"])
@pytest.mark.parametrize(
    ("inside", "field", "value"),
    [*((False, *each) for each in BOTH), *((True, *each) for each in SPECS)],
    ids=lambda value: f"{value!r:.20}",
)
def test_a_damaged_line_is_told_and_no_traceback(
    name: str, inside: bool, field: str, value: Any, examples: Path, tmp_path: Path
) -> None:
    def change(line: dict[str, Any]) -> None:
        (line["spec"] if inside else line)[field] = value

    folder = damaged(examples / name, tmp_path / "copy", change)
    done = run(folder)
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == 1
    assert f"Error: {folder} is damaged (" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "change", [{"order": []}, {"order": [-5]}, {"order": "x"}, {"filled": -1}, {"score": math.inf}]
)
def test_a_comparison_does_not_go_on_from_a_damaged_line(
    change: dict[str, Any], base: mdm.Sampler, examples: Path, tmp_path: Path
) -> None:
    folder = damaged(examples / "a", tmp_path / "copy", lambda line: line.update(change))
    with pytest.raises(mdm.SpecError, match="is damaged"):
        compare(base, TASK, grid(["confidence"], tokens_per_step=[2]), items=4, folder=folder)


@pytest.mark.parametrize("text", ["[" * 100_000, "5", '{"a": ' + "9" * 400 + "}", '{"a": "\\ud800"}', "\udcff"])
@pytest.mark.parametrize("file", ["manifest.json", "settings.json", "results.jsonl"])
def test_a_damaged_file_is_told_and_no_traceback(file: str, text: str, examples: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(examples / "a", folder)
    (folder / file).write_bytes((text + "\n").encode(errors="surrogateescape"))
    done = run(folder)
    assert isinstance(done.exception, SystemExit), done.exception
    assert (done.exit_code, "is damaged (" in done.stderr) == (1, True)
