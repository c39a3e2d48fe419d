"""Parts at fault while they work: each is named with the cause, and none ends a command or writes its results."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from toys import MASK, toy_transformer

import mdm_sampling as mdm
from mdm_sampling.cli import main
from mdm_sampling.registry.registry import Registration, registry

PUZZLE = "1... ..3. .1.. ...4"
ROWS = [([1], [MASK] * 4), ([2], [MASK] * 3)]


@dataclass(frozen=True)
class Doing(mdm.PositionPlanner):
    """Does something at each step, and then what confidence does."""

    does: Callable[[mdm.Step], object]

    def plan(self, step: mdm.Step) -> mdm.Plan:
        done = self.does(step)
        plan = mdm.Confidence().plan(step)
        return replace(plan, **done) if isinstance(done, dict) else plan

    def __repr__(self) -> str:
        return "Doing()"


def run(planner: mdm.PositionPlanner, **parts: Any) -> mdm.Result:
    return mdm.Sampler(toy_transformer(), planner, steps=4, **parts).fill(ROWS)


def throw(error: BaseException) -> Any:
    raise error


ERRORS = [
    ZeroDivisionError("by zero"),
    KeyError("x"),
    StopIteration(),
    GeneratorExit(),
    SystemExit(0),
    SystemExit(),
    RuntimeError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_what_a_part_raises_is_told_with_its_name_and_keeps_its_cause(error: BaseException) -> None:
    @dataclass(frozen=True)
    class Tokens(mdm.TokenSampler):
        def propose(self, prediction: mdm.Prediction, noise: mdm.RowNoise, count: int) -> mdm.Proposal:
            raise error

    @dataclass(frozen=True)
    class Span(mdm.CacheStrategy):
        def span(self, block: mdm.Span, length: int, step: int) -> mdm.Span:
            raise error

    @dataclass(frozen=True)
    class Quota(mdm.Schedule):
        def quota(self, masked: torch.Tensor, step: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
            raise error

    @dataclass(frozen=True)
    class Builds(mdm.Processor):
        def build(self, backend: mdm.ModelBackend) -> Any:
            raise error

    @dataclass(frozen=True)
    class Processes(mdm.Processor):
        def build(self, backend: mdm.ModelBackend) -> Any:
            return lambda tokens, logits: throw(error)

    def broken(tokens: torch.Tensor) -> torch.Tensor:
        raise error

    def without(method: str) -> mdm.Result:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(toy_transformer(), method, lambda *_: throw(error))
            return run(mdm.Confidence(), cache=mdm.DualCache(), token_sampler=mdm.GumbelMax(1.0))

    model = mdm.wrap(broken, MASK, MASK + 1)
    for name, call in {
        "planner Doing()": lambda: run(Doing(lambda step: throw(error))),
        "token sampler": lambda: run(mdm.Confidence(), token_sampler=Tokens()),
        "cache": lambda: run(mdm.Confidence(), cache=Span()),
        "schedule": lambda: run(mdm.Confidence(), schedule=Quota()),
        "processor": lambda: run(mdm.Confidence(), processors=(Builds(),)),
        "processor ": lambda: run(mdm.Confidence(), processors=(Processes(),)),
        "model": lambda: mdm.Sampler(model, mdm.Confidence()).fill(ROWS[:1]),
        "model ": lambda: without("head"),
        "model  ": lambda: without("allocate"),
    }.items():
        with pytest.raises(mdm.ContractError, match=f"raised {type(error).__name__}") as caught:
            call()
        assert str(caught.value).startswith(name.strip())
        assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("full"), MemoryError(), KeyboardInterrupt(), mdm.SpecError("a sentence")], ids=repr
)
def test_what_is_not_the_parts_fault_passes_as_it_is(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        run(Doing(lambda step: throw(error)))
    assert caught.value is error


def test_a_part_whose_own_description_fails_is_named_by_its_class() -> None:
    @dataclass(frozen=True)
    class Shy(mdm.ScorePlanner):
        def score(self, step: mdm.Step) -> torch.Tensor:
            raise ValueError("no")

        def __repr__(self) -> str:
            raise RuntimeError("no name")

    with pytest.raises(mdm.ContractError, match="planner <Shy object> raised ValueError: no"):
        run(Shy())


@pytest.mark.parametrize(
    ("does", "words"),
    [
        (lambda step: {"memory": "x"}, "returned memory that is not a mapping"),
        (lambda step: {"memory": {"a": "x"}}, r"returned memory\['a'\] of type str, expected a tensor"),
        (lambda step: {"memory": {"a": torch.zeros(5)}}, r"returned memory\['a'\] of shape \[5\] .* the batch, 2"),
        (lambda step: {"memory": {"a": torch.tensor(1)}}, r"returned memory\['a'\] of shape \[\]"),
        (lambda step: {"candidates": "x"}, "returned candidates of type str"),
        (lambda step: {"remask": "x"}, "returned remask of type str"),
        (lambda step: {"tokens": "x"}, "returned tokens of type str"),
        (lambda step: {"unmask": "x"}, "must return a Plan with a tensor"),
        (lambda step: step.lookahead("x", step.masked, step.tokens), "looked ahead at rows, unmask and tokens of str"),
        (lambda step: look(step, [99]), r"looked ahead at a row that is not in the batch; rows must be in \[0, 2\)"),
        (lambda step: look(step, [-1]), "looked ahead at a row that is not in the batch"),
        (lambda step: look(step, [0], scope="x"), "looked ahead with scope='x'"),
        (lambda step: look(step, [0], scope=None), "looked ahead with scope=None"),
        (lambda step: look(step, [0], token=99), "looked ahead at a token that is not in the vocabulary"),
    ],
)
def test_what_a_planner_gets_wrong_is_told_with_its_name(does: Callable[[mdm.Step], object], words: str) -> None:
    with pytest.raises(mdm.ContractError, match=rf"planner Doing\(\) {words}"):
        run(Doing(does))


def look(step: mdm.Step, rows: list[int], scope: Any = "block", token: int = 1) -> None:
    where = step.masked[: len(rows)]
    step.lookahead(torch.tensor(rows), where, torch.full_like(where, token, dtype=torch.long), scope)


@dataclass(frozen=True)
class Scoring(mdm.ScorePlanner):
    """Scores confidence, and something else at some positions."""

    value: float
    where: str = "masked"

    def score(self, step: mdm.Step) -> torch.Tensor:
        return step.confidence.masked_fill(step.masked if self.where == "masked" else ~step.masked, self.value)


def test_a_score_of_nan_is_refused_where_it_would_decide() -> None:
    with pytest.raises(mdm.ContractError, match=r"planner Scoring\(value=nan.* scored a position with nan"):
        run(Scoring(float("nan")))
    with pytest.raises(mdm.ContractError, match="scored a position with nan"):
        run(mdm.Bypass(0.99, Scoring(float("nan"))))
    run(Scoring(float("nan"), "elsewhere"))
    run(Scoring(float("-inf")))


@dataclass(frozen=True)
class Confident(mdm.TokenSampler):
    """Proposes what greedy does, and another confidence at some positions."""

    value: float
    where: str = "masked"

    def propose(self, prediction: mdm.Prediction, noise: mdm.RowNoise, count: int) -> mdm.Proposal:
        made = mdm.Greedy().propose(prediction, noise, count)
        there = prediction.masked if self.where == "masked" else ~prediction.masked
        return replace(made, confidence=made.confidence.masked_fill(there, self.value))


@pytest.mark.parametrize("planner", ["confidence", "left-to-right", "bypass:0.9", "info-gain:3"])
@pytest.mark.parametrize("value", [1.5, -0.5, float("nan"), float("inf"), float("-inf")])
def test_a_confidence_that_is_no_probability_is_the_token_samplers_fault(planner: str, value: float) -> None:
    with pytest.raises(
        mdm.ContractError, match=r"token sampler Confident\(value=.*gave a position a confidence that is not"
    ):
        run(planner, token_sampler=Confident(value))  # type: ignore[arg-type]
    run(planner, token_sampler=Confident(value, "elsewhere"))  # type: ignore[arg-type]
    run(planner, token_sampler=Confident(1.001))  # type: ignore[arg-type]


def history(step: mdm.Step) -> mdm.Prediction:
    return step.history[0] if step.history else step.prediction


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda step: step.prediction.entropy.zero_(), "prediction.statistics.entropy"),
        (lambda step: step.prediction.hidden.add_(1), "prediction.hidden"),
        (lambda step: step.prediction.context.fill_(1), "prediction.context|step.block_tokens"),
        (lambda step: step.block_tokens.fill_(7), "block_tokens"),
        (lambda step: step.masked.logical_not_(), "masked"),
        (lambda step: step.quota.add_(1), "quota"),
        (lambda step: step.valid[0].fill_(False), "valid"),
        (lambda step: step.filled.at.add_(1), "filled.at"),
        (lambda step: step.proposal.confidence[0].mul_(2), "proposal.confidence|step.prediction.statistics.confidence"),
        (lambda step: step.memory["a"].add_(1) if step.memory else {"memory": {"a": torch.zeros(2)}}, "memory"),
    ],
)
def test_a_planner_that_changes_what_it_is_shown_is_caught(change: Callable[[mdm.Step], object], name: str) -> None:
    with pytest.raises(
        mdm.ContractError, match=rf"planner Doing\(\) changed step.({name}).* in place; it must work on a copy"
    ):
        run(Doing(change))


def test_inference_mode_has_no_counters_of_changes_and_works_all_the_same() -> None:
    expected = run(mdm.InfoGain(3)).sequences
    with torch.inference_mode():
        assert run(mdm.InfoGain(3)).sequences == expected


@dataclass(frozen=True)
class Talks(mdm.ScorePlanner):
    """Print, and unmask by confidence."""

    def score(self, step: mdm.Step) -> torch.Tensor:
        print("noise")
        return step.confidence


@dataclass(frozen=True)
class Leaves(mdm.ScorePlanner):
    """End the program."""

    how: str = "exit"

    def score(self, step: mdm.Step) -> torch.Tensor:
        if self.how == "exit":
            sys.exit(0)
        raise StopIteration if self.how == "stop" else GeneratorExit


@dataclass(frozen=True)
class LeavesAtOnce(mdm.ScorePlanner):
    """End the program while it is made."""

    def __post_init__(self) -> None:
        print("noise")
        sys.exit(0)

    def score(self, step: mdm.Step) -> torch.Tensor:
        return step.confidence


@contextmanager
def registered(name: str, part: type[Any], kind: str = "planners") -> Iterator[None]:
    registry().parts[kind, name] = [Registration(kind, name, part, "mdm-tests")]
    try:
        yield
    finally:
        del registry().parts[kind, name]


def test_what_a_part_prints_is_no_part_of_a_commands_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps({"prompt": PUZZLE}) + "\n")
    commands = [
        ["generate", "--json", PUZZLE],
        ["run", "--input", str(tmp_path / "in.jsonl"), "--output", str(tmp_path / "out.jsonl")],
        ["watch", PUZZLE],
    ]
    with registered("talks", Talks):
        for command in commands:
            result = CliRunner().invoke(main, [*command, "--planner", "talks"])
            assert result.exit_code == 0, result.output
            assert "noise" not in result.stdout
            assert "noise" in result.stderr
    mdm.load("embedded", max_new_tokens=4).generate("3,5,8=")
    run(Talks())
    assert "noise" in capsys.readouterr().out  # a library's user keeps stdout


@pytest.mark.parametrize("how", ["exit", "stop", "close"])
def test_no_planner_ends_a_command_as_if_it_had_succeeded(how: str, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps({"prompt": PUZZLE}) + "\n")
    output = tmp_path / "out.jsonl"
    name = {"exit": "SystemExit", "stop": "StopIteration", "close": "GeneratorExit"}[how]
    commands = [["generate", PUZZLE], ["watch", PUZZLE]]
    if how == "exit":
        commands.append(["compare", "--task", "sudoku", "--items", "1", "--out", str(tmp_path / "found")])
    with registered("leaves", Leaves):
        for command in commands:
            result = CliRunner().invoke(main, [*command, "--planner", f"leaves:how={how}"])
            assert result.exit_code == 1
            assert f"planner Leaves(how='{how}') raised {name}" in result.stderr
        inputs = ["--input", str(tmp_path / "in.jsonl"), "--output", str(output)]
        ran = CliRunner().invoke(main, ["run", *inputs, "--planner", f"leaves:how={how}"])
    assert ran.exit_code == 3
    assert f"raised {name}" in json.loads(output.read_text())["error"]


def test_a_part_that_ends_the_program_while_it_is_made_is_a_bad_spec() -> None:
    with registered("leaves-at-once", LeavesAtOnce):
        result = CliRunner().invoke(main, ["generate", PUZZLE, "--planner", "leaves-at-once"])
        assert result.exit_code == 2
        assert (result.stdout, "leaves-at-once: SystemExit: 0" in result.stderr) == ("", True)


@dataclass(frozen=True)
class LeavesAsCache(mdm.CacheStrategy):
    """End the program."""

    def span(self, block: mdm.Span, length: int, step: int) -> mdm.Span:
        sys.exit(0)


@dataclass(frozen=True)
class LeavesAsProcessor(mdm.Processor):
    """End the program."""

    def build(self, backend: mdm.ModelBackend) -> Any:
        sys.exit(0)


@dataclass(frozen=True)
class LeavesAsFamily(mdm.BackendFamily):
    """End the program, while a model is loaded or before."""

    def recognises(self, source: str, config: Any) -> bool:
        return sys.exit(0) if source == "mine" else source == "yours"

    def load(self, source: str, config: Any, options: Any) -> mdm.ModelBackend:
        print("noise")
        sys.exit(0)


@dataclass(frozen=True)
class LeavesAsTask(mdm.Task):
    """End the program, at one of the things that a task is asked."""

    at: str

    @property
    def max_new_tokens(self) -> int:
        return sys.exit(0) if self.at == "length" else 4

    def items(self, count: int | None, seed: int) -> list[mdm.Item]:
        print("noise")
        return sys.exit(0) if self.at == "items" else [mdm.Item("one", "3,5,8=")]

    def grade(self, item: mdm.Item, text: str) -> mdm.Grade:
        sys.exit(0)


@dataclass(frozen=True)
class LeavesAsDefault(mdm.ScorePlanner):
    """End the program where a command shows its parameters."""

    weight: float = field(default_factory=lambda: sys.exit(0))

    def score(self, step: mdm.Step) -> torch.Tensor:
        return step.confidence


def test_what_a_part_prints_while_it_is_checked_is_no_part_of_the_findings() -> None:
    with registered("leaves", LeavesAsTask, "tasks"):
        result = CliRunner().invoke(main, ["plugins", "check", "leaves:grade", "--examples", "1"])
    assert ("noise" in result.stdout, "noise" in result.stderr) == (False, True)


@pytest.mark.parametrize(
    ("kind", "part", "command", "words"),
    [
        ("caches", LeavesAsCache, ["generate", "--cache", "leaves", PUZZLE], "cache LeavesAsCache() raised"),
        (
            "caches",
            LeavesAsCache,
            ["compare", "--task", "sudoku", "--items", "1", "-k", "8", "--cache", "none", "--cache", "leaves"],
            "cache LeavesAsCache() raised",
        ),
        ("caches", LeavesAsCache, ["plugins", "check", "leaves"], "SystemExit: 0"),
        (
            "processors",
            LeavesAsProcessor,
            ["generate", "--processor", "leaves", PUZZLE],
            "processor LeavesAsProcessor()",
        ),
        ("backends", LeavesAsFamily, ["generate", "--model", "mine", PUZZLE], "model family LeavesAsFamily() raised"),
        (
            "backends",
            LeavesAsFamily,
            ["generate", "--model", "yours", PUZZLE],
            "yours: the model cannot be loaded: Sys",
        ),
        ("tasks", LeavesAsTask, ["compare", "--task", "leaves:length"], "task leaves:at=length raised"),
        (
            "tasks",
            LeavesAsTask,
            ["compare", "--task", "leaves:items"],
            "task leaves:at=items, making its items, raised",
        ),
        (
            "tasks",
            LeavesAsTask,
            ["compare", "--task", "leaves:grade", "--planner", "confidence"],
            "task leaves:at=grade, grading item 'one', raised SystemExit: 0",
        ),
        ("tasks", LeavesAsTask, ["plugins", "check", "leaves:length"], "SystemExit: 0"),
        ("planners", LeavesAsDefault, ["list", "planners"], "a part ended the command"),
    ],
)
def test_no_part_of_any_kind_ends_a_command_as_if_it_had_succeeded(
    kind: str, part: type[Any], command: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with registered("leaves", part, kind):
        result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert words in (result.stdout if command[0] == "plugins" else result.stderr)
    assert "noise" not in result.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_process_that_a_part_forked_does_not_go_on_with_the_run(tmp_path: Path) -> None:
    children: list[int] = []

    def fork(step: mdm.Step) -> None:
        children.append(os.fork())

    run(Doing(fork))
    with (tmp_path / "here").open("a") as file:
        file.write("after the run\n")
    assert all(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 for child in children if child)
    assert (tmp_path / "here").read_text() == "after the run\n"
