"""A job's prompts: made again by the documented recipe, rendered once, too long, piped in; and devices that fail."""

import json
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from faults import fill_but

import mdm_sampling as mdm
from mdm_sampling.canvas import Row
from mdm_sampling.cli import main
from mdm_sampling.jobs import Job, read_rows
from mdm_sampling.jobs.batches import Batch, EncodedRow
from mdm_sampling.jobs.ray_engine import Decoding, lines_of
from mdm_sampling.jobs.worker import Variant, Worker

CHAT = [{"role": "user", "content": "a b"}]


@pytest.fixture(scope="module")
def chatty(llada_folder: Path) -> mdm.Sampler:
    """A model with a chat template that draws tokens, so that a row depends on its seed."""
    backend = mdm.load_backend(str(llada_folder))
    drawn = mdm.GumbelMax(temperature=1.0)
    return mdm.Sampler(backend, planner=mdm.Random(), token_sampler=drawn, max_new_tokens=6, block_size=6, steps=3)


@pytest.fixture(scope="module")
def polite(dream_folder: Path, chatty: mdm.Sampler) -> mdm.Sampler:
    """The same with a model whose tokenizer knows the words of system messages."""
    return replace(chatty, backend=mdm.load_backend(str(dream_folder)), max_new_tokens=24)


def write_rows(file: Path, prompts: Sequence[Any]) -> Path:
    file.write_text("".join(json.dumps({"id": f"row {i}", "prompt": p}) + "\n" for i, p in enumerate(prompts)))
    return file


def run_job(sampler: mdm.Sampler, folder: Path, prompts: Sequence[Any], **options: Any) -> list[dict[str, Any]]:
    job = Job(sampler, read_rows(write_rows(folder / "in.jsonl", prompts)), folder / "out.jsonl", **options)
    return [json.loads(line) for line in job.run().output.read_text().splitlines()]


def made_again(sampler: mdm.Sampler, row: dict[str, Any], prompt: Any) -> mdm.Result:
    """The recipe of docs/jobs.md, with a model that is loaded already."""
    again = mdm.from_spec(row["spec"], sampler.backend)
    if row["infill"]:
        return again.infill(prompt, seed=row["seed"])
    return again.generate(prompt, seed=row["seed"], chat=row["chat"], system=row["system"], stop=row["stop"])


# --- The recipe ---------------------------------------------------------------------------------------------------


OPTIONS: list[dict[str, Any]] = [{}, {"chat": True}, {"chat": False}, {"infill": True}]
OPTIONS += [{"stop": ("a", "b")}]
FLAGS = [[], ["--chat"], ["--no-chat"], ["infill"], ["--stop", "a", "--stop", "b"]]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_each_row_of_a_job_is_made_again_by_the_recipe(
    chatty: mdm.Sampler, options: dict[str, Any], tmp_path: Path
) -> None:
    prompts: list[Any] = ["a[MASK]b", "the[MASK:3]"] if "infill" in options else ["a b", "the"]
    prompts += [CHAT] if not options else []
    for row, prompt in zip(run_job(chatty, tmp_path, prompts, **options), prompts, strict=True):
        assert (row["chat"], row["infill"]) == (
            None if options.get("infill") else options.get("chat", True),
            "infill" in options,
        )
        again = made_again(chatty, row, prompt)
        assert (again.texts, again.sequences) == ([row["text"]], [row["tokens"]])


@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_each_row_that_a_command_prints_is_made_again_by_the_recipe(
    chatty: mdm.Sampler, flags: list[str], tmp_path: Path
) -> None:
    assert chatty.backend.source is not None
    command, prompt = ("infill", "a[MASK]b") if flags == ["infill"] else ("generate", "a b")
    given = ["--model", chatty.backend.source.model, "--steps", "3", "--temperature", "1", "--json", prompt]
    given += ["--trace", str(tmp_path / "steps.jsonl")]
    given += [] if command == "infill" else ["--max-new-tokens", "6", *flags]
    done = CliRunner().invoke(main, [command, *given])
    assert done.exit_code == 0, done.output
    row = json.loads(done.stdout)
    again = made_again(chatty, row, prompt)
    assert (again.texts, again.sequences) == ([row["text"]], [row["tokens"]])
    opening = json.loads((tmp_path / "steps.jsonl").read_text().splitlines()[0])
    assert (opening["chat"], opening["infill"]) == (row["chat"], row["infill"])


# --- A system message and stop strings ----------------------------------------------------------------------------


def test_a_jobs_system_message_and_stops_are_kept_and_others_are_refused(polite: mdm.Sampler, tmp_path: Path) -> None:
    own = [{"role": "system", "content": "a"}, *CHAT]
    prompts: list[Any] = ["a b", CHAT, own]
    (tmp_path / "whole").mkdir()
    whole = run_job(polite, tmp_path / "whole", prompts, system="b c")
    given: dict[str, Any] = {"system": "b c", "stop": [whole[0]["text"][3], whole[1]["text"][3]]}
    first = run_job(polite, tmp_path, prompts, **given)
    assert [row["error"] is None for row in first] == [True, True, False]
    assert "a system message of its own" in first[2]["error"]
    assert [(row["system"], row["stop"]) for row in first] == [("b c", given["stop"])] * 2 + [(None, None)]
    for row, prompt, before in zip(first, prompts[:2], whole, strict=False):
        again = made_again(polite, row, prompt)
        assert (again.texts, again.sequences) == ([row["text"]], [row["tokens"]])
        assert row["tokens"] == before["tokens"]
        assert len(row["text"]) <= 3 < len(before["text"])
    assert run_job(polite, tmp_path, prompts, **given) == first
    manifest = json.loads((tmp_path / "out.jsonl.job" / "manifest.json").read_text())
    assert {name: manifest[name] for name in given} == given
    for name, value in (("system", None), ("system", "b"), ("stop", ()), ("stop", ["a"])):
        with pytest.raises(mdm.SpecError, match=rf"{name} .*, not .*; give another folder, or .* \(--changed\)"):
            run_job(polite, tmp_path, prompts, **given | {name: value})
    changed = run_job(polite, tmp_path, prompts, system="b c", changed=True)
    assert changed == whole


def test_another_process_stops_where_this_one_would(chatty: mdm.Sampler) -> None:
    worker = Worker([Variant(chatty, until_eos=True, stop=("a", "b"))], splits=True)
    other = Worker.from_recipe(json.loads(json.dumps(worker.recipe())))
    assert (other.variants[0].stop, other.settings) == (("a", "b"), worker.settings)
    assert worker.settings != Worker([Variant(chatty, until_eos=True)], splits=True).settings


def test_a_system_message_that_no_row_can_have_ends_the_job_at_once(polite: mdm.Sampler, tmp_path: Path) -> None:
    with pytest.raises(mdm.CanvasError, match="switch the template on"):
        run_job(polite, tmp_path, ["a"], system="b", chat=False)
    options: list[dict[str, Any]] = [{"system": "b"}, {"stop": "b"}]
    for given in options:
        with pytest.raises(mdm.SpecError, match="fills texts takes neither a system message nor stop strings"):
            run_job(polite, tmp_path, ["a[MASK]"], infill=True, **given)
    assert not (tmp_path / "out.jsonl.job").exists()


def test_commands_take_a_system_message_and_stops(polite: mdm.Sampler, tmp_path: Path) -> None:
    assert polite.backend.source is not None
    asked = ["--model", polite.backend.source.model, "--max-new-tokens", "24", "--steps", "3", "--temperature", "1"]
    asked += ["--system", "b c", "--stop", "e", "--stop", "5"]
    file = write_rows(tmp_path / "in.jsonl", ["a b"])
    given = ["run", "--input", str(file), "--output", str(tmp_path / "out.jsonl")]
    done = CliRunner().invoke(main, [*given, *asked])
    assert done.exit_code == 0, done.output
    printed = CliRunner().invoke(main, ["generate", "a b", "--json", *asked])
    assert printed.exit_code == 0, printed.output
    for row in (json.loads((tmp_path / "out.jsonl").read_text()), json.loads(printed.stdout)):
        assert (row["system"], row["stop"]) == ("b c", ["e", "5"])
        again = made_again(polite, row, "a b")
        assert (again.texts, again.sequences) == ([row["text"]], [row["tokens"]])
    refused = CliRunner().invoke(main, [*given, *asked, "--stop", "c"])
    assert "stop ['e', '5'], not ['e', '5', 'c']; give another folder, or go on in this one" in refused.stderr
    for option in ("--system", "--stop"):
        ignored = CliRunner().invoke(main, [*given, "--infill", option, "a"])
        assert f"{option} would be ignored with --infill" in ignored.stderr


# --- What was rendered --------------------------------------------------------------------------------------------


def with_template(sampler: mdm.Sampler, monkeypatch: pytest.MonkeyPatch, template: str) -> None:
    assert sampler.backend.codec is not None
    monkeypatch.setattr(sampler.backend.codec.tokenizer, "chat_template", template)


def test_a_job_goes_on_though_its_template_writes_another_date(
    chatty: mdm.Sampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A random text stands for the date: each rendering differs."""
    dated = "{% for i in range(12) %}{{ ['a', 'b', 'c', 'd'] | random }}{% endfor %}{{ messages[0].content }}"
    with_template(chatty, monkeypatch, dated)
    prompts: list[Any] = ["a", "b", CHAT, "c", "d"]

    def stop(done: int, total: int) -> None:
        if done >= 2:
            raise KeyboardInterrupt

    job = Job(chatty, read_rows(write_rows(tmp_path / "in.jsonl", prompts)), tmp_path / "out.jsonl", batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        job.run(stop)
    kept = (job.results_folder / "rendered.jsonl").read_bytes()
    assert job.run().before == 2
    first = job.output.read_bytes() if isinstance(job.output, Path) else b""
    assert job.run().before == 5
    assert (tmp_path / "out.jsonl").read_bytes() == first
    assert (job.results_folder / "rendered.jsonl").read_bytes() == kept

    longer = Job(chatty, read_rows(write_rows(tmp_path / "in.jsonl", [*prompts, "e"])), job.output, batch_size=2)
    with pytest.raises(mdm.SpecError, match="another input"):
        longer.run()
    assert (job.results_folder / "rendered.jsonl").read_bytes() == kept
    changed = Job(chatty, longer.rows, job.output, batch_size=2, changed=True)
    assert changed.run().before == 5


def test_another_template_is_another_input(
    chatty: mdm.Sampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_job(chatty, tmp_path, ["a"])
    with_template(chatty, monkeypatch, "x{{ messages[0].content }}")
    with pytest.raises(mdm.SpecError, match="another input"):
        run_job(chatty, tmp_path, ["a"])


def test_renderings_that_are_damaged_are_told(chatty: mdm.Sampler, tmp_path: Path) -> None:
    run_job(chatty, tmp_path, ["a"])
    for damage in (b"x\n", b"[1]\n", b'{"prompt": "a", "text": 5}\n'):
        (tmp_path / "out.jsonl.job" / "rendered.jsonl").write_bytes(damage)
        with pytest.raises(mdm.SpecError, match=r"rendered.jsonl is damaged"):
            run_job(chatty, tmp_path, ["a"])


# --- Rows ---------------------------------------------------------------------------------------------------------


def test_a_bad_prompt_costs_its_own_row_alone(
    chatty: mdm.Sampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = "{% if messages[0].content == 'a' %}{{ 1 / 0 }}{% endif %}{{ messages[0].content }}"
    with_template(chatty, monkeypatch, template)
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]
    parts = [{"role": "user", "content": [{"type": "text", "text": "ab"}], "name": "me"}]
    rows = run_job(chatty, tmp_path, ["ab", "a", image, parts, ""], chat=True)
    assert [row["error"] is None for row in rows] == [True, False, False, True, False]
    assert "chat template refuses the prompt (division by zero)" in rows[1]["error"]
    assert rows[2]["error"] == "'prompt': message 0 holds a part that is not text, 'image_url'; only texts can be read"
    assert "is empty" in rows[4]["error"]
    assert (rows[1]["chat"], rows[1]["infill"]) == (None, None)


def test_a_row_with_too_many_masks_is_told_and_the_others_are_filled(chatty: mdm.Sampler, tmp_path: Path) -> None:
    rows = run_job(chatty, tmp_path, ["[MASK:999999]" * 5000, "a[MASK]"], infill=True)
    assert "exceed the model's context of 128" in rows[0]["error"]
    assert len(rows[1]["text"]) > 0


def test_messages_keep_their_fields_in_every_format(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pyarrow
    import pyarrow.parquet

    call = {"role": "assistant", "tool_calls": [{"id": "c1"}]}
    chats = [[{"role": "user", "content": "Hi", "name": "me"}, call], [{"role": "user", "content": "x"}]]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"messages": c} for c in chats]), tmp_path / "in.parquet")
    for name in ("in.jsonl", "in.parquet"):
        assert [row.prompt for row in read_rows(tmp_path / name)] == chats


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "utf-8"])
def test_files_from_windows_are_read(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes("id,prompt\r\nä,ö\r\n".encode(encoding))
    (tmp_path / "in.jsonl").write_bytes('{"id": "ä", "prompt": "ö"}\r\n'.encode(encoding))
    for name in ("in.csv", "in.jsonl"):
        assert [(row.id, row.prompt) for row in read_rows(tmp_path / name)] == [("ä", "ö")]


def test_rows_may_come_from_standard_input_and_the_job_goes_on(tmp_path: Path) -> None:
    rows = '{"prompt": "1... ..3. .1.. ...4"}\nnonsense\n'
    given = ["run", "--input", "-", "--output", str(tmp_path / "out.jsonl"), "--steps", "4", "--threshold", "0.01"]
    for before in (False, True):
        done = CliRunner().invoke(main, given, input=rows)
        assert done.exit_code == 3, done.output
        assert ("1 of them decoded before" in done.stdout) == before
    other = CliRunner().invoke(main, given, input=rows.replace("1...", "2..."))
    assert "another input" in other.output
    assert "standard input holds no rows" in CliRunner().invoke(main, given, input="").output


# --- Memory and devices -------------------------------------------------------------------------------------------


class Kept:
    """Something large that decoding a batch makes."""


def encoded(count: int) -> tuple[EncodedRow, ...]:
    return tuple(EncodedRow(Row((1,), (2,)), 0, {"number": i}) for i in range(count))


def test_a_batch_that_did_not_fit_is_gone_before_its_halves_are_decoded(
    chatty: mdm.Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[Kept]] = []
    alive: list[list[bool]] = []

    def fault(rows: Any) -> None:
        alive.append([reference() is not None for reference in made])
        kept = Kept()
        made.append(weakref.ref(kept))
        if len(rows) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")

    fill_but(monkeypatch, fault)
    worker = Worker([Variant(chatty, until_eos=True)], splits=True)
    rows = tuple(EncodedRow(row, i, {"number": i}) for i, row in enumerate(chatty.prompt_rows(["a"] * 4)))
    assert [line["error"] for line in worker.decode(Batch(rows))] == [None] * 4
    assert alive
    assert not any(any(each) for each in alive)


DEVICE_FAULTS = [RuntimeError("CUDA error: device-side assert triggered\nCompile with ...")]
if hasattr(torch, "AcceleratorError"):
    DEVICE_FAULTS.append(torch.AcceleratorError("CUDA error: an illegal memory access was encountered", 700))


@pytest.mark.parametrize("error", DEVICE_FAULTS, ids=lambda error: type(error).__name__)
def test_a_device_that_fails_ends_the_job_and_is_no_rows_error(
    chatty: mdm.Sampler, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def fault(rows: Any) -> None:
        calls.append(len(rows))
        if len(calls) == 2:
            raise error

    with monkeypatch.context() as patched:
        fill_but(patched, fault)
        with pytest.raises(type(error), match="CUDA error"):
            run_job(chatty, tmp_path, ["a", "b", "c", "d"], batch_size=2)
    assert calls == [2, 2]
    assert all(row["error"] is None for row in run_job(chatty, tmp_path, ["a", "b", "c", "d"], batch_size=2))


@pytest.mark.parametrize(
    ("error", "raised", "words"),
    [
        (mdm.ContractError("planner X broke"), mdm.MDMError, "^planner X broke$"),
        (torch.OutOfMemoryError("CUDA out of memory"), torch.OutOfMemoryError, "out of memory"),
        (TypeError("t"), mdm.MDMError, "a Ray worker failed: TypeError: t"),
        (DEVICE_FAULTS[-1], mdm.MDMError, "CUDA error"),
    ],
)
def test_an_actor_tells_what_ended_a_batch_as_the_local_engine_does(
    error: Exception, raised: type[Exception], words: str
) -> None:
    class Failing:
        def decode(self, batch: Batch) -> Any:
            raise error

    actor = Decoding.__new__(Decoding)
    actor.worker = Failing()  # type: ignore[assignment]
    (answer,) = actor({"batch": [Batch(encoded(1)).to_json()]})["lines"]
    with pytest.raises(raised, match=words):
        lines_of(answer)
