"""What a command reads and writes through: streams that are closed, full or narrow, names, and interrupts."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from click.testing import CliRunner
from extras import needs

import mdm_sampling as mdm
from mdm_sampling.cli import main
from mdm_sampling.cli.interrupts import is_interrupt
from mdm_sampling.cli.streams import echo_json, prepare_streams
from mdm_sampling.folders import read as folders
from mdm_sampling.jobs import InputRow, Job

PUZZLE = "1... ..3. .1.. ...4"
COMMAND = f"{sys.executable} -m mdm_sampling"


def in_shell(line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", line], env=os.environ | variables, capture_output=True, text=True)


@needs("/dev/full")
def test_help_that_cannot_be_printed_is_a_sentence() -> None:
    done = in_shell(f"{COMMAND} --help > /dev/full")
    assert (done.returncode, done.stderr) == (1, "Error: cannot write the output: No space left on device\n")


def test_a_closed_output_is_told_before_any_work() -> None:
    done = in_shell(f"{COMMAND} generate '{PUZZLE}' >&-")
    assert done.returncode == 1
    assert done.stderr == "Error: standard output is closed; send it to a file, or to /dev/null\n"


def test_closed_errors_lose_no_result() -> None:
    done = in_shell(f"{COMMAND} list --help 2>&-")
    assert done.returncode == 0
    assert "Usage" in done.stdout


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437"])
def test_a_narrow_output_takes_every_text(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding, newline=""))
    assert prepare_streams()
    text = "é 数独 \U0001f600"
    print(text, flush=True)
    echo_json({"text": text})
    sys.stdout.flush()
    shown, line = written.getvalue().decode(encoding).splitlines()
    assert "\\u6570\\u72ec \\U0001f600" in shown
    assert json.loads(line) == {"text": text}


@pytest.mark.parametrize("option", ["--model", "--planner", "--cache", "--device"])
def test_a_long_name_is_not_told_as_a_failed_write(option: str) -> None:
    done = CliRunner().invoke(main, ["generate", option, "x" * 5_000, PUZZLE])
    assert done.exit_code in (1, 2)
    assert isinstance(done.exception, SystemExit)
    assert "cannot write" not in done.stderr
    assert len(done.stderr) < 1_500


SLOW = """
import os, signal
try:
    os.kill(os.getpid(), signal.SIGINT)
    sum(range(10**6))
except BaseException as error:
    raise ModuleNotFoundError("no such module") from error  # as lazy imports do
print("imported", flush=True)
"""


def test_an_interrupt_waits_for_an_import(tmp_path: Path) -> None:
    """Else the error that the import makes of it is told, or the process aborts in C++."""
    (tmp_path / "slow_module.py").write_text(SLOW)
    script = f"""
        import signal, sys, time
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.path.insert(0, {str(tmp_path)!r})
        from mdm_sampling.cli import main
        import mdm_sampling.cli.list as command
        def slow(**options):
            import slow_module
            time.sleep(30)
        command.command.callback = slow
        main(["list"])
    """
    done = subprocess.run([sys.executable, "-c", dedent(script)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "imported\n", "\nStopped.\n")


def test_an_interrupt_waits_for_a_callback_of_the_collector() -> None:
    """Hypothesis has one of this name. An exception that is raised in it is printed, and the program goes on."""
    script = """
        import gc, os, signal, time
        from mdm_sampling.cli.interrupts import patient_interrupts
        def gc_callback(phase, info):
            gc.callbacks.clear()
            os.kill(os.getpid(), signal.SIGINT)
            sum(range(10**6))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with patient_interrupts():
            gc.callbacks.append(gc_callback)
            try:
                gc.collect()
                time.sleep(30)
            except KeyboardInterrupt:
                print("heard")
    """
    done = subprocess.run([sys.executable, "-c", dedent(script)], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("heard\n", "")


def test_an_interrupt_in_an_import_that_hangs_ends_the_process_whatever_guards_it(tmp_path: Path) -> None:
    (tmp_path / "hanging.py").write_text("import time\ntime.sleep(30)\n")
    script = f"""
        import os, signal, sys, threading
        from mdm_sampling.at_work import no_way_out
        from mdm_sampling.cli import interrupts
        signal.signal(signal.SIGINT, signal.default_int_handler)
        interrupts._LONGEST = 0.2
        sys.path.insert(0, {str(tmp_path)!r})
        threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
        with interrupts.patient_interrupts(), no_way_out():
            import hanging
    """
    # Less than the limit is without the line that lowers it, so that this line cannot lose its effect unseen.
    done = subprocess.run([sys.executable, "-c", dedent(script)], capture_output=True, text=True, timeout=15)
    assert (done.returncode, done.stderr) == (130, "\nStopped.\n")


def test_an_interrupt_is_known_whatever_it_became() -> None:
    told, hidden = ModuleNotFoundError("lazily"), ModuleNotFoundError("lazily")
    told.__cause__ = hidden.__context__ = KeyboardInterrupt()
    assert is_interrupt(told)
    assert is_interrupt(hidden)
    assert not is_interrupt(ValueError("x"))


@pytest.fixture(scope="module")
def job_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("job")
    sampler = mdm.Sampler(mdm.load_backend(), planner=mdm.Confidence(), steps=2, max_new_tokens=4)
    Job(sampler, [InputRow(0, "x", PUZZLE)], folder / "out.jsonl").run()
    return folder / "out.jsonl.job"


@pytest.mark.parametrize("name", ["run[final]", "run[/b]", "run[red]x[/red]", "run[", "[link=http:a]", ":tada:"])
def test_names_are_no_markup(name: str, job_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(job_folder, name)
    done = CliRunner().invoke(main, ["results", name], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert name in done.stdout


@pytest.mark.parametrize("planner", ["[/b]", "a[red]b", "[link=http://x]y"])
def test_planners_of_a_folder_are_no_markup(planner: str, job_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    shutil.copytree(job_folder, folder)
    file = folder / "settings.json"
    digest = json.loads((folder / "results.jsonl").read_text())["spec"]
    shared = json.loads(file.read_text())
    shared[digest]["planner"] = planner
    file.write_text(json.dumps(shared))
    assert folders.read_folder(folder).rows[0]["planner"] == planner
    done = CliRunner().invoke(main, ["results", str(folder)], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert planner in done.stdout
