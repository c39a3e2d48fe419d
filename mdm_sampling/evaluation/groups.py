"""The harness's groups of tasks, looked through before it builds them: what is missing, empty or inside itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from traceback import walk_tb
from typing import Any

from ..errors import SpecError, nearest
from .grading import told

_OWN_DATA = ("dataset_path", "custom_dataset", "class", "include")
"""What a task needs that is written inside a group instead of standing under a name."""


def _members(index: Mapping[str, Any], name: str) -> list[Any]:
    """What a group's file lists; nothing for a task."""
    entry = index.get(name)
    config = getattr(entry, "cfg", None) or {}
    return _listed(config) if "group" in config and "class" not in config else []


def _listed(config: Mapping[str, Any]) -> list[Any]:
    found = config.get("task")
    return found if isinstance(found, list) else []


def _is_group(index: Mapping[str, Any], name: str) -> bool:
    config = getattr(index.get(name), "cfg", None) or {}
    return "group" in config and "class" not in config


def named(member: Any) -> str | None:
    """The name under which a member is looked for; None for one that is written inside the group."""
    if isinstance(member, str):
        return member
    if not isinstance(member, Mapping) or "group" in member:
        return None
    return None if any(key in member for key in _OWN_DATA) else str(member.get("task"))


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
            waiting += [inner for inner in _names_in(_members(index, name)) if inner is not None]
    return True


def _names_in(listed_members: Sequence[Any]) -> Iterator[str]:
    """The names that a group asks for, also in groups that are written inside it."""
    for member in listed_members:
        if isinstance(member, Mapping) and "group" in member and not _listed(member):
            yield str(member["group"])
        elif isinstance(member, Mapping) and "group" in member:
            yield from _names_in(_listed(member))
        elif (name := named(member)) is not None:
            yield name


def check_group(index: Mapping[str, Any], name: str, around: tuple[str, ...] = ()) -> None:
    """Raise `SpecError` for a group that holds no task, itself, or a name that is not known."""
    if name in around:
        raise SpecError(f"group {name!r} contains itself")
    if not _is_group(index, name):
        return
    _check_members(index, name, _members(index, name), (*around, name))


def _check_members(index: Mapping[str, Any], group: str, inside: Sequence[Any], around: tuple[str, ...]) -> None:
    if not inside:
        raise SpecError(f"group {group!r} holds no task")
    for member in inside:
        if isinstance(member, Mapping) and "group" in member and _listed(member):
            _check_members(index, str(member["group"]), _listed(member), around)
            continue
        if not isinstance(member, str | Mapping):
            raise SpecError(f"group {group!r}: a member is the name of a task or its settings, got {member!r:.40}")
        for name in _names_in([member]):
            if name not in index:
                hint = nearest(name, list(index), "`lm_eval ls tasks` lists them")
                raise SpecError(f"group {group!r}: there is no task {name!r}; {hint}")
            check_group(index, name, around)


def tasks_in(index: Mapping[str, Any], name: str) -> list[str]:
    """The names of a group's tasks, or the name of a task itself; the group must have been checked."""
    if not _is_group(index, name):
        return [name]
    return [task for inner in _names_in(_members(index, name)) for task in tasks_in(index, inner)]


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
