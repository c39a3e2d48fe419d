"""Jobs: rows in, rows out in their order, and nothing lost: kills, torn writes, bad rows, full memory, one process."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from faults import fill_but
from hypothesis import given, settings
from hypothesis import strategies as st
from interrupts import interruptible, wait_for_lines

import mdm_sampling as mdm
from mdm_sampling.canvas import Row
from mdm_sampling.cli import main
from mdm_sampling.compare import compare, grid
from mdm_sampling.folders.lines import Line, whole_batches
from mdm_sampling.folders.read import export, read_folder
from mdm_sampling.jobs import InputRow, Job, read_rows
from mdm_sampling.jobs.batches import BatchSize, EncodedRow, padded_positions, plan

PUZZLES = [item.prompt for item in mdm.Sudoku(size=4, form="prompt").items(12, 0)]
MIXED = [*PUZZLES[:5], "1... ..3.", "12+3", *PUZZLES[5:8]]


@pytest.fixture(scope="module")
def sampler() -> mdm.Sampler:
    return mdm.Sampler(mdm.load_backend(), planner=mdm.InfoGain(candidates=3), max_new_tokens=20, steps=10)


def write_jsonl(file: Path, prompts: Sequence[Any]) -> Path:
    file.write_text("".join(json.dumps({"id": f"row {i}", "prompt": p}) + "\n" for i, p in enumerate(prompts)))
    return file


def output_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().split("\n")[:-1]]


def job_of(sampler: mdm.Sampler, folder: Path, prompts: Sequence[Any] = MIXED, **options: Any) -> Job:
    rows = read_rows(write_jsonl(folder / "in.jsonl", prompts))
    return Job(sampler, rows, folder / "out.jsonl", **({"batch_size": 3} | options))


class Stop(Exception):
    """Stands for a crash."""


def crash_after(rows: int) -> Any:
    def progress(done: int, total: int) -> None:
        if done >= rows:
            raise Stop

    return progress


# --- What comes out -----------------------------------------------------------------------------------------------


def test_the_output_has_the_rows_in_their_order_and_each_can_be_made_again(
    sampler: mdm.Sampler, tmp_path: Path
) -> None:
    drawn = replace(sampler, token_sampler=mdm.GumbelMax(temperature=1.0))
    outcome = job_of(drawn, tmp_path).run()
    rows = output_of(outcome.output)
    assert (outcome.rows, outcome.errors, outcome.before) == (len(MIXED), 0, 0)
    assert [(row["row"], row["id"]) for row in rows] == [(i, f"row {i}") for i in range(len(MIXED))]
    assert len({row["seed"] for row in rows}) == len(rows)
    for row, prompt in zip(rows, MIXED, strict=True):
        again = mdm.from_spec(row["spec"]).generate(prompt, seed=row["seed"])
        assert (again.texts[0], again.sequences[0]) == (row["text"], row["tokens"])
        assert row["cumulative_entropy"] == pytest.approx(again.rows[0].cumulative_entropy, abs=1e-4)


def test_the_texts_do_not_depend_on_the_batches(sampler: mdm.Sampler, tmp_path: Path) -> None:
    texts = []
    for i, options in enumerate([{"batch_size": 1}, {"batch_size": 4}, {"batch_size": "auto"}, {"batch_tokens": 90}]):
        (tmp_path / str(i)).mkdir()
        texts.append([row["text"] for row in output_of(job_of(sampler, tmp_path / str(i), **options).run().output)])
    assert all(found == texts[0] for found in texts)


def test_texts_with_masks_are_filled(sampler: mdm.Sampler, tmp_path: Path) -> None:
    text = "1__4\n__1_\n_1__\n___1"
    job_of(sampler, tmp_path, [text, [{"role": "user", "content": text}]], infill=True).run()
    first, second = output_of(tmp_path / "out.jsonl")
    assert first["text"] == sampler.infill(text, seed=first["seed"]).texts[0]
    assert second["error"] == "a text with masks is needed, not messages"


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_other_formats_of_input_and_output_hold_the_same(sampler: mdm.Sampler, form: str, tmp_path: Path) -> None:
    job_of(sampler, tmp_path).run()
    expected = output_of(tmp_path / "out.jsonl")
    file = tmp_path / f"in.{form}"
    records = [{"id": f"row {i}", "prompt": prompt} for i, prompt in enumerate(MIXED)]
    if form == "csv":
        with open(file, "w", newline="") as lines:
            writer = csv.DictWriter(lines, ["id", "prompt"])
            writer.writeheader()
            writer.writerows(records)
    else:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), file)
    output = tmp_path / "again.jsonl"
    Job(sampler, read_rows(file), output, batch_size=3).run()
    assert output.read_bytes() == (tmp_path / "out.jsonl").read_bytes()
    table = tmp_path / "out.parquet"
    Job(sampler, read_rows(file), table, tmp_path / "again.jsonl.job", batch_size=3).run()
    import pyarrow.parquet

    found = pyarrow.parquet.read_table(table).to_pylist()
    assert [row | {"spec": json.loads(row["spec"])} for row in found] == expected


# --- The input ----------------------------------------------------------------------------------------------------


def test_bad_rows_are_recorded_with_their_error_and_the_others_are_decoded(
    sampler: mdm.Sampler, tmp_path: Path
) -> None:
    file = tmp_path / "in.jsonl"
    good = json.dumps({"prompt": PUZZLES[0]})
    lines = [good, "nonsense", '{"prompt": 5}', "[1]", '{"id": 7, "other": 1}', '{"prompt": "é"}', '{"prompt": ""}', ""]
    lines += [json.dumps({"prompt": "1 " * 300}), json.dumps({"prompt": [{"role": "user"}]}), good]
    file.write_text("\n".join(lines))
    outcome = Job(sampler, read_rows(file), tmp_path / "out.jsonl").run()
    rows = output_of(outcome.output)
    assert (outcome.rows, outcome.errors) == (10, 8)
    assert [row["error"] is None for row in rows] == [True, *[False] * 8, True]
    assert rows[0]["text"] == rows[-1]["text"] == sampler.generate(PUZZLES[0]).texts[0]
    words = ["line 2 is not valid JSON", "neither a text nor", "line 4 holds no JSON object", "there is no 'prompt'"]
    words += ["does not know 'é'", "neither a text nor", "exceed the model's context of", "neither a text nor"]
    for row, word in zip(rows[1:-1], words, strict=True):
        assert word in row["error"]
        assert row["text"] is None
    assert rows[4]["id"] == "7"


@pytest.mark.parametrize(
    ("name", "content", "options", "words"),
    [
        ("in.txt", "x", {}, "an input ends in .jsonl, .csv, .parquet"),
        ("in.jsonl", "", {}, "holds no rows"),
        ("in.jsonl", "x\ny", {}, "holds no readable row: line 1 is not valid JSON"),
        ("in.jsonl", '{"a": 1}', {}, "has no column prompt or messages or text or question, it has a"),
        ("in.csv", b"a,b\n\xff,\xfe", {}, "has no column prompt or messages"),
        ("in.parquet", "x", {}, "is not a Parquet file"),
    ],
)
def test_an_input_that_cannot_be_read_is_refused(
    name: str, content: str | bytes, options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(mdm.SpecError, match=words):
        read_rows(tmp_path / name, **options)


def test_columns_and_ids_can_be_named(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text('{"q": "a", "name": "x", "prompt": "b"}\n{"q": "c", "prompt": "d"}\n')
    assert read_rows(file) == [InputRow(0, "0", "b"), InputRow(1, "1", "d")]
    first, second = read_rows(file, "q", "name")
    assert first == InputRow(0, "x", "a")
    assert second == InputRow(1, "1", None, "there is no 'name' to name the row by")


KEPT = [
    {"level": 1, "tags": ["a"], "note": None, "mixed": 1, "part": 0.5, "large": 2**70},
    {"level": 2, "tags": [], "note": "é", "mixed": "x", "part": 2, "large": 0.5},
    {"level": 3, "note": "b", "mixed": {"y": True}, "part": 1, "large": 2**60},
]


def with_columns(file: Path) -> Path:
    rows = [{"id": f"row {i}", "prompt": MIXED[i], **kept} for i, kept in enumerate(KEPT)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_columns_of_the_input_are_kept(sampler: mdm.Sampler, tmp_path: Path) -> None:
    file, output = with_columns(tmp_path / "in.jsonl"), tmp_path / "out.jsonl"
    Job(sampler, read_rows(file), output).run()
    plain = output_of(output)
    names = list(KEPT[0])
    kept = read_rows(file, keep_columns=names)
    assert Job(sampler, kept, output).run().before == len(KEPT)  # columns are not a reason to decode anew
    expected = [{name: row.get(name) for name in names} for row in KEPT]
    assert output_of(output) == [row | columns for row, columns in zip(plain, expected, strict=True)]
    assert list(output_of(output)[0])[:4] == ["row", "id", "level", "tags"]

    import pyarrow.parquet

    table = tmp_path / "out.parquet"
    Job(sampler, kept, table, tmp_path / "out.jsonl.job").run()
    found = pyarrow.parquet.read_table(table)
    types = [str(found.schema.field(name).type) for name in names]
    assert types == ["int64", "string", "string", "string", "double", "string"]
    assert found["level"].to_pylist() == [1, 2, 3]
    assert found["tags"].to_pylist() == ['["a"]', "[]", None]
    assert found["note"].to_pylist() == [None, "é", "b"]
    assert found["mixed"].to_pylist() == ["1", '"x"', '{"y": true}']
    assert found["part"].to_pylist() == [0.5, 2, 1]
    assert found["large"].to_pylist() == [str(2**70), "0.5", str(2**60)]


def test_rows_of_two_files_keep_their_own_columns(sampler: mdm.Sampler, tmp_path: Path) -> None:
    """Their numbers are the same, and their ids."""
    rows = []
    for level, prompt in enumerate(MIXED[:2]):
        (tmp_path / "in.jsonl").write_text(json.dumps({"prompt": prompt, "level": level}))
        rows += read_rows(tmp_path / "in.jsonl", keep_columns=["level"])
    Job(sampler, rows, tmp_path / "out.jsonl").run()
    texts = [sampler.generate(prompt).texts[0] for prompt in MIXED[:2]]
    assert [(row["level"], row["text"]) for row in output_of(tmp_path / "out.jsonl")] == list(enumerate(texts))


def test_columns_of_csv_and_parquet_are_kept(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("prompt,level,when\na,1,\nb,2,now\n")
    rows = read_rows(tmp_path / "in.csv", keep_columns=["level", "when"])
    assert [row.kept for row in rows] == [{"level": "1", "when": ""}, {"level": "2", "when": "now"}]
    import pyarrow.parquet

    days = [{"prompt": "a", "when": date(2026, 1, 2), "parts": {"x": 1, "y": None}}, {"prompt": "b", "when": None}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(days), tmp_path / "in.parquet")
    rows = read_rows(tmp_path / "in.parquet", keep_columns=["when", "parts"])
    assert [row.kept for row in rows] == [{"when": "2026-01-02", "parts": {"x": 1}}, {"when": None, "parts": None}]


def test_a_column_that_cannot_be_kept_is_refused_and_a_bad_value_makes_a_bad_row(
    sampler: mdm.Sampler, tmp_path: Path
) -> None:
    file = with_columns(tmp_path / "in.jsonl")
    with pytest.raises(mdm.SpecError, match="has no column 'x', it has id, prompt, level"):
        read_rows(file, keep_columns=["level", "x"])
    with pytest.raises(mdm.SpecError, match="'id' cannot be kept: the output has one of that name"):
        Job(sampler, read_rows(file, keep_columns=["id"]), tmp_path / "out.jsonl").run()
    bad = [r'{"prompt": "1", "level": "\ud800"}', '{"prompt": "1", "level": ' + "[" * 500 + "]" * 500 + "}", "nonsense"]
    file.write_text("\n".join([json.dumps({"prompt": PUZZLES[0], "level": 5}), *bad]))
    Job(sampler, read_rows(file, keep_columns=["level"]), tmp_path / "out.jsonl").run()
    rows = output_of(tmp_path / "out.jsonl")
    assert [row["level"] for row in rows] == [5, None, rows[2]["level"], None]
    assert "'level' holds what is not Unicode text" in rows[1]["error"]
    assert "is not valid JSON" in rows[3]["error"]


def test_the_command_keeps_columns(tmp_path: Path) -> None:
    file = with_columns(tmp_path / "in.jsonl")
    given = ("--input", file, "--output", tmp_path / "out.jsonl", "--steps", "10", "--keep-columns")
    result = run(*given, "level, note", "--keep-columns", "part,level")
    assert result.exit_code == 0, result.output
    assert list(output_of(tmp_path / "out.jsonl")[0])[1:6] == ["id", "level", "note", "part", "text"]
    assert "'text' cannot be kept" in run(*given, "text").stderr
    assert "has no column 'levle'" in run(*given, "levle").stderr


# --- Nothing is lost ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tear", [0, 1, 500], ids=lambda n: f"{n} bytes torn off")
def test_a_job_goes_on_where_it_was_cut_off(sampler: mdm.Sampler, tear: int, tmp_path: Path) -> None:
    """Without decoding a finished row again, and with the same bytes as if nothing had happened."""
    (tmp_path / "whole").mkdir()
    whole = job_of(sampler, tmp_path / "whole").run()
    with pytest.raises(Stop):
        job_of(sampler, tmp_path).run(crash_after(5))
    assert not (tmp_path / "out.jsonl").exists()
    journal = tmp_path / "out.jsonl.job" / "results.jsonl"
    kept = journal.read_bytes()
    assert kept.count(b"\n") == 6
    journal.write_bytes(kept[: -tear or None])
    seen: list[tuple[int, int]] = []
    outcome = job_of(sampler, tmp_path).run(lambda *n: seen.append(n))
    assert outcome.before == seen[0][0] == (3 if tear else 6)
    assert journal.read_bytes().startswith(b"".join(kept.splitlines(keepends=True)[: outcome.before]))
    assert outcome.output.read_bytes() == whole.output.read_bytes()
    again = job_of(sampler, tmp_path).run(lambda *n: seen.append(n))
    assert (again.before, seen[-1]) == (len(MIXED), (len(MIXED), len(MIXED)))
    assert again.output.read_bytes() == whole.output.read_bytes()


def test_300_rows_killed_20_times_end_as_if_nothing_had_happened(tmp_path: Path) -> None:
    prompts = [item.prompt for item in mdm.Sudoku(size=4, form="prompt").items(300, 1)]
    file = write_jsonl(tmp_path / "in.jsonl", prompts)
    script = Path(__file__).parent / "helpers" / "killing.py"

    command = [sys.executable, script, file, tmp_path / "whole.jsonl", tmp_path / "killed.jsonl", "20"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    killed = json.loads(done.stdout)
    assert len(killed["held"]) == 20, "a child finished before it was killed; make the job slower"
    assert killed["held"] == sorted(killed["held"]), "a kill lost a row"
    assert 0 < killed["before"] <= 300
    assert (tmp_path / "killed.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    lines = (tmp_path / "killed.jsonl.job" / "results.jsonl").read_text().splitlines()
    assert len(lines) == 300, "a finished row was decoded twice"


def test_the_command_goes_on_after_a_kill(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "in.jsonl", PUZZLES)
    command = ["run", "--input", str(file), "--planner", "confidence", "--batch-size", "1", "--output"]
    started = [sys.executable, "-m", "mdm_sampling", *command, tmp_path / "out.jsonl"]
    process = subprocess.Popen(started, stderr=subprocess.DEVNULL)
    wait_for_lines(tmp_path / "out.jsonl.job")
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    for output in ("out.jsonl", "whole.jsonl"):
        done = CliRunner().invoke(main, [*command, str(tmp_path / output)])
        assert done.exit_code == 0, done.stderr
        assert ("of them decoded before" in done.stdout) == (output == "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


@given(sizes=st.lists(st.integers(1, 4), max_size=5), torn=st.integers(0, 3))
def test_only_whole_batches_count(sizes: list[int], torn: int) -> None:
    lines: list[Line] = [{"batch": [n, size]} for n, size in enumerate(sizes) for _ in range(size)]
    whole = len(lines)
    lines += [{"batch": [len(sizes), 4]}] * torn
    assert whole_batches(lines) == whole


def test_a_second_process_on_the_same_job_is_refused(sampler: mdm.Sampler, tmp_path: Path) -> None:
    refused = []

    def progress(done: int, total: int) -> None:
        if not refused:
            with pytest.raises(mdm.SpecError) as error:
                job_of(sampler, tmp_path).run()
            refused.append(str(error.value))

    job_of(sampler, tmp_path).run(progress)
    assert "another process is writing to" in refused[0]


def test_changed_rows_or_settings_are_refused_unless_told_otherwise(sampler: mdm.Sampler, tmp_path: Path) -> None:
    first = job_of(sampler, tmp_path).run()
    before = first.output.read_bytes()
    changes: list[tuple[mdm.Sampler, list[Any], dict[str, Any], str, int]] = [
        (sampler, [PUZZLES[9], *MIXED[1:], PUZZLES[8]], {}, "input", len(MIXED) - 1),
        (replace(sampler, planner=mdm.Confidence()), MIXED, {}, "planner", 0),
        (sampler, MIXED, {"batch_size": 2}, "batch_size 3, not 2", len(MIXED)),
    ]
    for other, prompts, options, word, kept in changes:
        with pytest.raises(mdm.SpecError, match=f"holds results for .*{word}"):
            job_of(other, tmp_path, prompts, **options).run()
        assert first.output.read_bytes() == before
        (tmp_path / "new").mkdir(exist_ok=True)
        fresh = job_of(other, tmp_path / "new", prompts, **options)
        outcome = replace(job_of(other, tmp_path, prompts, **options), changed=True).run()
        assert outcome.before == kept
        expected = output_of(replace(fresh, changed=True).run().output)
        assert [row["text"] for row in output_of(outcome.output)] == [row["text"] for row in expected]
        job_of(sampler, tmp_path, changed=True).run()  # back to where it was
        assert first.output.read_bytes() == before


def test_a_disk_that_is_full_loses_nothing(
    sampler: mdm.Sampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "whole").mkdir()
    whole = job_of(sampler, tmp_path / "whole").run()
    synced = os.fsync
    calls = []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 4:  # the manifest, the settings, a batch, and then no more
            raise OSError(28, "No space left on device")
        synced(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        job_of(sampler, tmp_path).run()
    monkeypatch.undo()
    assert job_of(sampler, tmp_path).run().output.read_bytes() == whole.output.read_bytes()


# --- Rows and memory that fail while decoding ---------------------------------------------------------------------


def test_a_batch_that_does_not_fit_is_halved_and_the_next_ones_are_smaller(
    sampler: mdm.Sampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "whole").mkdir()
    expected = [row["text"] for row in output_of(job_of(sampler, tmp_path / "whole", PUZZLES).run().output)]
    refused = []

    def fault(rows: Any) -> None:
        if len(rows) > 3:
            refused.append(len(rows))
            raise torch.OutOfMemoryError("CUDA out of memory")

    sizes = fill_but(monkeypatch, fault)
    outcome = job_of(sampler, tmp_path, PUZZLES, batch_size="auto").run()
    assert [row["text"] for row in output_of(outcome.output)] == expected
    assert refused == [12, 6]
    assert sizes == [3, 3, 3, 3]


def test_without_auto_a_full_memory_stops_the_job_and_keeps_what_is_done(
    sampler: mdm.Sampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def fault(rows: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    fill_but(monkeypatch, fault)
    with pytest.raises(torch.OutOfMemoryError):
        job_of(sampler, tmp_path).run()
    assert job_of(sampler, tmp_path).run().before == 3


def test_a_row_that_cannot_be_decoded_gets_its_error_and_its_batch_goes_on(
    sampler: mdm.Sampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tuple(sampler.prompt_rows([MIXED[2]])[0][0])

    def fault(rows: Any) -> None:
        if any(tuple(prefix) == bad for prefix, _ in rows):
            raise mdm.PredictionError("the model returned logits that are not finite")

    fill_but(monkeypatch, fault)
    outcome = job_of(sampler, tmp_path).run()
    rows = output_of(outcome.output)
    assert outcome.errors == 1
    assert [row["row"] for row in rows if row["error"]] == [2]
    assert rows[2]["error"] == "the model returned logits that are not finite"


def test_settings_with_which_nothing_works_stop_the_job_at_once(
    sampler: mdm.Sampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(rows: Any) -> None:
        raise mdm.ContractError("planner P() made no progress")

    fill_but(monkeypatch, fault)
    with pytest.raises(mdm.MDMError, match="not one of the first 3 rows could be decoded: planner P"):
        job_of(sampler, tmp_path).run()
    assert not (tmp_path / "out.jsonl").exists()


# --- Batches ------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    lengths=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=20),
    size=st.just("auto") | st.integers(1, 5),
    tokens=st.none() | st.integers(1, 60),
)
def test_batches_hold_every_row_once_within_their_limits(
    lengths: list[tuple[int, int]], size: BatchSize, tokens: int | None
) -> None:
    rows = [EncodedRow(Row((1,) * a, (2,) * b), 0, {"number": i}) for i, (a, b) in enumerate(lengths)]
    batches = plan(rows, size, tokens)
    assert sorted(row.identity["number"] for batch in batches for row in batch.rows) == list(range(len(rows)))
    longest = [max(row.row.positions for row in batch.rows) for batch in batches]
    assert longest == sorted(longest, reverse=True)
    for batch in batches:
        assert len(batch.rows) <= (64 if size == "auto" else size)
        assert tokens is None or len(batch.rows) == 1 or padded_positions(batch.rows) <= tokens


# --- The command --------------------------------------------------------------------------------------------------


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["run", *map(str, arguments)])


def test_a_job_file_and_options_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "in.jsonl", PUZZLES[:4])
    (tmp_path / "job.toml").write_text('input = "in.jsonl"\noutput = "a.jsonl"\nsteps = 10\nplanner = "entropy"\n')
    first = run("job.toml")
    assert first.exit_code == 0, first.output
    assert first.stdout == "a.jsonl: 4 rows\n"
    second = run("--input", "in.jsonl", "--output", "b.jsonl", "--steps", "10", "--planner", "entropy")
    assert second.exit_code == 0, second.output
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    assert "4 of 4 rows were done before." in run("job.toml").stderr
    assert run("job.toml", "--steps", "5").exit_code == 1


def test_some_bad_rows_show_in_the_exit_code(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "in.jsonl", [PUZZLES[0], "é", 4])
    result = run("--input", file, "--output", tmp_path / "out.jsonl", "--steps", "10")
    assert result.exit_code == 3
    assert "2 rows have an error instead of a text" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give --input FILE"),
        (["--input", "in.jsonl"], "give --output FILE"),
        (["--input", "none.jsonl", "--output", "o.jsonl"], "does not exist"),
        (["--input", "in.jsonl", "--output", "o.txt"], "an output ends in .jsonl or .parquet"),
        (["--input", "in.jsonl", "--output", "o.jsonl", "--batch-size", "many"], "'many' is not a valid integer"),
        (["--input", "in.jsonl", "--output", "o.jsonl", "--infill", "--max-new-tokens", "4"], "would be ignored"),
        (["--input", "in.jsonl", "--output", "o.jsonl", "--column", "x"], "has no column 'x', it has"),
        (["--input", "in.jsonl", "--output", "o.jsonl", "--folder", "in.jsonl"], "is a file"),
        (["--input", "in.jsonl", "--output", "in.jsonl"], "is read by the same call"),
        (["--input", "in.jsonl", "--output", "new/o.jsonl"], "there is no folder new to write o.jsonl into"),
        (["job.toml"], "there is no option 'stepz'"),
    ],
)
def test_what_cannot_be_run_is_said_in_a_sentence(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "in.jsonl", PUZZLES[:1])
    (tmp_path / "job.toml").write_text("stepz = 5\n")
    result = run(*arguments)
    assert result.exit_code in (1, 2)
    assert isinstance(result.exception, SystemExit), result.exception
    assert words in result.output
    assert not (tmp_path / "o.jsonl").exists()


def test_an_interrupted_job_says_where_its_rows_are(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "in.jsonl", PUZZLES * 8)
    command = [sys.executable, "-m", "mdm_sampling", "run", "--input", str(file), "--output", str(tmp_path / "o.jsonl")]
    command += ["--planner", "confidence", "--batch-size", "1", "--steps", "20"]
    process = interruptible(command)
    wait_for_lines(tmp_path / "o.jsonl.job")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"What was decoded is in {tmp_path / 'o.jsonl.job'}; the same command goes on from there." in errors
    assert "Traceback" not in errors


def test_other_weights_are_another_job(sampler: mdm.Sampler, tmp_path: Path) -> None:
    job_of(sampler, tmp_path, MIXED[:2]).run()
    other = mdm.load_backend()
    with torch.no_grad():
        other.model.model.norm.weight.mul_(1.01)  # type: ignore[attr-defined]
    with pytest.raises(mdm.SpecError, match="holds results for weights"):
        job_of(replace(sampler, backend=other), tmp_path, MIXED[:2]).run()


def test_a_model_that_was_passed_in_memory_is_refused(tmp_path: Path) -> None:
    backend = mdm.load_backend()
    backend.source = None
    with pytest.raises(mdm.SpecError, match="load it by name"):
        job_of(mdm.Sampler(backend, max_new_tokens=20), tmp_path).run()


def test_a_damaged_folder_is_refused(sampler: mdm.Sampler, tmp_path: Path) -> None:
    job_of(sampler, tmp_path, MIXED[:2]).run()
    journal = tmp_path / "out.jsonl.job" / "results.jsonl"
    kept = journal.read_bytes()
    journal.write_bytes(b"{\n" + kept)
    for _ in range(2):  # the lock is not left behind
        with pytest.raises(mdm.SpecError, match=r"results.jsonl is damaged"):
            job_of(sampler, tmp_path, MIXED[:2]).run()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("batch", value) for value in ("x", None, [], [1, 2, 3], [0, 0], [-1, 3])),
        *(("number", value) for value in ([0], "0", None)),
        *(("digest", [1]), ("item", None), ("settings", None), ("spec", [1]), ("error", 5)),
        *(("machine", "0"), ("text", 5), ("text", None), ("tokens", "x"), ("steps", "y"), ("cumulative_entropy", None)),
    ],
)
def test_a_line_of_the_wrong_kind_is_damage(sampler: mdm.Sampler, tmp_path: Path, field: str, value: Any) -> None:
    """By the job, and by `results`, which reads the same lines; a field that is missing as well."""
    job_of(sampler, tmp_path, MIXED[:2], batch_size=1).run()
    journal = tmp_path / "out.jsonl.job" / "results.jsonl"
    line, *others = output_of(journal)
    for damaged in (line | {field: value}, {name: kept for name, kept in line.items() if name != field}):
        journal.write_text("".join(json.dumps(each) + "\n" for each in (damaged, *others)))
        for read in (job_of(sampler, tmp_path, MIXED[:2], batch_size=1).run, lambda: read_folder(journal.parent)):
            with pytest.raises(mdm.SpecError, match=f"damaged .*{field}"):
                read()


def test_a_batch_that_lost_a_row_in_the_middle_is_damage(sampler: mdm.Sampler, tmp_path: Path) -> None:
    job_of(sampler, tmp_path, MIXED[:5], batch_size=2).run()
    journal = tmp_path / "out.jsonl.job" / "results.jsonl"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(mdm.SpecError, match="a batch in the middle is not whole"):
        job_of(sampler, tmp_path, MIXED[:5], batch_size=2).run()


def test_what_a_folder_keeps_is_not_overwritten(sampler: mdm.Sampler, tmp_path: Path) -> None:
    job_of(sampler, tmp_path, MIXED[:2]).run()
    folder = tmp_path / "out.jsonl.job"
    kept = (folder / "results.jsonl").read_bytes()
    with pytest.raises(mdm.SpecError, match="is not overwritten"):
        export(read_folder(folder).rows, folder / "results.jsonl")
    job = replace(job_of(sampler, tmp_path, MIXED[:2]), folder=folder)
    with pytest.raises(mdm.SpecError, match="keeps the results of the folder"):
        replace(job, output=folder / "results.jsonl").run()
    assert (folder / "results.jsonl").read_bytes() == kept
    with pytest.raises(mdm.SpecError, match="is the folder of a job"):
        compare(sampler, mdm.Sudoku(), grid(["confidence"], tokens_per_step=[4]), items=1, folder=folder)


def test_rows_that_are_no_text_are_bad_rows(tmp_path: Path) -> None:
    half = "\\ud800"
    lines = [f'{{"id": "{half}", "prompt": "1"}}', f'{{"id": "b", "prompt": "{half}"}}', "[" * 10**5, '{"prompt": "1"}']
    file = tmp_path / "in.jsonl"
    file.write_text("\n".join(lines))
    rows = read_rows(file)
    assert [row.error is None for row in rows] == [True, False, False, True]
    assert rows[0].id == half
    table = tmp_path / "in.csv"
    table.write_bytes(b"prompt\n\xff\n" + b"1" * 200_000 + b"\n1...\n")
    assert [row.error is None for row in read_rows(table)] == [False, True, True]


def test_every_test_that_the_table_of_faults_names_exists() -> None:
    here = Path(__file__).parent
    named = set(re.findall(r"`(test_\w+)`", (here.parent / "docs" / "jobs.md").read_text()))
    written = set(re.findall(r"^def (test_\w+)", "".join(f.read_text() for f in here.glob("test_*.py")), re.MULTILINE))
    assert named
    assert named <= written
