"""What may be overwritten: what the same call wrote before, and nothing that anybody else wrote, unless told to."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import mdm_sampling as mdm
from mdm_sampling.cli import main
from mdm_sampling.errors import SpecError
from mdm_sampling.folders.files import Output, replace_file, replacing

PUZZLE = "1... ..3. .1.. ...4"
SHORT = ["--steps", "4", "--max-new-tokens", "8"]
MINE = "mine, and nobody else's\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"id": "a", "prompt": PUZZLE}) + "\n")
    (tmp_path / "prompts.txt").write_text(PUZZLE + "\n")
    return tmp_path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def done(*arguments: str | Path) -> Result:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result


def refused(target: str | Path, *arguments: str | Path) -> str:
    """The command fails with one sentence, the target is as it was, and nothing else is left in its folder."""
    target = Path(target)
    before, names = target.read_bytes(), sorted(target.parent.iterdir())
    result = run(*arguments)
    assert result.exit_code in (1, 2), result.output
    assert "Traceback" not in result.output
    assert target.read_bytes() == before
    assert [name for name in sorted(target.parent.iterdir()) if name.suffix == ".tmp"] == []
    assert set(names) <= set(target.parent.iterdir())
    return result.stderr


def make_trace(name: str = "steps.jsonl") -> Path:
    done("generate", "--planner", "confidence", *SHORT, "--trace", name, PUZZLE)
    return Path(name)


def job(output: str, *more: str) -> list[str]:
    return ["run", "--input", "prompts.jsonl", "--output", output, "--planner", "confidence", *SHORT, *more]


def compare(*more: str) -> list[str]:
    return ["compare", "--task", "sudoku:4", "--items", "1", "--planner", "confidence", "-k", "8", *more]


# Commands that write to a file of this name, each where somebody's file stands.
WRITERS: dict[str, tuple[str, Callable[[], list[str]]]] = {
    "trace": ("notes.txt", lambda: ["generate", *SHORT, "--trace", "notes.txt", PUZZLE]),
    "trace of infill": ("notes.txt", lambda: ["infill", "--steps", "4", "--trace", "notes.txt", "1__4"]),
    "page": ("steps.html", lambda: ["report", str(make_trace())]),
    "named page": ("site.html", lambda: ["report", str(make_trace()), "-o", "site.html"]),
    "output": ("out.jsonl", lambda: job("out.jsonl")),
    "report of a comparison": ("c/report.md", lambda: compare("--out", "c", "--no-plots")),
    "plot of a comparison": ("c/order.png", lambda: compare("--out", "c", "--plots")),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_nobodys_file_is_overwritten(writer: str) -> None:
    """The same command writes it with --overwrite."""
    name, command = WRITERS[writer]
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text("<!doctype html>\n" + MINE)
    arguments = command()
    assert "overwrite" in refused(name, *arguments)
    done(*arguments, "--overwrite")
    assert MINE not in Path(name).read_text(encoding="utf-8", errors="replace")


def test_an_export_overwrites_nobodys_file() -> None:
    done(*job("out.jsonl"))
    Path("table.csv").write_text(MINE)
    assert "overwrite" in refused("table.csv", "results", "out.jsonl.job", "--export", "table.csv")


@pytest.mark.parametrize("writer", ["trace", "page", "output", "report of a comparison", "plot of a comparison"])
def test_what_the_same_call_wrote_is_replaced(writer: str) -> None:
    name, command = WRITERS[writer]
    Path(name).parent.mkdir(exist_ok=True)
    for _ in range(2):
        done(*command())
    assert Path(name).stat().st_size


def test_an_output_that_somebody_changed_is_kept() -> None:
    done(*job("out.jsonl"))
    Path("out.jsonl").write_text(MINE)
    assert "overwrite" in refused("out.jsonl", *job("out.jsonl"))


@pytest.mark.parametrize(
    ("read", "arguments"),
    [
        ("prompts.txt", ["generate", *SHORT, "--file", "prompts.txt", "--trace", "prompts.txt"]),
        ("prompts.txt", ["generate", *SHORT, "--file", "./prompts.txt", "--trace", "link.txt"]),
        ("prompts.jsonl", ["run", "--input", "prompts.jsonl", "--output", "prompts.jsonl", *SHORT]),
        ("job.toml", ["run", "job.toml", "--output", "job.toml.jsonl", "--folder", "f"]),
        ("c/report.md", compare("--task", "jsonl:c/report.md,length=4", "--out", "c", "--no-plots")),
    ],
    ids=["file", "link", "input", "config", "questions"],
)
def test_what_a_command_reads_is_never_overwritten(read: str, arguments: list[str]) -> None:
    """Not even with --overwrite."""
    os.symlink("prompts.txt", "link.txt")
    Path("c").mkdir()
    Path("c/report.md").write_text('{"prompt": "1+1=", "answer": "2"}\n')
    Path("job.toml").write_text('input = "prompts.jsonl"\noutput = "other.jsonl"\n')
    os.symlink("job.toml", "job.toml.jsonl")
    assert "read" in refused(read, *arguments, "--overwrite")


def test_a_checkpoint_is_never_overwritten(llada_folder: Path) -> None:
    config = llada_folder / "config.json"
    command = ["generate", "--model", llada_folder, *SHORT, "--trace", config, "--overwrite", "a b"]
    assert "read" in refused(config, *command)


@pytest.mark.parametrize("name", ["results.jsonl", "manifest.json"])
def test_what_a_job_keeps_is_no_output(name: str) -> None:
    """Neither of another job nor of a trace or an export, and the first job goes on afterwards."""
    done(*job("a.jsonl"))
    kept = f"a.jsonl.job/{name}"
    if name.endswith(".jsonl"):
        refused(kept, *job(kept, "--folder", "b.job", "--overwrite"))
    refused(kept, "generate", *SHORT, "--trace", kept, "--overwrite", PUZZLE)
    done(*job("a.jsonl"))


def test_a_temporary_file_takes_nobodys_name(folder: Path) -> None:
    """Files and links of likely names beside the target stay as they are, and nothing is left over."""
    (folder / "victim.txt").write_text(MINE)
    for name in (".page.html.tmp", "page.html.tmp"):
        os.symlink("victim.txt", folder / name)
    before = sorted(folder.iterdir())
    done("report", make_trace(), "-o", "page.html")
    assert (folder / "victim.txt").read_text() == MINE
    assert not (folder / "page.html").is_symlink()
    assert sorted({*folder.iterdir()} - {*before}) == [folder / "page.html", folder / "steps.jsonl"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(folder: Path) -> None:
    file = folder / "old.txt"
    file.write_text(MINE)
    before = sorted(folder.iterdir())

    def fail() -> None:
        with replacing(file) as new:
            new.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert file.read_text() == MINE
    assert sorted(folder.iterdir()) == before


def test_writers_that_race_leave_one_whole_file(folder: Path) -> None:
    """Each of two writers writes its own temporary file; a reader sees one of the two texts, never a part."""
    file, texts = folder / "raced.txt", ("a" * 200_000, "b" * 200_000)
    replace_file(file, texts[0])
    faults: list[BaseException] = []

    def write(text: str) -> None:
        try:
            for _ in range(60):
                replace_file(file, text)
        except BaseException as error:
            faults.append(error)

    writers = [threading.Thread(target=write, args=(text,)) for text in texts]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert file.read_text() in texts
    for writer in writers:
        writer.join()
    assert faults == []
    assert [each.name for each in folder.iterdir() if each.suffix == ".tmp"] == []


def test_permissions_are_the_old_files_or_the_umasks(folder: Path) -> None:
    old, new = folder / "old.txt", folder / "new.txt"
    old.write_text("")
    old.chmod(0o640)
    mask = os.umask(0o027)
    try:
        replace_file(old, "x")
        replace_file(new, "x")
    finally:
        os.umask(mask)
    assert old.stat().st_mode & 0o777 == 0o640
    assert new.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 5000, "nowhere/x.txt"])
def test_a_name_that_cannot_be_written_is_a_sentence(name: str) -> None:
    with pytest.raises(SpecError):
        Output(name).check()


def test_a_library_users_paths_may_be_texts(folder: Path, base: mdm.Sampler) -> None:
    """And the folders are made."""
    from mdm_sampling.compare import compare as compared
    from mdm_sampling.compare import grid

    found = compared(base, mdm.Sudoku(4), grid([mdm.Confidence()], tokens_per_step=[8]), items=1, folder="deep/results")
    assert (folder / "deep/results/results.jsonl").exists()
    found.plot("new/figures")
    assert list((folder / "new/figures").glob("*.png"))
