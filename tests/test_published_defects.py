"""docs/published-defects.md against the tests: every number has tests, and the tests of the table carry its numbers."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "published-defects.md").read_text()


def marked() -> set[tuple[int, str, str]]:
    """The number, file and name of each test that is marked with a defect's number."""
    found = set()
    for file in TESTS.glob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            for mark in getattr(node, "decorator_list", []):
                if number := re.fullmatch(r"pytest\.mark\.defect\((\d+)\)", ast.unparse(mark)):
                    found.add((int(number[1]), file.name, node.name))
    return found


def listed() -> list[tuple[int, list[tuple[str, str]]]]:
    """The number of each line of the table, with the names and files of its tests."""
    lines = re.findall(r"^\| (\d+)\*? \|.*\| (`test_.*) \|$", PAGE, re.MULTILINE)
    return [(int(number), re.findall(r"`(test_\w+)` in \[(\w+\.py)\]", tests)) for number, tests in lines]


def test_every_defect_has_tests_and_each_carries_its_number() -> None:
    assert [number for number, _ in listed()] == list(range(1, 32))
    assert {(number, file, name) for number, tests in listed() for name, file in tests} == marked()
