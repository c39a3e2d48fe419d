"""Your own questions: a JSON line for each, with a prompt and the answer that is expected."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, final

import regex  # type: ignore[import-untyped]

from ..encoding import read_text
from ..errors import SpecError, require
from ..fields import parse_json
from ..kinds import check_fields
from .base import Grade, Item, Task

# Digits are the ten of ASCII: Python reads other scripts' as well, which no answer is meant to hold.
_WHOLE = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)"
_PLAIN = rf"(?:{_WHOLE}(?:\.[0-9]+)?|\.[0-9]+)"
_NUMBER = re.compile(rf"[-+]?(?:[0-9]+/[0-9]+|{_PLAIN}(?:[eE][-+]?[0-9]{{1,3}})?)")
# In a text a number stands alone: no letter, digit or part of another number touches it, and a sign follows nothing.
# A currency's sign may stand before it, and the number's own sign before that, as in -$5.
_TOUCHED = r"(?<![\w.,/^+\-])"
_STANDING = re.compile(rf"{_TOUCHED}({_NUMBER.pattern})(?![\w/^]|[.,][0-9])")
_CURRENCY = "[A-Z]{0,3}[$\u00a2\u00a3\u00a5\u20a0-\u20cf]\\s?"
_SIGN_BEFORE = re.compile(rf"{_TOUCHED}(-){_CURRENCY}$")
_MINUS = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d", "-"))
_SPACED_THOUSANDS = re.compile("(?<=[0-9])[\u00a0\u2009\u202f](?=[0-9]{3}(?![0-9]))")
_LONGEST_NUMBER = 1000  # characters; Python reads a few thousand digits, at a cost that grows with their square
SECONDS = 2.0  # that a regular expression may take on an answer


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
        length: positions to generate; none for the model's default.
    """

    file: str
    match: Literal["exact", "number", "regex"] = "exact"
    read: Literal["text", "last-line", "last-number", "boxed", "tag"] = "text"
    length: int | None = None

    def __post_init__(self) -> None:
        check_fields(self, "jsonl")
        require(self.length is None or self.length >= 1, f"jsonl: length must be at least 1, got {self.length}")

    @property
    def max_new_tokens(self) -> int | None:
        return self.length

    def items(self, count: int | None, seed: int) -> Sequence[Item]:
        """The file's first `count` questions, whatever the seed."""
        lines = read_text(self.file, "jsonl: ").split("\n")
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
            question = parse_json(line)
        except ValueError as error:
            raise SpecError(f"{where}: this is not JSON text ({error})") from error
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
            raise SpecError(f"{where}: {text!r:.80} is not a number")
        if self.match == "regex":
            try:
                re.compile(text)
                regex.compile(text)
            except (re.error, regex.error, OverflowError, RecursionError, MemoryError) as error:
                raise SpecError(f"{where}: {text!r:.80} is not a regular expression: {error}") from error
        return text


def read_answer(text: str, how: str) -> str | None:
    """The answer in a text, see `JSONLines.read`; None if there is none."""
    text = text.strip()
    if how == "last-line":
        text = text.splitlines()[-1].strip() if text else ""
    elif how == "last-number":
        text = _last_number(text)
    elif how == "boxed":
        text = last_boxed(text)
    elif how == "tag":
        text = next(reversed(re.findall(r"<answer>(.*?)</answer>", text, re.DOTALL)), "").strip()
    return text or None


def _last_number(text: str) -> str:
    """The last number that stands alone in a text, with its sign, which may stand before a currency's; "" for none."""
    text = _plain_signs(text)
    last = next(reversed(list(_STANDING.finditer(text))), None)
    if last is None:
        return ""
    is_negative = last[1][0] not in "-+" and _SIGN_BEFORE.search(text, max(0, last.start() - 8), last.start())
    return f"-{last[1]}" if is_negative else last[1]


def _plain_signs(text: str) -> str:
    """The minus signs of typography as -, and the spaces between thousands as commas."""
    return _SPACED_THOUSANDS.sub(",", text.translate(_MINUS))


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
    """Whether an answer is the wanted one, see `JSONLines.match`.

    Raises `SpecError` for a regular expression that takes too long, as one with a repeat in a repeat may do.
    """
    if how == "regex":
        try:
            return regex.fullmatch(wanted, answer, regex.DOTALL, timeout=SECONDS) is not None
        except TimeoutError as error:
            raise SpecError(
                f"jsonl: the regular expression {wanted!r:.80} takes more than {SECONDS:.0f} s on an answer; write it "
                "without repeats inside of repeats"
            ) from error
    if how == "number":
        number = number_of(answer)
        return number is not None and number == number_of(wanted)
    return answer == wanted


def number_of(text: str) -> Fraction | None:
    """The number that a text is: thousands separators, exponents, fractions (1/2 too), currency signs and the dollars
    around a formula are understood, and a full stop after it."""
    text = _plain_signs(text.strip()).removesuffix(".").replace("{,}", ",").strip("$").strip()
    text = re.sub(rf"^([-+]?){_CURRENCY}", r"\1", text)
    text = re.sub(r"^([-+]?)\\[dt]?frac\{([0-9]+)\}\{([0-9]+)\}$", r"\1\2/\3", text)
    if len(text) > _LONGEST_NUMBER or not _NUMBER.fullmatch(text):
        return None
    try:
        return Fraction(text.replace(",", ""))
    except ZeroDivisionError:
        return None
