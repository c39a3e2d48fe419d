"""What a task must hold."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hypothesis import strategies as st

from ..errors import SpecError
from ..tasks.base import Grade, Item, Task
from .guards import guarded
from .rules import EXAMPLES, VALUE, Rule, blamed, expect, for_all, run_rules

_TEXTS = st.one_of(
    st.sampled_from(
        ["", " ", "\n", "0", "42", "1 2 3", "(1 + 2) * 3", "[MASK]", "____", "a" * 300, "\\boxed{7}", "1/0"]
    ),
    st.text(max_size=60),
)
_NOISE = "the seed that `items` is given"


def check_task(task: Task, examples: int = EXAMPLES) -> None:
    """Raise `ConformanceError` unless a task keeps its contract."""
    run_rules(RULES, Task, task, examples)


def _items(task: Task, count: int, seed: int) -> Sequence[Item]:
    with blamed(task, f"{count} items", f"items({count}, {seed})"), guarded(task, {}, _NOISE):
        return task.items(count, seed)


def _most(task: Task, seed: int) -> int:
    """How many items to ask for: a few, or the one that a short list has. A task may refuse more than it has."""
    for count in (5, 2):
        try:
            task.items(count, seed)
        except SpecError:
            continue
        return count
    return 1


def _check_items(task: Task, examples: int) -> None:
    """Items are seeded, distinct by name, and more of a seed are a longer list."""
    for seed in (0, 1):
        most = _most(task, seed)
        few, more, again = (_items(task, count, seed) for count in (1, most, most))
        shown = f"items({most}, {seed})"
        expect(list(more) == list(again), task, "the same items for the same seed", "others", shown)
        shorter, longer = ([(item.name, item.prompt, item.body) for item in items] for items in (few, more))
        expect(shorter == longer[: len(few)], task, "more items of a seed are a longer list", "others", shown)
        names = [item.name for item in more]
        expect(0 < len(more) <= most, task, f"up to {most} items", str(len(more)), shown)
        expect(len(set(names)) == len(names), task, "a name of its own for each item", f"{names}", shown)
        for item in more:
            asks = bool(item.prompt) or item.body is not None
            expect(asks, task, "a prompt or a body in each item", f"{item}", shown)
            with blamed(task, "data that JSON can hold, since results are saved", item):
                json.dumps(dict(item.data))
    length = task.max_new_tokens
    expect(length is None or length >= 1, task, "max_new_tokens of at least 1, or None", repr(length))


def _check_grades(task: Task, examples: int) -> None:
    """Whatever a model writes gets a grade between 0 and 1, and always the same."""
    item = _items(task, 1, 0)[0]

    def check(text: str) -> None:
        with blamed(task, "a grade for any text", f"{text!r} for item {item.name!r}"), guarded(task, {}, _NOISE):
            grade, again = task.grade(item, text), task.grade(item, text)
        expect(isinstance(grade, Grade), task, "a Grade", type(grade).__name__, repr(text))
        expect(0 <= grade.score <= 1, task, "a score between 0 and 1", f"{grade}", repr(text))
        good = grade.answer is None or isinstance(grade.answer, str)
        expect(good, task, "an answer that is text, or None", f"{grade}", repr(text))
        expect(grade == again, task, "the same grade for the same text", f"{grade}, then {again}", repr(text))

    for_all(_TEXTS, examples * 4, check)


RULES = (
    VALUE,
    Rule("makes items that are seeded and have names of their own; more are a longer list", _check_items),
    Rule("grades any text from 0 to 1, and always alike", _check_grades),
)
