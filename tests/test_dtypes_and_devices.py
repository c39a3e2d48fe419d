"""Number formats and devices that nobody named: what is stored decides, and what the machine has room for."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner
from extras import needs
from naive import NaiveDream, NaiveLLaDA, save_dream, save_llada

import mdm_sampling as mdm
from mdm_sampling.backends import devices
from mdm_sampling.backends.devices import choose_device
from mdm_sampling.cli import main
from mdm_sampling.jobs import Job, read_rows
from mdm_sampling.provenance import describe_machine

FAMILIES = [(NaiveLLaDA, save_llada), (NaiveDream, save_dream)]


def stored_as(folder: Path, kind: torch.dtype, family: int = 0, shards: int = 1, **changes: object) -> Path:
    """A tiny checkpoint with weights of this dtype, whose config.json names none unless it is told to."""
    naive, save = FAMILIES[family]
    model = naive(seed=0)
    model.weights = {name: weight.to(kind) for name, weight in model.weights.items()}
    save(model, folder, shards, **changes)
    config = json.loads((folder / "config.json").read_text())
    kept = {key: value for key, value in config.items() if key != "torch_dtype" or key in changes}
    (folder / "config.json").write_text(json.dumps(kept))
    return folder


def dtype_of(backend: mdm.ModelBackend) -> torch.dtype:
    (dtype,) = {weight.dtype for weight in backend.model.parameters()}  # type: ignore[attr-defined]
    assert isinstance(dtype, torch.dtype)
    return dtype


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[mdm.ModelBackend]:
    """The backends that are loaded from now on, by whatever entrance."""
    from mdm_sampling import loading

    made: list[mdm.ModelBackend] = []
    original = loading._loaded

    def spy(*arguments: Any) -> mdm.ModelBackend:
        made.append(original(*arguments))
        return made[-1]

    monkeypatch.setattr(loading, "_loaded", spy)
    return made


# --- dtype --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("family", [0, 1], ids=["llada", "dream"])
def test_auto_is_the_dtype_that_is_stored(family: int, shards: int, dtype: torch.dtype, tmp_path: Path) -> None:
    folder = stored_as(tmp_path, dtype, family, shards)
    assert dtype_of(mdm.load(folder, max_new_tokens=2).backend) == dtype
    assert dtype_of(mdm.load_backend(folder, dtype="float32")) == torch.float32


@pytest.mark.parametrize("key", ["torch_dtype", "dtype"])
def test_config_json_wins_over_what_is_stored(key: str, tmp_path: Path) -> None:
    folder = stored_as(tmp_path, torch.bfloat16, **{key: "torch.float16"})
    assert dtype_of(mdm.load_backend(folder)) == torch.float16


def test_two_dtypes_in_config_json_are_a_contradiction(tmp_path: Path) -> None:
    folder = stored_as(tmp_path, torch.bfloat16, torch_dtype="float16", dtype="float32")
    with pytest.raises(mdm.ModelError, match="dtype='float32' and torch_dtype='float16'"):
        mdm.load_backend(folder)
    assert dtype_of(mdm.load_backend(folder, dtype="bfloat16")) == torch.bfloat16


def test_of_several_dtypes_the_one_of_most_numbers_counts(tmp_path: Path) -> None:
    """As where a checkpoint keeps its norms, which come first in a file, in float32."""
    model = NaiveLLaDA(seed=0)
    model.weights = {n: w if w.ndim == 1 else w.bfloat16() for n, w in model.weights.items()}
    save_llada(model, tmp_path, torch_dtype=None)
    assert dtype_of(mdm.load_backend(tmp_path)) == torch.bfloat16


@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_pytorch_s_own_format_say_their_dtype_too(zipped: bool, tmp_path: Path) -> None:
    folder = stored_as(tmp_path, torch.bfloat16)
    (folder / "model.safetensors").unlink()
    weights = {name: weight.bfloat16() for name, weight in NaiveLLaDA(seed=0).weights.items()}
    torch.save(weights, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    assert dtype_of(mdm.load_backend(folder)) == torch.bfloat16


@pytest.mark.parametrize("data", [b"", b"hello", b"\x80\x02]q\x00."], ids=["empty", "text", "a list"])
def test_a_broken_file_of_pytorch_s_own_format_is_refused(data: bytes, tmp_path: Path) -> None:
    folder = stored_as(tmp_path, torch.bfloat16)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(data)
    with pytest.raises(mdm.ModelError, match=r"damaged or incomplete.*pytorch_model\.bin"):
        mdm.load_backend(folder)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("family", [0, 1], ids=["llada", "dream"])
def test_the_command_line_and_jobs_load_the_stored_dtype(
    family: int, dtype: torch.dtype, tmp_path: Path, loaded: list[mdm.ModelBackend]
) -> None:
    folder = stored_as(tmp_path / "model", dtype, family)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "a b"}\n')
    settings = ["--model", str(folder), "--max-new-tokens", "2", "--steps", "2", "--threshold", "none"]
    settings += ["--planner", "confidence"]
    for command in (
        ["generate", *settings, "a b"],
        ["run", *settings, "--input", str(prompts), "--output", str(tmp_path / "out.jsonl")],
    ):
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 0, done.output
    job = Job(mdm.load(folder, max_new_tokens=2, steps=2), read_rows(prompts), tmp_path / "job.jsonl")
    assert job.run().errors == 0
    assert [dtype_of(backend) for backend in loaded] == [dtype] * 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_evaluation_loads_the_stored_dtype(
    dtype: torch.dtype, tmp_path: Path, loaded: list[mdm.ModelBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the command, which is stopped once the model is there, and by the harness's own door."""
    pytest.importorskip("lm_eval")
    from mdm_sampling import evaluation
    from mdm_sampling.cli import evaluate
    from mdm_sampling.evaluation.harness import HarnessModel

    def stop(*_: object, **__: object) -> None:
        raise click.ClickException("that will do")

    folder = stored_as(tmp_path / "model", dtype)
    monkeypatch.setattr(evaluation, "load_tasks", lambda *_: None)
    monkeypatch.setattr(evaluate, "_check_options", lambda *_: None)
    monkeypatch.setattr(evaluation, "evaluate", stop)
    command = ["evaluate", "--tasks", "any", "--out", str(tmp_path / "out"), "--model", str(folder)]
    assert "that will do" in CliRunner().invoke(main, command).output
    HarnessModel.create_from_arg_string(f"model={folder}")
    assert [dtype_of(backend) for backend in loaded] == [dtype] * 2


# --- devices ------------------------------------------------------------------------------------------------------

GIB = 2**30


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes torch say that there are CUDA devices with so many bytes free, and perhaps MPS."""

    def pretend(*free: int, mps: int | None = None, current: int = 0, broken: tuple[str, ...] = ()) -> None:
        def mem_get_info(index: int) -> tuple[int, int]:
            if free[index] < 0:
                raise RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable")
            return free[index], 80 * GIB

        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(free))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(free))
        monkeypatch.setattr(torch.cuda, "current_device", lambda: current)
        monkeypatch.setattr(torch.cuda, "mem_get_info", mem_get_info)
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda index: 2 * GIB)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda index: GIB)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps is not None)
        monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: mps)
        monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 0)
        monkeypatch.setattr(devices, "works", lambda name: name not in broken)

    return pretend


@pytest.mark.parametrize(
    ("free", "settings", "expected"),
    [
        ((), {}, "cpu"),
        ((40 * GIB,), {}, "cuda"),
        ((9 * GIB,), {}, "cpu"),
        ((16 * GIB,), {}, "cpu"),  # the weights fit, and nothing beside them
        ((17 * GIB,), {}, "cuda"),  # with what this process has reserved and not used
        ((9 * GIB, 40 * GIB), {}, "cuda:1"),
        ((40 * GIB, 40 * GIB), {"current": 1}, "cuda"),
        ((40 * GIB, 9 * GIB), {"current": 1}, "cuda:0"),
        ((-1, 40 * GIB), {}, "cuda:1"),
        ((-1,), {}, "cpu"),
        ((40 * GIB,), {"broken": ("cuda",)}, "cpu"),
        ((), {"mps": 40 * GIB}, "mps"),
        ((), {"mps": 40 * GIB, "broken": ("mps",)}, "cpu"),
        ((), {"mps": 9 * GIB}, "cpu"),
        ((9 * GIB,), {"mps": 40 * GIB}, "mps"),
    ],
    ids=str,
)
def test_the_device_is_a_gpu_that_holds_the_model_else_the_cpu(
    machine: Callable[..., None], free: tuple[int, ...], settings: dict[str, Any], expected: str
) -> None:
    machine(*free, **settings)
    assert choose_device(16 * GIB) == expected


def test_a_device_works_if_it_draws_the_noise_of_a_run() -> None:
    assert devices.works("cpu")
    assert not devices.works("meta")
    assert torch.cuda.is_available() or not devices.works("cuda")


@pytest.mark.parametrize(("dtype", "numbers"), [("auto", 2), ("float32", 4)])
@pytest.mark.parametrize("device", ["auto", None, "cpu"])
def test_the_size_is_that_of_the_stored_weights_at_the_chosen_dtype(
    device: str | None, dtype: str, numbers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mdm_sampling.backends import checkpoint

    sizes: list[int] = []
    monkeypatch.setattr(checkpoint, "choose_device", lambda size: sizes.append(size) or "cpu")
    folder = stored_as(tmp_path, torch.bfloat16, shards=2)
    backend = mdm.load_backend(folder, dtype=dtype, device=device)
    count = sum(weight.numel() for weight in NaiveLLaDA(seed=0).weights.values())
    assert sizes == ([] if device == "cpu" else [count * numbers])
    assert backend.source is not None
    spec = {"model": str(folder), "family": "llada"} | ({} if dtype == "auto" else {"dtype": dtype})
    assert backend.source.spec() == spec | ({"device": "cpu"} if device == "cpu" else {})


@needs("accelerate")
def test_a_device_map_leaves_no_choice(monkeypatch: pytest.MonkeyPatch, llada_folder: Path) -> None:
    from mdm_sampling.backends import checkpoint

    monkeypatch.setattr(checkpoint, "choose_device", lambda size: pytest.fail("a device was chosen"))
    assert mdm.load_backend(llada_folder, device_map="cpu").device.type == "cpu"
    assert mdm.load_backend(llada_folder, device="auto", device_map={"": "cpu"}).device.type == "cpu"


@pytest.mark.parametrize(
    ("options", "terminal", "said"),
    [
        ([], True, "Device: cpu, since no GPU has room for the model\n"),
        (["--device", "auto"], True, "Device: cpu, since no GPU has room for the model\n"),
        (["--device", "cpu"], True, ""),
        pytest.param(["--device-map", "cpu"], True, "", marks=needs("accelerate")),
        ([], False, ""),
    ],
)
def test_a_device_that_was_chosen_is_said_on_a_terminal(
    machine: Callable[..., None],
    options: list[str],
    terminal: bool,
    said: str,
    llada_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine(-1)
    monkeypatch.setattr(sys.stderr.__class__, "isatty", lambda _: terminal, raising=False)
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: terminal, raising=False)
    command = ["generate", "--model", str(llada_folder), "--max-new-tokens", "2", "--steps", "1", *options, "a b"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    # On a terminal a line says what is loaded, and is taken away again with spaces.
    assert done.stderr.startswith("loading ") == terminal
    assert re.sub(r"^loading \S* \.\.\.\r *\r", "", done.stderr).startswith(said)
    assert ("Device" in done.stderr) == bool(said)


def test_the_machine_names_the_gpu_of_the_model(machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    machine(GIB, GIB)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    assert describe_machine(torch.device("cuda:1"))["gpu"] == "GPU 1"
    assert describe_machine(torch.device("cpu"))["gpu"] == "none"
    assert describe_machine()["gpu"] == "none"
