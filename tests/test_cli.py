"""The command line: what it prints, what it refuses, and that a refusal is one sentence and an exit code."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from extras import needs
from interrupts import interruptible
from naive import NaiveLLaDA, save_llada

import mdm_sampling as mdm
from mdm_sampling.cli import main

PUZZLE = "1... ..3. .1.. ...4"
SOLVED = "1342\n2431\n4123\n3214\n"
SCRIPT = [str(Path(sys.executable).with_name("mdm-sampling"))]
MODULE = [sys.executable, "-m", "mdm_sampling"]


def run(*arguments: str | Path, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], input=stdin)


def refused(result: Result, code: int, *words: str) -> None:
    """Nothing on stdout, one sentence on stderr after click's usage lines, this exit code and no traceback."""
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code, result.stderr
    assert result.stdout == ""
    usage, error, message = result.stderr.rpartition("Error: ")
    assert error
    assert "Error" not in usage
    assert message.count("\n") == 1
    for word in words:
        assert word in message


def answered(result: Result, stdout: str | None = None) -> str:
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    assert stdout is None or result.stdout == stdout
    return result.stdout


def shell(command: Sequence[str], **options: object) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, **options)  # type: ignore[call-overload,no-any-return]


# A plug-in imports what it likes; what is tested is what the package itself needs.
NO_PLUGINS = (
    "import mdm_sampling.registry.installed as installed; installed.plugins = lambda: []; "
    "from mdm_sampling.cli import main"
)

# --- What is imported, and how fast -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import mdm_sampling", ["torch", "transformers"]),
        ("import mdm_sampling as m; m.Sampler, m.InfoGain, m.load, m.wrap", ["transformers"]),
        (f"{NO_PLUGINS}; main(['--help'])", ["torch", "transformers", "mdm_sampling.registry.registry"]),
        ("from mdm_sampling.cli import main; main(['infill', '-h'], standalone_mode=False)", ["torch", "transformers"]),
        (f"{NO_PLUGINS}; main(['list'], standalone_mode=False)", ["torch", "transformers"]),
        (f"{NO_PLUGINS}; main(['plugins', 'list'], standalone_mode=False)", ["torch", "transformers"]),
        (f"{NO_PLUGINS}; main(['plugins', 'new', 'early', '--into', {{folder!r}}])", ["torch", "transformers"]),
        (f"{NO_PLUGINS}; main(['report', 'nothing.jsonl'])", ["torch", "transformers"]),
        (f"{NO_PLUGINS}; main(['results', 'nothing'])", ["torch", "transformers"]),
    ],
)
def test_imports_are_light(code: str, absent: list[str], tmp_path: Path) -> None:
    """Whatever a command's end: what was imported is printed when the process ends."""
    tell = f"import atexit, sys; atexit.register(lambda: print([m for m in {absent} if m in sys.modules]))"
    done = shell([sys.executable, "-c", f"{tell}; {code.replace('{folder!r}', repr(str(tmp_path)))}"])
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    assert "Traceback" not in done.stderr


def test_help_answers_at_once() -> None:
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        done = shell([sys.executable, "-c", f"{NO_PLUGINS}; main(['--help'])"])
        seconds.append(time.perf_counter() - began)
        assert done.returncode == 0
        assert all(command in done.stdout for command in ("generate", "infill", "list"))
    assert min(seconds) < 0.5


@pytest.mark.parametrize("command", ["generate", "infill", "run", "watch", "compare", "evaluate"])
def test_help_shows_options_under_headings_and_each_once(command: str) -> None:
    """Both spellings work, see `test_the_published_flags_run_unchanged`."""
    text = answered(run(command, "--help"))
    headings = re.findall(r"^(\w[\w ]*):$", text, re.MULTILINE)
    assert headings[0] == "Options"
    assert {"Model", "Tokens and rows"} <= set(headings)
    assert "--model " in text
    assert not re.findall(r"--\w+_\w+", text)


# --- generate -----------------------------------------------------------------------------------------------------


def test_generate_solves_the_readme_s_puzzle() -> None:
    answered(run("generate", PUZZLE), SOLVED)


def test_the_published_flags_run_unchanged(llada_folder: Path) -> None:
    flags = ["--use_cache", "prefix", "--threshold", "0.9", "--candidate_number", "8", "--position_temperature", "0.1"]
    answered(run("generate", PUZZLE, "--model_name_or_path", "embedded", *flags), SOLVED)
    answered(run("generate", "a b", "--model_name_or_path", llada_folder, *flags, "--max-new-tokens", "4"))


def test_both_spellings_of_an_option_mean_the_same() -> None:
    with_hyphens = run("generate", PUZZLE, "--json", "--block-size", "8", "--candidate-number", "3")
    underscored = run("generate", PUZZLE, "--json", "--block_size", "8", "--candidate_number", "3")
    first, second = json.loads(answered(with_hyphens)), json.loads(answered(underscored))
    assert first["spec"]["planner"] == "bypass:otherwise=(info-gain:candidates=3)"
    assert first["spec"]["block_size"] == 8
    assert first["spec"] == second["spec"]


def test_the_defaults_are_the_published_ones() -> None:
    spec = json.loads(answered(run("generate", PUZZLE, "--json")))["spec"]
    assert (spec["planner"], spec["cache"]) == ("bypass:otherwise=(info-gain)", "prefix")
    assert (spec["steps"], spec["block_size"], spec["token_sampler"]) == (512, 32, "greedy")
    assert mdm.build("planners", spec["planner"]) == mdm.Bypass(0.9, mdm.InfoGain(8, 0.1))


@pytest.mark.parametrize(
    ("options", "planner"),
    [
        ([], "bypass:otherwise=(info-gain)"),
        (["--threshold", "none"], "info-gain"),
        (["--threshold", "0.5"], "bypass:threshold=0.5,otherwise=(info-gain)"),
        (["--threshold", "0.5", "--candidate-number", "3"], "bypass:threshold=0.5,otherwise=(info-gain:candidates=3)"),
        (["--candidate-number", "3"], "bypass:otherwise=(info-gain:candidates=3)"),
        (["--planner", "info-gain"], "info-gain"),
        (["--planner", "info-gain", "--candidate-number", "3"], "info-gain:candidates=3"),
        (["--planner", "margin"], "margin"),
        (["--planner", "defer:otherwise=(info-gain)"], "defer:otherwise=(info-gain)"),
        (["--threshold", "0.5", "--planner", "margin"], "bypass:threshold=0.5,otherwise=(margin)"),
        (["--planner", "bypass:capped=true"], "bypass:capped=true"),
        (["--planner", "info-gain:candidates=3", "--threshold", "none"], "info-gain:candidates=3"),
    ],
)
def test_the_planner_that_the_options_describe(options: list[str], planner: str) -> None:
    assert json.loads(answered(run("generate", PUZZLE, "--json", *options)))["spec"]["planner"] == planner


def test_prompts_come_from_arguments_a_file_or_standard_input(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes(b"\xef\xbb\xbf" + f"{PUZZLE}\r\n\r\n  \n{PUZZLE}\n".encode())
    twice = f"{SOLVED}\n{SOLVED}"
    answered(run("generate", PUZZLE, PUZZLE), twice)
    answered(run("generate", "--file", file), twice)
    answered(run("generate", "--file", "-", stdin=file.read_bytes()), twice)
    answered(run("generate", stdin=file.read_bytes()), twice)


def test_the_batch_size_changes_nothing() -> None:
    puzzles = [PUZZLE, "12.. 34.. .... ....", PUZZLE]
    together = answered(run("generate", *puzzles, "--temperature", "1"))
    assert answered(run("generate", *puzzles, "--temperature", "1", "--batch-size", "2")) == together


def test_json_lines_hold_the_result_and_rebuild_it() -> None:
    lines = [json.loads(line) for line in answered(run("generate", PUZZLE, PUZZLE, "--json")).splitlines()]
    assert len(lines) == 2
    assert [line["prompt"] for line in lines] == [PUZZLE, PUZZLE]
    assert lines[0]["text"] + "\n" == SOLVED
    assert lines[0]["steps"] >= 1
    assert lines[0]["cumulative_entropy"] > 0
    again = mdm.from_spec(lines[0]["spec"]).generate(PUZZLE, lines[0]["seed"])
    assert again.sequences[0] == lines[0]["tokens"]


def test_the_trace_tells_every_step(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    result = run("generate", PUZZLE, "--json", "--trace", file, "--planner", "info-gain", "--steps", "10")
    row = json.loads(answered(result))
    opening, *steps = [json.loads(line) for line in file.read_text().splitlines()]
    assert opening["spec"] == row["spec"]
    assert opening["seeds"] == [row["seed"]]
    body, mask = opening["canvas"]["bodies"][0], opening["canvas"]["mask_id"]
    entropy, forwards, weighed = 0.0, 0, 0
    for number, step in enumerate(steps):
        assert step["step"] == number
        (told,) = step["rows"]
        for position, token in zip(told["positions"], told["tokens"], strict=True):
            assert body[position] == mask
            body[position] = token
        assert len(told["texts"]) == len(told["confidence"]) == len(told["entropy"]) == len(told["positions"])
        entropy += sum(told["entropy"])
        forwards += told["forwards"]
        if told["candidates"]:
            weighed += 1
            (chosen,) = [move for move in told["candidates"] if move["chosen"]]
            assert chosen["positions"] == told["positions"]
            assert chosen["score"] == max(move["score"] for move in told["candidates"])
    assert opening["canvas"]["prefixes"][0] + body == row["tokens"]
    assert len(steps) == row["steps"] == 10
    assert weighed > 0
    assert forwards == row["forwards"]
    assert entropy == pytest.approx(row["cumulative_entropy"], abs=1e-4)


def test_the_chat_template_is_applied_if_there_is_one(llada_folder: Path) -> None:
    options = ["--model", llada_folder, "--max-new-tokens", "2", "--json"]
    results = [run("generate", "a", *options, *flag) for flag in ([], ["--chat"], ["--no-chat"])]
    default, on, off = (json.loads(answered(result))["tokens"] for result in results)
    assert default[:-2] == on[:-2]
    assert len(on) > len(off) == 3


def test_samples_of_a_prompt_are_drawn_by_seeds_that_count_up(llada_folder: Path) -> None:
    options = ["--model", llada_folder, "--max-new-tokens", "6", "--temperature", "2", "--json", "--no-chat"]
    lines = answered(run("generate", "a", "bc", *options, "--samples", "3", "--seed", "5", "--batch-size", "2"))
    rows = [json.loads(line) for line in lines.splitlines()]
    assert [(row["prompt"], row["seed"]) for row in rows] == [
        (text, seed) for text in ("a", "bc") for seed in (5, 6, 7)
    ]
    assert len({row["text"] for row in rows[:3]}) > 1
    alone = json.loads(answered(run("generate", "bc", *options, "--seed", "6")))
    assert alone["tokens"] == rows[4]["tokens"]
    filled = answered(run("infill", "a[MASK:4]b", *options[:2], "--temperature", "2", "--samples", "2", "--json"))
    assert [json.loads(line)["seed"] for line in filled.splitlines()] == [0, 1]


def test_a_text_ends_before_a_stop() -> None:
    assert answered(run("generate", PUZZLE, "--stop", "9", "--stop", "\n4")) == "1342\n2431\n"
    row = json.loads(answered(run("generate", PUZZLE, "--stop", "\n", "--json")))
    assert (row["text"], row["stop"]) == ("1342", ["\n"])
    assert len(row["tokens"]) > 20, "the tokens are those that were decoded"


def test_a_system_message_stands_before_each_prompt(dream_folder: Path) -> None:
    options = ["--model", dream_folder, "--max-new-tokens", "2", "--json"]
    row = json.loads(answered(run("generate", "a", *options, "--system", "b c")))
    messages = [{"role": "system", "content": "b c"}, {"role": "user", "content": "a"}]
    tokens = mdm.load(str(dream_folder), max_new_tokens=2).generate([messages]).sequences[0]
    assert row["tokens"][:-2] == tokens[:-2]
    assert (row["prompt"], row["system"], row["chat"]) == ("a", "b c", True)
    refused(run("generate", "a", *options, "--system", "b", "--no-chat"), 2, "--system would be ignored with --no-chat")
    refused(run("generate", PUZZLE, "--system", "b"), 1, "chat template")
    refused(run("generate", PUZZLE, "--stop", ""), 1, "stop must be a Unicode text")


# --- infill and list ----------------------------------------------------------------------------------------------


def test_infill_fills_masks_and_keeps_the_rest(llada_folder: Path) -> None:
    text = answered(run("infill", "1__4\n__1_\n_1__\n___1"))
    assert mdm.Sudoku().grade(mdm.Item("1004001001000001", ""), text).score == 1
    row = json.loads(answered(run("infill", "a[MASK]b[MASK:3]c", "--model", llada_folder, "--json")))
    known = [mdm.load_backend(str(llada_folder)).codec.tokenizer.get_vocab()[c] for c in "abc"]  # type: ignore[union-attr]
    assert [row["tokens"][i] for i in (0, 2, 6)] == known
    assert len(row["tokens"]) == 7
    assert 2 not in row["tokens"]


def test_list_shows_every_part_with_its_rule_and_defaults() -> None:
    text = answered(run("list"))
    for kind in ("planners", "caches", "token_samplers", "schedules", "processors", "backends"):
        assert kind in text
    assert "candidates=8" in text
    assert answered(run("list", "caches")).startswith("caches\n  none  (mdm-sampling)\n")
    parts = [json.loads(line) for line in answered(run("list", "--json")).splitlines()]
    assert {"name", "kind", "rule", "distribution", "parameters"} <= parts[0].keys()
    assert all(part["rule"] for part in parts)


# --- Refusals -----------------------------------------------------------------------------------------------------

USAGE = [
    # specs
    (["--planner", "infogain"], ["--planner", "'infogain'", "did you mean 'info-gain'"]),
    (["--planner", "xyz"], ["--planner", "'xyz'", "confidence"]),
    (["--planner", ""], ["--planner", "not a spec"]),
    (["--planner", "info-gain:candidate=3"], ["'candidate'", "did you mean 'candidates'"]),
    (["--planner", "info-gain:scope=block,candidates"], ["parameter=value"]),
    (["--planner", "info-gain:candidates=0"], ["candidates must be at least 1"]),
    (["--planner", "info-gain:candidates=2.5"], ["whole number", "'2.5'"]),
    (["--planner", "info-gain:candidates=99999999999"], ["candidates", "2147483647"]),
    (["--planner", "info-gain:candidates=1,candidates=2"], ["twice"]),
    (["--planner", "info-gain:position_temperature=nan"], ["position_temperature", "got nan"]),
    (["--planner", "info-gain:scope=world"], ["scope", "block, canvas"]),
    (["--planner", "bypass:threshold=2"], ["threshold must be in (0, 1]"]),
    (["--planner", "bypass:otherwise=(info-gain"], ["closing ')'"]),
    (["--planner", "bypass:otherwise=(nope)"], ["'nope'"]),
    (["--cache", "prefx"], ["--cache", "did you mean 'prefix'"]),
    (["--cache", "prefix:every=2"], ["--cache", "'every'"]),
    (["--use_cache", "refresh:every=0"], ["every must be at least 1"]),
    (["--schedule", "cosin"], ["--schedule", "did you mean 'cosine'"]),
    (["--processor", "bann"], ["--processor", "did you mean 'ban'"]),
    (["--processor", "penalise:by=inf"], ["by must be at most"]),
    (["--processor", "ban:ids=3"], ["list in brackets"]),
    # numbers
    (["--threshold", "0"], ["--threshold", "'0'"]),
    (["--threshold", "1.1"], ["--threshold", "'1.1'"]),
    (["--threshold", "nan"], ["--threshold", "'nan'"]),
    (["--candidate_number", "0"], ["--candidate-number", "x>=1"]),
    (["--candidate_number", "1.5"], ["'1.5' is not a valid integer"]),
    (["--candidate_number", "99999999999"], ["larger than"]),
    (["--position_temperature", "-1"], ["--position-temperature", "x>=0"]),
    (["--position_temperature", "nan"], ["nan is not a finite number"]),
    (["--position_temperature", "inf"], ["inf is not a finite number"]),
    (["--temperature", "-1"], ["--temperature", "x>=0"]),
    (["--temperature", "nan"], ["nan is not a finite number"]),
    (["--temperature", "inf"], ["inf is not a finite number"]),
    (["--temperature", "1", "--top-p", "nan"], ["nan is not a finite number"]),
    (["--temperature", "1", "--top-p", "0"], ["--top-p", "0<x<=1"]),
    (["--temperature", "1", "--top-k", "-1"], ["--top-k", "x>=0"]),
    (["--steps", "0"], ["--steps", "x>=1"]),
    (["--steps", "9" * 30], ["--steps", "larger than"]),
    (["--block_size", "0"], ["--block-size", "x>=1"]),
    (["--block_size", "9" * 30], ["--block-size", "larger than"]),
    (["--batch-size", "0"], ["--batch-size", "x>=1"]),
    (["--lookahead-batch", "0"], ["--lookahead-batch", "x>=1"]),
    (["--mask-id", "-1"], ["--mask-id", "x>=0"]),
    (["--seed", "x"], ["--seed", "'x'"]),
    (["--eos", "maybe"], ["--eos", "'maybe'", "finish"]),
    (["--dtype", "int8"], ["--dtype", "'int8'", "bfloat16"]),
    (["--nope"], ["--nope"]),
    # options that would be ignored
    (["--top-k", "3"], ["--top-k would be ignored", "--temperature"]),
    (["--top-p", "0.5"], ["--top-p would be ignored", "--temperature"]),
    (["--planner", "confidence", "--candidate_number", "8"], ["--candidate-number would be ignored", "confidence"]),
    (["--planner", "margin", "--position_temperature", "1"], ["--position-temperature would be ignored", "margin"]),
    (["--planner", "info-gain:candidates=3", "--candidate-number", "8"], ["write candidates into info-gain"]),
    (
        ["--planner", "bypass:otherwise=(info-gain)", "--candidate-number", "5"],
        ["ignored", "write candidates"],
    ),
    (["--planner", "bypass", "--threshold", "0.5"], ["--threshold would be ignored"]),
    (["--planner", "entropy", "--lookahead-batch", "2"], ["--lookahead-batch would be ignored", "never looks ahead"]),
    (["--planner", "bypass", "--lookahead-batch", "2"], ["--lookahead-batch would be ignored"]),
    *(
        (["--planner", planner, "--schedule", "cosine"], [f"--schedule would be ignored by --planner {planner}: it"])
        for planner in ("eb", "factor", "bounded-chain", "bypass:otherwise=eb", "speculate:eb")
    ),
    # outputs
    (["--trace", ""], ["--trace"]),
    (["--trace", "-"], ["--trace", "standard output"]),
    (["--trace", "."], ["--trace", "directory"]),
]


@pytest.mark.parametrize(("options", "words"), USAGE, ids=lambda value: " ".join(value)[:60])
def test_wrong_options_are_usage_errors(options: list[str], words: list[str]) -> None:
    refused(run("generate", PUZZLE, *options), 2, *words)
    refused(run("infill", "1_", *options), 2, *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["generate", PUZZLE, "--max-new-tokens", "0"], ["--max-new-tokens"]),
        (["generate", PUZZLE, "--max-new-tokens", "9" * 30], ["--max-new-tokens", "larger than"]),
        (["infill", "1_", "--max-new-tokens", "4"], ["--max-new-tokens"]),
        (["infill", "1_", "--chat"], ["--chat"]),
        (["list", "planets"], ["'planets'", "planners"]),
        (["list", "planners", "caches"], ["caches"]),
        (["generte", PUZZLE], ["generte"]),
        (["generate", ""], ["text 1 is empty"]),
        (["generate", PUZZLE, " \n"], ["text 2 is empty"]),
        (["infill", ""], ["text 1 is empty"]),
        (["generate", "a\udcff"], ["text 1 is not valid UTF-8"]),
        (["generate", PUZZLE, "--file", __file__], ["not both"]),
        (["generate", "--file", "no-such-file"], ["--file", "no-such-file"]),
        (["generate", "--file", "."], ["--file", "directory"]),
    ],
    ids=lambda value: " ".join(value)[:50].replace("\udcff", "?"),
)
def test_wrong_usage(arguments: list[str], words: list[str]) -> None:
    refused(run(*arguments), 2, *words)


@pytest.mark.parametrize("data", [b"", b"\n \n\r\n", bytes(range(256)), b"\xff\xfe1"])
def test_inputs_without_text(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "prompts"
    file.write_bytes(data)
    refused(run("generate", "--file", file), 2, "the input")
    refused(run("generate", stdin=data), 2, "the input")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["generate", "hello"], ["tokenizer does not know", "'h'", "only knows Sudoku and Countdown; pass --model"]),
        (["generate", PUZZLE, "1\x002"], ["tokenizer does not know", r"'\x00'"]),
        (["generate", "1", "--device", "cpu", "--device-map", "auto"], ["device, device_map and tp_plan exclude"]),
        (["generate", "1" * 300], ["302 tokens", "context of 256"]),
        (["generate", PUZZLE, "1" * 300], ["row 1", "context of 256"]),
        (["generate", PUZZLE, "--max-new-tokens", "300"], ["300", "context of 256", "max_new_tokens"]),
        (["generate", PUZZLE, "--max-new-tokens", "2000000000"], ["context of 256", "max_new_tokens"]),
        (["generate", "1_.. ...."], ["row 0", "mask token", "infill"]),
        (["generate", PUZZLE, "--chat"], ["no chat template", "--no-chat"]),
        (["infill", "1234"], ["nothing to fill", "'1234'", "write _ or [MASK:5] where", "as in '1234_'"]),
        (["infill", "no masks"], ["nothing to fill", "as in 'no masks_'"]),
        (["infill", "1_", "1234"], ["nothing to fill", "'1234'"]),
        (["infill", "1[MASK:0]_"], ["[MASK:0]", "whole number"]),
        (["infill", "1[MASK:x]_"], ["[MASK:x]", "whole number"]),
        (["infill", "1[MASK:99999999999999999999]"], ["whole number"]),
        (["infill", "[MASK:999999]"], ["context of 256"]),
        (["generate", PUZZLE, "--model", "nowhere"], ["'nowhere'", "not a folder"]),
        (["generate", PUZZLE, "--model", ""], ["name is empty"]),
        (["generate", PUZZLE, "--model", "nobody/nothing"], ["'nobody/nothing'", "hub"]),
        (["generate", PUZZLE, "--model", "."], ["no config.json"]),
        (["generate", PUZZLE, "--mask-id", "99"], ["mask id 99"]),
        (["generate", PUZZLE, "--revision", "main"], ["revision 'main' would be ignored"]),
        (["generate", PUZZLE, "--device", "toaster"], ["'toaster'"]),
        (["generate", PUZZLE, "--attn-implementation", "magic"], ["magic"]),
        (["generate", PUZZLE, "--processor", "ban:ids=[99999]"], ["ban", "99999", "[0, 27)"]),
        (["generate", PUZZLE, "--trace", "/no/such/folder/trace"], ["no folder /no/such/folder to write trace into"]),
    ],
    ids=lambda value: " ".join(value)[:60].replace("\x00", "?"),
)
def test_what_the_model_cannot_do(arguments: list[str], words: list[str]) -> None:
    refused(run(*arguments), 1, *words)


def test_a_refused_run_leaves_no_trace(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    refused(run("generate", PUZZLE, "hello", "--trace", file), 1, "tokenizer does not know")
    assert not file.exists()


def test_logits_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model = NaiveLLaDA(seed=0)
    model.weights[model.top["norm"]][:] = torch.nan
    refused(run("generate", "a", "--model", save_llada(model, tmp_path), "--max-new-tokens", "4"), 1, "not finite")


def test_a_checkpoint_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    save_llada(NaiveLLaDA(seed=0), tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    for command in ("generate", "infill"):
        refused(run(command, "a [MASK]", "--model", tmp_path), 1, str(tmp_path), "no tokenizer")


def test_a_default_length_beyond_the_context_is_refused(tmp_path: Path) -> None:
    save_llada(NaiveLLaDA(seed=0), tmp_path)
    (tmp_path / "generation_config.json").write_text('{"max_new_tokens": 5000000000000}')
    refused(run("generate", "a", "--model", tmp_path), 1, "context of 128", "pass max_new_tokens")


def test_memory_that_cannot_be_had_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*_: object, **__: object) -> None:
        torch.empty(2**60, dtype=torch.uint8)

    monkeypatch.setattr(mdm.Sampler, "fill", fill)
    refused(run("generate", PUZZLE), 1, "out of memory", "--batch-size")


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(mdm.Sampler, "fill", fill)
    assert str(run("generate", PUZZLE).exception) == "a bug"


# --- Processes ----------------------------------------------------------------------------------------------------


def test_only_the_result_is_printed_where_no_terminal_is() -> None:
    done = shell([*MODULE, "generate", PUZZLE])
    assert (done.returncode, done.stdout, done.stderr) == (0, SOLVED, "")


@pytest.fixture
def many(tmp_path: Path) -> Path:
    file = tmp_path / "many.txt"
    file.write_text(f"{PUZZLE}\n" * 1000)
    return file


def slow_run(many: Path, *options: str) -> "subprocess.Popen[str]":
    command = [*SCRIPT, "generate", "--file", str(many), "--batch-size", "1", "--json", *options]
    return interruptible(command)


def test_an_interrupt_ends_cleanly_with_whole_lines(many: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    with slow_run(many, "--trace", str(trace)) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=180)
    assert process.returncode == 130
    assert errors.strip() == "Stopped."
    assert all(json.loads(line)["text"] + "\n" == SOLVED for line in [first, *rest.splitlines()])
    assert all(json.loads(line) for line in trace.read_text().splitlines())


def test_a_reader_that_leaves_ends_the_run_quietly(many: Path) -> None:
    with slow_run(many) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())
        process.stdout.close()
        assert process.wait(timeout=180) == 1
        assert process.stderr.read() == ""


@needs("/dev/full")
def test_a_full_disk_is_a_sentence() -> None:
    with open("/dev/full", "w") as full:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        command = [*SCRIPT, "generate", PUZZLE]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment, timeout=180)
    assert done.returncode == 1
    assert done.stderr == "Error: cannot write the output: No space left on device\n"


@needs("/dev/full")
def test_a_trace_that_cannot_be_written_is_a_sentence() -> None:
    result = run("generate", PUZZLE, "--trace", "/dev/full")
    assert result.exit_code == 1
    assert result.stderr == "Error: cannot write the output: No space left on device\n"


def test_a_closed_standard_input_is_a_usage_error() -> None:
    done = shell(["sh", "-c", '"$@" <&-', "sh", *SCRIPT, "generate"])
    assert done.returncode == 2
    assert done.stdout == ""
    assert "nothing to do" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_terminal_gets_a_progress_bar_on_stderr() -> None:
    ours, theirs = os.openpty()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [*SCRIPT, "generate", PUZZLE, "--block-size", "10"]  # a second block: the bar must go on
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, text=True, env=environment, timeout=180)
    os.close(theirs)
    bar = os.read(ours, 100_000).decode()
    os.close(ours)
    assert re.fullmatch(r"([1-4]{4}\n){4}", done.stdout)  # the text alone, whatever the model makes of such blocks
    # The line is taken away again before anything else is written.
    assert re.match(r"loading embedded \.\.\.\r {20}\rDevice: cpu\r\n", bar)
    assert bar.count("loading") == 1
    assert "1/1" in bar
    assert "20/20" in bar
    assert "None" not in bar


@pytest.mark.parametrize("command", ["generate", "infill", "watch"])
def test_a_terminal_is_told_what_is_loaded_before_torch_is_imported(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a tenth of a second, in a process that has imported nothing yet."""
    code = """
import sys, time
began = time.perf_counter()
from mdm_sampling.cli import main
sys.stderr.isatty = lambda: True
write = sys.stderr.write
def told(text):
    if "loading" in text:
        print(time.perf_counter() - began, "torch" in sys.modules, "rich" in sys.modules, flush=True)
        sys.exit()
    return write(text)
sys.stderr.write = told
main([COMMAND, "1..."])
"""
    done = shell([sys.executable, "-c", code.replace("COMMAND", repr(command))])
    assert done.stdout, done.stderr
    seconds, with_torch, with_rich = done.stdout.split()
    assert float(seconds) < 0.5
    assert (with_torch, with_rich) == ("False", "False")


def test_infill_does_not_ask_for_room_that_it_never_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint whose default length exceeds its context, as 128 does with a context of 64."""
    monkeypatch.setattr("mdm_sampling.loading.default_new_tokens", lambda *_: 999)
    assert re.fullmatch("1[0-9+=,.:() \n*/-]4\n", run("infill", "1_4").stdout)
    refused(run("generate", PUZZLE), 1, "context of 256")
