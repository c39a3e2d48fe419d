"""The conformance kit and parts that change themselves, work in vain, never end, or end the process."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from test_part_faults import registered

import mdm_sampling as mdm
from mdm_sampling import testing
from mdm_sampling.cli import main
from mdm_sampling.testing.conformance import notes, outcomes
from mdm_sampling.testing.watchdog import TooLong, limited


def count(part: Any) -> None:
    object.__setattr__(part, "calls", part.calls + 1)


@dataclass(frozen=True)
class CountingPlanner(mdm.ScorePlanner):
    calls: int = 0

    def score(self, step: mdm.Step) -> torch.Tensor:
        count(self)
        return step.confidence


@dataclass(frozen=True)
class CountingInside(mdm.PositionPlanner):
    """The part inside is what changes."""

    inner: mdm.PositionPlanner = field(default_factory=CountingPlanner)

    def plan(self, step: mdm.Step) -> mdm.Plan:
        return self.inner.plan(step)


@dataclass(frozen=True)
class CountingCache(mdm.CacheStrategy):
    calls: int = 0

    def span(self, block: mdm.Span, length: int, step: int) -> mdm.Span:
        count(self)
        return mdm.Span(0, length)


@dataclass(frozen=True)
class CountingSchedule(mdm.Schedule):
    calls: int = 0

    def quota(self, masked: torch.Tensor, step: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        count(self)
        return torch.ones_like(masked)


@dataclass(frozen=True)
class CountingSampler(mdm.TokenSampler):
    calls: int = 0

    def propose(self, prediction: mdm.Prediction, noise: mdm.RowNoise, n: int) -> mdm.Proposal:
        count(self)
        return mdm.Greedy().propose(prediction, noise, n)


@dataclass(frozen=True)
class CountingShape(mdm.DraftShape):
    calls: int = 0

    def drafts(
        self, step: mdm.Step, plan: mdm.Plan, planner: mdm.PositionPlanner, number: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        count(self)
        return mdm.Prefixes().drafts(step, plan, planner, number)


@dataclass(frozen=True)
class CountingTask(mdm.Task):
    calls: int = 0

    def items(self, number: int | None, seed: int) -> list[mdm.Item]:
        count(self)
        return [mdm.Item(f"{i}", "1") for i in range(number or 3)]

    def grade(self, item: mdm.Item, text: str) -> mdm.Grade:
        return mdm.Grade(None, 0.0)


@pytest.mark.parametrize(
    ("check", "part"),
    [
        (testing.check_planner, CountingPlanner()),
        (testing.check_planner, CountingInside()),
        (testing.check_cache, CountingCache()),
        (testing.check_schedule, CountingSchedule()),
        (testing.check_draft_shape, CountingShape()),
        (testing.check_token_sampler, CountingSampler()),
        (testing.check_task, CountingTask()),
    ],
    ids=lambda each: type(each).__name__,
)
def test_a_part_that_changes_itself_is_no_value(check: Callable[..., None], part: Any) -> None:
    with pytest.raises(testing.ConformanceError, match=r"it changed itself, from .*calls=\d+\)"):
        check(part, examples=1)


@dataclass(frozen=True)
class Remembering(mdm.ScorePlanner):
    def score(self, step: mdm.Step) -> torch.Tensor:
        return step.confidence - sum((past.entropy for past in step.history), torch.zeros_like(step.confidence))


@dataclass(frozen=True)
class Asking(Remembering):
    needs = mdm.Needs(history=1)


@pytest.mark.parametrize(
    ("planner", "words"),
    [
        (Remembering(), ["it reads `step.history`, which stays empty"]),
        (Asking(), []),
        (mdm.Bypass(0.5, mdm.InfoGain(2)), []),
    ],
    ids=repr,
)
def test_what_is_done_in_vain_is_noted(planner: mdm.PositionPlanner, words: list[str]) -> None:
    found = notes("planners", planner)
    assert len(found) == len(words)
    assert all(word in note for note, word in zip(found, words, strict=True))


@dataclass(frozen=True)
class Hangs(mdm.ScorePlanner):
    """Never come to an end."""

    def score(self, step: mdm.Step) -> torch.Tensor:
        while True:
            time.sleep(0.01)


def test_a_rule_that_does_not_come_to_its_end_is_named_and_the_next_one_is_checked() -> None:
    first, second, third = islice(outcomes("planners", Hangs(), examples=1, seconds=0.2), 3)
    assert (first.breach, second.title == third.title) == (None, False)
    for outcome in (second, third):
        assert "expected: an end within 0.2 s" in str(outcome.breach)
        assert outcome.seconds < 5


def test_what_takes_long_ends_where_interrupts_are_ignored() -> None:
    """As in a process that a script started in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(TooLong), limited(0.05, lambda said: None):
            time.sleep(9)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_takes_long_is_told_and_a_users_interrupt_stays_one() -> None:
    said: list[str] = []
    with limited(9.0, said.append, every=0.02):
        while not said:
            time.sleep(0.01)
    assert said[0] == "0 s"
    with pytest.raises(KeyboardInterrupt), limited(9.0, said.append):
        raise KeyboardInterrupt
    with pytest.raises(TooLong), limited(0.05, said.append):
        time.sleep(9)


@dataclass(frozen=True)
class EndsTheProcess(mdm.ScorePlanner):
    """End the process with the code of a success."""

    at_once: bool = False

    def __post_init__(self) -> None:
        if self.at_once:
            os._exit(0)

    def score(self, step: mdm.Step) -> torch.Tensor:
        os._exit(0)


def test_a_part_that_ends_the_process_does_not_look_as_if_it_had_passed() -> None:
    leave = os._exit
    with registered("ends", EndsTheProcess):
        result = CliRunner().invoke(main, ["plugins", "check", "ends:at_once=true"])
    assert (result.exit_code, "it called os._exit(0)" in result.stderr) == (1, True)
    with pytest.raises(testing.ConformanceError, match=r"it called os._exit\(0\)"):
        testing.check_planner(EndsTheProcess(), examples=1)
    assert os._exit is leave


@dataclass(frozen=True)
class Gives(mdm.Task):
    """A task whose every answer can be wrong."""

    length: Any = 3

    @property
    def max_new_tokens(self) -> Any:
        return self.length() if callable(self.length) else self.length

    def items(self, number: int | None, seed: int) -> list[mdm.Item]:
        return [mdm.Item(f"{i}", "1") for i in range(number or 3)]

    def grade(self, item: mdm.Item, text: str) -> mdm.Grade:
        return mdm.Grade(None, 0.0)


def leave() -> int:
    raise GeneratorExit


def test_what_breaks_a_check_off_is_a_breach_wherever_it_is_raised() -> None:
    with pytest.raises(testing.ConformanceError, match=r"GeneratorExit.*test_kit_faults.py, line"):
        testing.check_task(Gives(leave), examples=1)


@dataclass(frozen=True)
class DrawsFromTorch(mdm.ScorePlanner):
    def score(self, step: mdm.Step) -> torch.Tensor:
        return torch.rand(step.masked.shape)


def test_a_guards_finding_is_told_as_it_is() -> None:
    with pytest.raises(testing.ConformanceError) as caught:
        testing.check_planner(DrawsFromTorch(), examples=1)
    assert str(caught.value).splitlines()[2] == "  got: it drew from torch's global generator"


@dataclass(frozen=True)
class CutsTheQuota(mdm.PositionPlanner):
    """A wrapper that asks for less, the last step included."""

    def plan(self, step: mdm.Step) -> mdm.Plan:
        return mdm.Confidence().plan(replace(step, quota=step.quota.clamp(max=1)))


def test_a_planner_that_takes_more_steps_than_it_has_is_found() -> None:
    with pytest.raises(testing.ConformanceError, match=r"CutsTheQuota\(\) left positions masked at a row's last step"):
        testing.check_planner(CutsTheQuota(), examples=5)


@dataclass(frozen=True, repr=False)
class Shy(mdm.ScorePlanner):
    """A planner that cannot say what it is."""

    def score(self, step: mdm.Step) -> torch.Tensor:
        return step.confidence

    def __repr__(self) -> str:
        raise RuntimeError("no name")


@dataclass(frozen=True, repr=False)
class ShyAndEarly(Shy):
    """The same, and one that unmasks what is not masked."""

    def plan(self, step: mdm.Step) -> mdm.Plan:
        return mdm.Plan(torch.ones_like(step.masked))


def test_a_part_whose_own_description_fails_is_checked_all_the_same() -> None:
    with registered("shy", Shy):
        result = CliRunner().invoke(main, ["plugins", "check", "shy", "--examples", "2"])
    assert result.exit_code == 0, result.output
    with pytest.raises(testing.ConformanceError, match=r"<ShyAndEarly object> breaks its contract"):
        testing.check_planner(ShyAndEarly(), examples=2)


@dataclass(frozen=True)
class Chained(mdm.PositionPlanner):
    """Reports costs that the kit cannot know."""

    by: float

    needs = mdm.Needs(drafts=True)

    def plan(self, step: mdm.Step) -> mdm.Plan:
        if step.may_wait:
            return mdm.Plan(torch.zeros_like(step.masked))
        plan = mdm.InfoGain(candidates=3).plan(step)
        if plan.candidates is None:
            return plan
        return replace(plan, candidates=replace(plan.candidates, cost=plan.candidates.cost + self.by))


def test_costs_along_a_chain_are_only_bounded() -> None:
    testing.check_planner(Chained(0.1), examples=5)
    for by in (-9.0, float("inf")):
        with pytest.raises(testing.ConformanceError, match="has a cost that is finite and at least 0"):
            testing.check_planner(Chained(by), examples=5)
