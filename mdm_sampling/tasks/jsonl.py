"""Your own questions: a JSON line for each, with a prompt and the answer that is expected."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, final

from ..errors import SpecError, require
from ..interfaces import Task
from ..records import Grade, Item
from .files import read_text

WHOLE = r"(?:\d{1,3}(?:,\d{3})+|\d+)"
PLAIN = rf"(?:{WHOLE}(?:\.\d+)?|\.\d+)"
NUMBER = re.compile(rf"[-+]?(?:\d+/\d+|{PLAIN}(?:[eE][-+]?\d{{1,3}})?)")
# In a text a number stands alone: no letter, digit or part of another number touches it, and a sign follows nothing.
STANDING = re.compile(rf"(?<![\w.,/^+\-])(?:[$\u20ac\u00a3])?({NUMBER.pattern})(?![\w/^]|[.,]\d)")
MATCHES = ("exact", "number", "regex")
READINGS = ("text", "last-line", "last-number", "boxed", "tag")


@final
@dataclass(frozen=True)
class JSONLines(Task):
    """Questions from a JSONL file: `{"prompt": "7 + 5 =", "answer": "12"}`, a prompt being text or chat messages.

    Args:
        file: the file. Each line has "prompt" and "answer", and may have an "id"; an answer may be a list of right
            ones.
        match: "exact" compares texts; "number" compares numbers, so that 1,500 equals 1500.0; "regex" takes the
            answer for a regular expression that must match from end to end. A part of a text or number never counts.
        read: where the answer stands: the whole "text", its "last-line", its "last-number", the last \\boxed{...}, or
            the last <answer>...</answer> ("tag").
        length: places to generate; none for the model's default.
    """

    file: str
    match: Literal["exact", "number", "regex"] = "exact"
    read: Literal["text", "last-line", "last-number", "boxed", "tag"] = "text"
    length: int | None = None

    def __post_init__(self) -> None:
        require(self.match in MATCHES, f"jsonl: match must be one of {', '.join(MATCHES)}, got {self.match!r}")
        require(self.read in READINGS, f"jsonl: read must be one of {', '.join(READINGS)}, got {self.read!r}")
        require(self.length is None or self.length >= 1, f"jsonl: length must be at least 1, got {self.length}")

    @property
    def gen_length(self) -> int | None:
        return self.length

    def items(self, count: int | None, seed: int) -> Sequence[Item]:
        """The file's first `count` questions, whatever the seed."""
        lines = read_text(self.file, "jsonl").split("\n")
        items = [self._item(line, number) for number, line in enumerate(lines, 1) if line.strip()]
        if not items:
            raise SpecError(f"jsonl: {self.file} holds no question")
        if len({item.name for item in items}) < len(items):
            raise SpecError(f"jsonl: two questions of {self.file} have the same id")
        if count is not None and len(items) < count:
            raise SpecError(f"jsonl: {count} questions were asked for, and {self.file} has {len(items)}")
        return items[:count]

    def grade(self, item: Item, text: str) -> Grade:
        answer = read_answer(text, self.read)
        right = answer is not None and any(is_match(answer, wanted, self.match) for wanted in item.data["answers"])
        return Grade(answer, float(right))

    def _item(self, line: str, number: int) -> Item:
        where = f"jsonl: {self.file}, line {number}"
        try:
            question = json.loads(line)
            json.dumps(question, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise SpecError(f"{where}: this is no JSON text ({error})") from error
        if not isinstance(question, dict) or not {"prompt", "answer"} <= set(question):
            raise SpecError(f'{where}: a question has a "prompt" and an "answer"')
        prompt = question["prompt"]
        if not (isinstance(prompt, str) and prompt.strip()) and not (isinstance(prompt, list) and prompt):
            raise SpecError(f"{where}: a prompt is a text or a list of chat messages, and not empty")
        given = question["answer"] if isinstance(question["answer"], list) else [question["answer"]]
        answers = [self._expected(answer, where) for answer in given]
        if not answers:
            raise SpecError(f"{where}: the list of answers is empty")
        given_id = question.get("id")
        return Item(str(number if given_id is None else given_id), prompt, data={"answers": answers})

    def _expected(self, answer: Any, where: str) -> str:
        """An expected answer as text. Raises `SpecError` for one that nothing could match."""
        if isinstance(answer, bool) or not isinstance(answer, str | int | float):
            raise SpecError(f"{where}: an answer is a text, a number or a list of them, got {answer!r}")
        text = str(answer).strip()
        if not text or text in ("inf", "-inf", "nan"):
            raise SpecError(f"{where}: nothing could match the answer {text!r}")
        if self.match == "number" and number_of(text) is None:
            raise SpecError(f"{where}: {text!r} is no number")
        if self.match == "regex":
            try:
                re.compile(text)
            except re.error as error:
                raise SpecError(f"{where}: {text!r} is no regular expression: {error}") from error
        return text


def read_answer(text: str, how: str) -> str | None:
    """The answer in a text, see `JSONLines.read`; None if there is none."""
    text = text.strip()
    if how == "last-line":
        text = text.splitlines()[-1].strip() if text else ""
    elif how == "last-number":
        text = next(reversed(STANDING.findall(text.replace("\u2212", "-"))), "")
    elif how == "boxed":
        text = last_boxed(text)
    elif how == "tag":
        text = next(reversed(re.findall(r"<answer>(.*?)</answer>", text, re.DOTALL)), "").strip()
    return text or None


def last_boxed(text: str) -> str:
    """The content of the last \\boxed{...}, whose braces may nest; "" if it is not closed."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return ""
    start += len("\\boxed{")
    depth = 1
    for i, c in enumerate(text[start:], start):
        depth += {"{": 1, "}": -1}.get(c, 0)
        if not depth:
            return text[start:i].strip()
    return ""


def is_match(answer: str, wanted: str, how: str) -> bool:
    """Whether an answer is the wanted one, see `JSONLines.match`."""
    if how == "regex":
        return re.fullmatch(wanted, answer, re.DOTALL) is not None
    if how == "number":
        number = number_of(answer)
        return number is not None and number == number_of(wanted)
    return answer == wanted


def number_of(text: str) -> Fraction | None:
    """The number that a text is: thousands separators, exponents, fractions (1/2 too), currency signs and the dollars
    around a formula are understood, and a full stop after it."""
    text = text.strip().removesuffix(".").replace("\u2212", "-").replace("{,}", ",").strip("$").strip()
    text = re.sub(r"^([-+]?)[$\u20ac\u00a3]\s?", r"\1", text)
    text = re.sub(r"^([-+]?)\\[dt]?frac\{(\d+)\}\{(\d+)\}$", r"\1\2/\3", text)
    try:
        return Fraction(text.replace(",", "")) if NUMBER.fullmatch(text) else None
    except ZeroDivisionError:
        return None
