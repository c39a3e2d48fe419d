"""The harness's groups of tasks, looked through before it builds them: what is missing, empty or inside itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from traceback import walk_tb
from typing import Any

from ..errors import SpecError, nearest
from .grading import told

_OWN_DATA = ("dataset_path", "custom_dataset", "class", "include")
"""What a task needs that is written inside a group instead of standing under a name."""


def _is_group(index: Mapping[str, Any], name: str) -> bool:
    config = getattr(index.get(name), "cfg", None) or {}
    return "group" in config and "class" not in config


def _members(index: Mapping[str, Any], name: str) -> list[str]:
    """The names that a group asks for; none for a task. Raises `SpecError` for a list that cannot be a group's."""
    return [*_names_in(name, index[name].cfg.get("task"))] if _is_group(index, name) else []


def _names_in(group: str, members: Any) -> Iterator[str]:
    """The names among a group's members, also in groups that are written inside it."""
    if not isinstance(members, list) or not members:
        raise SpecError(f"group {group!r} holds no task")
    for member in members:
        if isinstance(member, str):
            yield member
        elif not isinstance(member, Mapping):
            raise SpecError(f"group {group!r}: a member is the name of a task or its settings, got {member!r:.40}")
        elif "group" in member and isinstance(member.get("task"), list) and member["task"]:
            yield from _names_in(str(member["group"]), member["task"])
        elif "group" in member:
            yield str(member["group"])
        elif not any(key in member for key in _OWN_DATA):
            yield str(member.get("task"))


def knows_all(index: Mapping[str, Any], names: Sequence[str]) -> bool:
    """Whether all names, and all members of groups among them, are in an index and nowhere else.

    A pattern is not, and a tag is not: others may match it.
    """
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in index or index[name].cfg is None:
            return False
        if name not in seen:
            seen.add(name)
            waiting += _members(index, name)
    return True


def check_group(index: Mapping[str, Any], name: str, around: tuple[str, ...] = ()) -> None:
    """Raise `SpecError` for a group that holds no task, itself, or a name that is not known."""
    if name in around:
        raise SpecError(f"group {name!r} contains itself")
    for member in _members(index, name):
        if member not in index:
            hint = nearest(member, list(index), "`lm_eval ls tasks` lists them")
            raise SpecError(f"group {name!r}: there is no task {member!r}; {hint}")
        check_group(index, member, (*around, name))


def tasks_in(index: Mapping[str, Any], name: str) -> list[str]:
    """The names of a group's tasks, or the name of a task itself; the group must have been checked."""
    if not _is_group(index, name):
        return [name]
    return [task for inner in _members(index, name) for task in tasks_in(index, inner)]


def first_fault(manager: Any, names: Sequence[str]) -> str | None:
    """What is wrong with the first task that the harness cannot load by itself; None if each can be loaded."""
    for name in names:
        try:
            manager.load([name])
        except (Exception, SystemExit, GeneratorExit) as error:
            return f"task {name!r}{_fault_of(error)}"
    return None


def _fault_of(error: BaseException) -> str:
    """What was raised while a task was loaded, at its first item if that was tried already."""
    frames = [frame.f_locals for frame, _ in walk_tb(error.__traceback__)]
    item = ", item 0" if any("test_doc" in names for names in frames) else ""
    choices = next((names["check_choices"] for names in frames if "check_choices" in names), ())
    if isinstance(error, IndexError) and "" in choices:
        return f"{item}: a choice is empty, so it has no likelihood"
    return f"{item}: {told(error)}"
