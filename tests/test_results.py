"""`mdm-sampling results`: comparisons and jobs in one table, filtered, exported and merged."""

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from compared import TASK

import mdm_sampling as mdm
from mdm_sampling.cli import main
from mdm_sampling.compare import compare, grid
from mdm_sampling.jobs import Asked, Job
from mdm_sampling.results.folders import filtered, merge, read_folder, summary


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["results", *map(str, arguments)])


@pytest.fixture(scope="module")
def place(base: mdm.Sampler, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two comparisons of one question with other settings, one of another question, and a job with a bad row."""
    folder = tmp_path_factory.mktemp("results")
    for name, planners, items in (("a", ["confidence", "margin"], 4), ("b", ["margin", "entropy"], 6)):
        compare(base, TASK, grid(planners, tokens_per_step=[2]), items=items, folder=folder / name)
    compare(base, TASK, grid(["confidence"], tokens_per_step=[2]), items=2, item_seed=5, folder=folder / "other")
    asked = [Asked(0, "x", "1... ..3. .1.. ...4"), Asked(1, "y", "..2. 4... ...1 .3..")]
    sampler = mdm.Sampler(base.backend, planner=mdm.Confidence(), schedule=mdm.Constant(2), gen_length=20)
    Job(sampler, asked, folder / "out.jsonl").run()
    return folder


def test_comparisons_and_jobs_stand_in_one_table(place: Path) -> None:
    rows = [row for name in ("a", "out.jsonl.job") for row in read_folder(place / name).rows]
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
    shown = run(place / "a", place / "out.jsonl.job")
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.count("\n") == 4
    assert "row-forwards" in shown.stdout


def test_conditions_on_one_column_are_alternatives_and_on_several_all_hold(place: Path) -> None:
    rows = read_folder(place / "b").rows
    item = rows[0]["item"]
    assert len(filtered(rows, [("planner", "margin")])) == 6
    assert len(filtered(rows, [("planner", "margin"), ("planner", "entropy")])) == 12
    assert len(filtered(rows, [("planner", "margin"), ("item", item)])) == 1
    assert len(filtered(rows, [("block_length", "none")])) == 12
    with pytest.raises(mdm.SpecError, match="there is no column 'planer'"):
        filtered(rows, [("planer", "margin")])


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_an_export_holds_every_row(place: Path, form: str, tmp_path: Path) -> None:
    file = tmp_path / f"rows.{form}"
    result = run(place / "a", place / "out.jsonl.job", "--export", file, "--where", "planner=confidence")
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
        [*read_folder(place / "a").rows, *read_folder(place / "out.jsonl.job").rows], [("planner", "confidence")]
    )
    assert [(row["item"], row["text"]) for row in rows] == [(row["item"], row["text"]) for row in expected]
    assert [float(row["cumulative_entropy"]) for row in rows] == [row["cumulative_entropy"] for row in expected]


def test_merged_folders_hold_each_row_once_and_go_on(base: mdm.Sampler, place: Path, tmp_path: Path) -> None:
    assert merge([read_folder(place / "a"), read_folder(place / "b")], tmp_path / "both") == 4 + 6 + 6
    seen = []
    settings = grid(["confidence", "margin", "entropy"], tokens_per_step=[2])
    compare(base, TASK, settings, items=6, folder=tmp_path / "both", progress=lambda *n: seen.append(n))
    assert seen[0] == (16, 18)
    again = run(place / "a", place / "b", "--merge", tmp_path / "both")
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
    place: Path, arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    result = run(*arguments)
    assert result.exit_code in (1, 2)
    assert isinstance(result.exception, SystemExit), result.exception
    assert words in result.output
    assert not (place / "new").exists()
    assert not (place / "x.xlsx").exists()


def test_a_line_that_is_being_written_is_left_out_and_a_damaged_folder_told(place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    (folder / "compare.json").write_bytes((place / "a" / "compare.json").read_bytes())
    lines = (place / "a" / "results.jsonl").read_bytes()
    (folder / "results.jsonl").write_bytes(lines[:-20])
    assert len(read_folder(folder).lines) == 7
    (folder / "results.jsonl").write_bytes(b"{\n" + lines)
    with pytest.raises(mdm.SpecError, match="is damaged"):
        read_folder(folder)
