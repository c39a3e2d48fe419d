"""A model that is split over processes: two of them, on the CPU, with gloo."""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
from extras import needs

import mdm_sampling as mdm
from mdm_sampling.backends.options import LoadOptions, ModelSource
from mdm_sampling.backends.tensor_parallel import Follower, Leader
from mdm_sampling.testing.models import random_llama

PROMPTS = ["hello", "a b c", "is it so?"]
CACHES = {"none": mdm.NoCache(), "prefix": mdm.PrefixCache(), "dual": mdm.DualCache()}
SCRIPT = """
    import json, sys, torch
    sys.path[:0] = [{tests!r}, {tests!r} + "/helpers"]
    from test_tensor_parallel import decoded
    torch.set_num_threads(1)
    found = {{folder: decoded(folder, tp_plan="auto") for folder in sys.argv[2:]}}
    with open(f"{{sys.argv[1]}}/{{torch.distributed.get_rank()}}.json", "w") as file:
        json.dump(found, file)
"""


def decoded(folder: str, **options: Any) -> dict[str, Any]:
    """What Info-Gain decodes under each cache, of prompts of several lengths."""
    backend = mdm.load_backend(folder, **options)
    base = mdm.Sampler(backend, planner=mdm.InfoGain(candidates=4), max_new_tokens=12, block_size=6, steps=6)
    return {
        name: mdm.Sampler(**{**vars(base), "cache": cache}).generate(PROMPTS, seed=0, chat=False).sequences
        for name, cache in CACHES.items()
    }


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments]
    settings = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, env=settings, capture_output=True, text=True, timeout=300)


@needs("accelerate")
def test_processes_that_run_the_same_script_get_what_one_process_gets(
    llada_folder: Path, dream_folder: Path, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(dedent(SCRIPT).format(tests=str(Path(__file__).parent)))
    folders = [str(llada_folder), str(dream_folder)]
    ended = torchrun(str(script), str(tmp_path), *folders)
    assert ended.returncode == 0, ended.stderr
    alone = {folder: decoded(folder) for folder in folders}
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)] == [alone, alone]


@needs("accelerate")
def test_a_job_is_led_by_one_process(dream_folder: Path, tmp_path: Path) -> None:
    asked = tmp_path / "asked.jsonl"
    asked.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS))
    arguments = ["run", "--input", str(asked), "--model", str(dream_folder), "--batch-size", "2"]
    arguments += ["--max-new-tokens", "12", "--block-size", "6", "--steps", "6"]
    ended = torchrun("-m", "mdm_sampling", *arguments, "--output", str(tmp_path / "two.jsonl"), "--tp-plan", "auto")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("3 rows") == 1  # the other process says nothing
    alone = subprocess.run(
        [sys.executable, "-m", "mdm_sampling", *arguments, "--output", str(tmp_path / "one.jsonl")], capture_output=True
    )
    assert alone.returncode == 0
    one, two = ([json.loads(line) for line in (tmp_path / f"{name}.jsonl").open()] for name in ("one", "two"))
    assert [row["tokens"] for row in two] == [row["tokens"] for row in one]
    assert {row["spec"]["backend"]["tp_plan"] for row in two} == {"auto"}


def test_one_process_is_told_to_start_several(llada_folder: Path) -> None:
    with pytest.raises(mdm.ModelError, match="torchrun --nproc-per-node 2"):
        mdm.load_backend(str(llada_folder), tp_plan="auto")


def test_positions_for_a_model_exclude_each_other(llada_folder: Path) -> None:
    with pytest.raises(mdm.ModelError, match="exclude each other"):
        mdm.load_backend(str(llada_folder), tp_plan="auto", device="cpu")


def tiny(look_back: int = 0) -> mdm.ModelBackend:
    """A model of its own at each call, since some tests change theirs."""
    return random_llama(2, 0, look_back)


class Wire:
    """A channel to a follower in the same process."""

    def __init__(self, backend: mdm.ModelBackend) -> None:
        self.follower = Follower(backend)
        self.calls: list[str] = []
        self.stopped = False

    def send(self, message: Any) -> None:
        self.stopped = message is None
        if message is not None:
            self.calls.append(message[0])
            self.follower.obey(message)


def recording(backend: mdm.ModelBackend, found: list[torch.Tensor]) -> mdm.ModelBackend:
    """The model, with every output of its trunk and head kept."""

    def kept(make: Any) -> Any:
        def recorded(*given: Any) -> torch.Tensor:
            output: torch.Tensor = make(*given)
            found.append(output.clone())  # logits are changed in place later
            return output

        return recorded

    for name in ("trunk", "head"):
        setattr(backend, name, kept(getattr(backend, name)))
    return backend


def test_a_leader_is_described_as_its_model_is() -> None:
    model = tiny()
    model.source, model.compiled, model.max_length = ModelSource("a", "b", LoadOptions()), True, 17
    leader = Leader(model, Wire(tiny()))
    methods = {"trunk", "head", "allocate", "compile", "positions_computed", "distributions", "fingerprint"}
    # The head's matrix would be read behind the followers' backs.
    described = {name for name in dir(mdm.ModelBackend) if name[0] != "_"} | set(mdm.ModelBackend.__annotations__)
    for name in described - methods - {"head_matrix"}:
        assert getattr(leader, name) == getattr(model, name), name
    assert leader.head_matrix is None
    assert leader.fingerprint() == model.fingerprint() != random_llama(2, 1).fingerprint()


@pytest.mark.parametrize("cache", CACHES.values(), ids=CACHES)
@pytest.mark.parametrize("look_back", [0, 1])
def test_followers_compute_what_the_leader_computes(cache: mdm.CacheStrategy, look_back: int) -> None:
    led: list[torch.Tensor] = []
    followed: list[torch.Tensor] = []
    leader_model = recording(tiny(look_back), led)
    wire = Wire(recording(tiny(look_back), followed))
    leader = Leader(leader_model, wire)
    rows = [([3, 4, 5], [leader.mask_id] * 8), ([6], [leader.mask_id] * 5)]  # one row ends before the other
    parts = {"planner": mdm.InfoGain(candidates=3), "cache": cache, "block_size": 4, "steps": 8}
    result = mdm.Sampler(leader, **parts).fill(rows, [0, 1])
    assert result.sequences == mdm.Sampler(tiny(look_back), **parts).fill(rows, [0, 1]).sequences
    assert {"trunk", "head"} <= set(wire.calls)
    assert len(led) == len(followed)
    assert all(torch.equal(a, b) for a, b in zip(led, followed, strict=True))


def test_followers_drop_the_slots_that_the_leader_dropped() -> None:
    wire = Wire(tiny())
    leader = Leader(tiny(), wire)
    for seed in range(3):
        mdm.Sampler(leader, block_size=4, steps=8).fill([([3], [leader.mask_id] * 8)], [seed])
    gc.collect()
    leader.tell("allocate", -1)
    assert set(wire.follower.slots) == {-1}


def test_a_failure_of_the_leader_alone_ends_the_run() -> None:
    """An engine that halves batches on out-of-memory must not go on: the others wait within the forward that failed."""
    backend = tiny()
    wire = Wire(tiny())
    leader = Leader(backend, wire)

    def fails(*given: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("out of memory")

    backend.trunk = fails  # type: ignore[method-assign]
    with pytest.raises(SystemExit, match="out of memory"):
        mdm.Sampler(leader, block_size=4, steps=8).fill([([3], [leader.mask_id] * 8)], [0])
    leader.stop()
    assert not wire.stopped


def test_a_refusal_ends_neither_leader_nor_followers() -> None:
    def refuses(*given: object) -> torch.Tensor:
        raise mdm.ModelError("no")

    backends = [tiny(), tiny()]
    for backend in backends:
        backend.trunk = refuses  # type: ignore[method-assign]
    wire = Wire(backends[1])
    leader = Leader(backends[0], wire)
    with pytest.raises(mdm.ModelError, match="no"):
        mdm.Sampler(leader, block_size=4, steps=8).fill([([3], [leader.mask_id] * 8)], [0])
    leader.stop()
    assert wire.stopped
