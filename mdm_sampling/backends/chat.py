"""Chats: what a list of messages must be, and the text that a model's chat template makes of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import CanvasError
from ..prompts import Message, Prompt

WRONG = 'a prompt is a text or a list of messages such as {"role": "user", "content": "Hi"}'
_MOST_SAID = 200
"""Characters of another library's error that are passed on."""


@dataclass(frozen=True)
class Rendered:
    """A prompt that a chat template has made a text of already; it is encoded as it stands."""

    text: str


Prompts = str | Sequence[Message] | Sequence[Prompt | Rendered]
"""What a caller may pass as prompts: a text or a chat, or several of either."""


def prompts_of(given: Prompts) -> list[Any]:
    """Prompts from what a caller passed: a text and a chat are one prompt, a list of either is several."""
    if isinstance(given, str | Rendered):
        return [given]
    if isinstance(given, Mapping):
        raise CanvasError(f"{WRONG}, got a single message; put it into a list")
    if not isinstance(given, Iterable):
        raise CanvasError(f"{WRONG}, or several of them, got {given!r:.80}")
    prompts = list(given)
    return [prompts] if prompts and all(isinstance(each, Mapping) for each in prompts) else prompts


def with_system(prompt: Any, system: str) -> list[Any]:
    """A prompt as a chat that begins with a system message. Raises `CanvasError` for a chat that has one already."""
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else messages_of(prompt)
    if messages[0]["role"] == "system":
        raise CanvasError("the prompt begins with a system message of its own; leave out system=... (--system)")
    return [{"role": "system", "content": system}, *messages]


def messages_of(prompt: Any) -> list[dict[str, Any]]:
    """The messages of a chat as a template reads them. Raises `CanvasError` for what is not a chat.

    A content that is a list of texts becomes one text, and a message of several texts has nothing between them. All
    other fields, such as "name" and "tool_calls", are passed on as they are. A message may go without a content if it
    calls tools.
    """
    if isinstance(prompt, str | Mapping) or not isinstance(prompt, Sequence) or not prompt:
        raise CanvasError(WRONG)
    return [_message(number, message) for number, message in enumerate(prompt)]


def _message(number: int, message: Any) -> dict[str, Any]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise CanvasError(WRONG)
    content = message.get("content")
    if isinstance(content, str) or (content is None and message.get("tool_calls")):
        return dict(message)
    if not isinstance(content, list | tuple) or not content:
        raise CanvasError(f"the content of message {number} is neither a text nor a list of texts")
    return {**message, "content": "".join(_text_of_part(number, part) for part in content)}


def _text_of_part(number: int, part: Any) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else part
    if kind != "text" or not isinstance(part.get("text"), str):
        raise CanvasError(f"message {number} holds a part that is not text, {kind!r:.40}; only texts can be read")
    text: str = part["text"]
    return text


def render(tokenizer: Any, messages: Sequence[Mapping[str, Any]], *, begun: bool | None = None) -> str:
    """The text of a chat, open for an answer. Raises `CanvasError` for whatever the template raises.

    Args:
        begun: whether the last message is an answer to go on with; None to see for oneself.
    """
    if begun is None:
        answers = messages[-1]["role"] == "assistant" and not messages[-1].get("tool_calls")
        begun = answers and bool(messages[-1]["content"])
        if answers and not begun:
            messages = messages[:-1]  # nothing is said yet, so the template opens the answer
    named = tokenizer.chat_template
    if isinstance(named, Mapping) and "default" not in named:
        names = ", ".join(sorted(map(str, named)))
        raise CanvasError(f"the model has several chat templates ({names}) and none of them is its default")
    try:
        text: str = tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=not begun, continue_final_message=begun
        )
    except Exception as error:  # a template is a program, and may fail as any program does
        said = " ".join(str(error).split()) or type(error).__name__
        raise CanvasError(f"the model's chat template refuses the prompt ({said[:_MOST_SAID]})") from error
    return text


def is_chat(prompt: Prompt | Rendered) -> bool:
    """Whether a prompt is a list of messages, and not a text."""
    return not isinstance(prompt, str | Rendered)
