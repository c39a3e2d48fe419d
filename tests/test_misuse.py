"""What is called with values of the wrong kind: one sentence each, and no number that is cut to another."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from toys import MASK, toy_transformer

import mdm_sampling as mdm

SAMPLER = mdm.Sampler(toy_transformer(), mdm.Confidence(), steps=4)
ROWS: Any = [([1], [MASK, MASK]), ([2], [MASK])]


@pytest.mark.parametrize(
    "rows",
    [None, 5, "ab", torch.ones(2, 2, dtype=torch.long), [None], [5], ["ab"], [([1],)], [([1], None)], [("1", [MASK])]],
    ids=repr,
)
def test_what_is_no_list_of_rows_is_refused(rows: Any) -> None:
    for call in (SAMPLER.fill, SAMPLER.canvas, SAMPLER.check):
        with pytest.raises(mdm.CanvasError, match=r"a list of pairs|row 0: a row is a pair"):
            call(rows)


@pytest.mark.parametrize(
    "token", [1.0, 1.9, "1", None, True, [1], torch.tensor(1.0), torch.tensor([1, 2]), np.float32(1)]
)
def test_a_token_that_is_no_whole_number_is_refused(token: Any) -> None:
    for row in (([token], [MASK]), ([1], [token, MASK])):
        with pytest.raises(mdm.CanvasError, match="row 0: token ids must be whole numbers, got"):
            SAMPLER.fill([row])


def test_whole_numbers_of_other_libraries_are_taken() -> None:
    rows: Any = [([np.int64(1)], [torch.tensor(3), MASK])]
    assert SAMPLER.fill(rows).sequences == SAMPLER.fill([([1], [3, MASK])]).sequences


@pytest.mark.parametrize(
    "seed", [None, 1.7, 3.0, "7", b"7", True, 2**63, [1.0, 2], ["1", "2"], [None, 1], [True, 1]], ids=repr
)
def test_a_seed_that_is_no_whole_number_is_refused(seed: Any) -> None:
    with pytest.raises(mdm.SpecError, match="seed must be a whole number of at most 64 bits"):
        SAMPLER.fill(ROWS, seed)
    with pytest.raises(mdm.SpecError, match="seed must be a whole number of at most 64 bits"):
        SAMPLER.iterate(SAMPLER.canvas(ROWS), seed)


@pytest.mark.parametrize(
    "seed",
    [np.array([3, 4]), torch.tensor([3, 4]), (3, 4), range(3, 5), iter([3, 4]), [np.int32(3), torch.tensor(4)]],
    ids=lambda seed: type(seed).__name__,
)
def test_seeds_may_be_any_whole_numbers(seed: Any) -> None:
    assert [row.seed for row in SAMPLER.fill(ROWS, seed).rows] == [3, 4]


@pytest.mark.parametrize("seed", [np.int64(3), torch.tensor(3), np.array(3)], ids=repr)
def test_one_seed_may_be_of_another_library(seed: Any) -> None:
    assert [row.seed for row in SAMPLER.fill(ROWS, seed).rows] == [3, 3]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: SAMPLER.fill(ROWS, batch_size=1.5), "batch_size must be a whole number, got 1.5"),
        (lambda: SAMPLER.fill(ROWS, batch_size="2"), "batch_size must be a whole number, got '2'"),
        (lambda: SAMPLER.fill(ROWS, batch_size=0), "batch_size must be at least 1, got 0"),
        (lambda: SAMPLER.fill(ROWS, observers=None), "observers must be a list of observers, got None"),
        (lambda: SAMPLER.fill(ROWS, observers=[print]), "an observer has the methods begin and add"),
        (lambda: SAMPLER.iterate("text"), "takes what `canvas` returns, got str"),
        (lambda: replace(SAMPLER, processors="ban"), "processors must be a tuple, got 'ban'"),
        (lambda: SAMPLER.replace(planer="margin"), "a sampler has no setting 'planer'; did you mean 'planner'"),
        (
            lambda: SAMPLER.replace(processors=("bann",)),
            "processors: unknown name 'bann' in processors",
        ),
        (lambda: replace(SAMPLER, max_new_tokens="8"), "max_new_tokens must be a whole number, got '8'"),
        (lambda: replace(SAMPLER, steps=3.5), "steps must be a whole number, got 3.5"),
        (lambda: replace(SAMPLER, steps=True), "steps must be a whole number, got True"),
        (lambda: replace(SAMPLER, block_size=None), "block_size must be a whole number, got None"),
        (lambda: replace(SAMPLER, lookahead_batch=1.5), "lookahead_batch must be a whole number or None, got 1.5"),
        (lambda: mdm.Needs(history=1.5), "needs: history must be 0 or more, got 1.5"),
        (lambda: mdm.Needs(remasking=1), "needs: remasking must be True or False, got 1"),
    ],
)
def test_what_is_of_the_wrong_kind_is_refused(call: Callable[[], object], words: str) -> None:
    with pytest.raises(mdm.MDMError, match=words):
        call()


@pytest.mark.parametrize(
    ("part", "values", "words"),
    [
        (mdm.InfoGain, {"candidates": "8"}, "info-gain: candidates must be a whole number, got '8'"),
        (mdm.InfoGain, {"candidates": 8.0}, "info-gain: candidates must be a whole number, got 8.0"),
        (mdm.InfoGain, {"position_temperature": "0.1"}, "position_temperature must be a number"),
        (mdm.InfoGain, {"scope": 5}, "scope must be one of block, canvas, got 5"),
        (mdm.Bypass, {"threshold": None}, "bypass: threshold must be a number, got None"),
        (mdm.Bypass, {"otherwise": "confidance"}, "bypass: otherwise: unknown name 'confidance'"),
        (mdm.Bypass, {"otherwise": mdm.Confidence}, "must be a PositionPlanner object, .*; make an object of it"),
        (mdm.Bypass, {"capped": "no"}, "capped must be true or false, got 'no'"),
        (mdm.Defer, {"ids": 5}, "ids must be a tuple of whole numbers, got 5"),
        (mdm.Constant, {"positions": 1.5}, "constant: positions must be a whole number, got 1.5"),
        (mdm.Constant, {"positions": 10**12}, "positions must be a whole number between"),
        (mdm.Refresh, {"every": True}, "refresh: every must be a whole number, got True"),
        (mdm.Refresh, {"otherwise": mdm.Uniform()}, "must be a CacheStrategy object"),
        (mdm.GumbelMax, {"temperature": "1"}, "gumbel: temperature must be a number, got '1'"),
        (mdm.GumbelMax, {"top_k": 2.0}, "gumbel: top_k must be a whole number, got 2.0"),
        (mdm.Ban, {"ids": ("1",)}, "ban: ids must be a tuple of whole numbers"),
        (mdm.Penalise, {"by": "4"}, "penalise: by must be a number, got '4'"),
    ],
)
def test_a_parts_parameter_of_the_wrong_kind_is_refused(part: Any, values: dict[str, Any], words: str) -> None:
    with pytest.raises(mdm.SpecError, match=words):
        part(**values)


def test_right_kinds_are_taken_as_they_are_meant() -> None:
    assert mdm.Ban([1, 2]) == mdm.Ban((1, 2))  # type: ignore[arg-type]
    assert mdm.InfoGain(candidates=np.int64(4)) == mdm.InfoGain(4)  # type: ignore[arg-type]
    assert mdm.Bypass(1) == mdm.Bypass(1.0)
    assert type(replace(SAMPLER, steps=np.int64(4)).spec()["steps"]) is int
    assert replace(SAMPLER, processors=[mdm.Ban()]).processors == (mdm.Ban(),)  # type: ignore[arg-type]
