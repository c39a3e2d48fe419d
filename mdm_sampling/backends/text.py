"""Text to tokens and back, with the model's own tokenizer and chat template."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import CanvasError, ModelError
from ..interfaces import Prompt

MASK_PATTERN = re.compile(r"\[MASK(?::(\d+))?\]")


@dataclass(frozen=True)
class TextCodec:
    """Encodes prompts and decodes canvases.

    Attributes:
        tokenizer: a transformers tokenizer.
        mask_id: id of the mask token.
        eos_ids: ids that end a text.
    """

    tokenizer: Any
    mask_id: int
    eos_ids: tuple[int, ...]

    @property
    def has_chat_template(self) -> bool:
        return bool(getattr(self.tokenizer, "chat_template", None))

    def encode(self, prompt: Prompt, chat: bool | None = None) -> list[int]:
        """Token ids of a prompt.

        Args:
            prompt: text, or a list of messages with "role" and "content".
            chat: whether to apply the chat template, a text becoming one user message. None applies it if there is
                one. Messages always need it.
        """
        if isinstance(prompt, str):
            use_template = self.has_chat_template if chat is None else chat
            if not use_template:
                return self._known(self.tokenizer(prompt)["input_ids"], prompt)
            messages = [{"role": "user", "content": prompt}]
        else:
            messages = _checked_messages(prompt)
            if chat is False:
                raise CanvasError("a list of messages needs the chat template; pass a text or switch the template on")
        if not self.has_chat_template:
            raise CanvasError("this model's tokenizer has no chat template; pass a plain text without it")
        text = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return self._known(self.tokenizer(text, add_special_tokens=False)["input_ids"], text)

    def encode_masked(self, text: str) -> tuple[list[int], list[int]]:
        """(Prefix, body) ids of a text to infill: `[MASK]` is one masked token, `[MASK:5]` five in a row.

        The model's own mask token counts as well. The prefix holds what the tokenizer puts before any text.
        """
        body: list[int] = []
        end = 0
        for match in MASK_PATTERN.finditer(text):
            body += self._pieces(text[end : match.start()]) + [self.mask_id] * int(match[1] or 1)
            end = match.end()
        body += self._pieces(text[end:])
        prefix = [token for token in self.tokenizer("")["input_ids"] if token not in self.eos_ids]
        return prefix, body

    def decode(self, ids: Sequence[int], until_eos: bool = True) -> str:
        """Text of token ids without special tokens, by default up to the first end token. Masks show as `_`."""
        if until_eos:
            ends = [i for i, token in enumerate(ids) if token in self.eos_ids]
            ids = ids[: ends[0]] if ends else ids
        pieces: list[str] = []
        run: list[int] = []
        for token in [*ids, None]:
            if token is not None and token != self.mask_id:
                run.append(token)
                continue
            pieces.append(self.tokenizer.decode(run, skip_special_tokens=True) if run else "")
            pieces.append("_" if token is not None else "")
            run = []
        return "".join(pieces)

    def token_text(self, token: int) -> str:
        """One token as text, special tokens included."""
        text: str = self.tokenizer.decode([token])
        return text

    def _pieces(self, text: str) -> list[int]:
        if not text:
            return []
        return self._known(self.tokenizer(text, add_special_tokens=False)["input_ids"], text)

    def _known(self, ids: list[int], text: str) -> list[int]:
        unknown = getattr(self.tokenizer, "unk_token_id", None)
        if unknown is not None and unknown in ids and unknown not in self.eos_ids:
            strange = sorted(
                c for c in set(text) if unknown in self.tokenizer(c, add_special_tokens=False)["input_ids"]
            )
            raise CanvasError(
                f"the model's tokenizer does not know {', '.join(map(repr, strange)) or 'a part of the text'}"
            )
        return list(ids)


def _checked_messages(prompt: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    messages = [dict(message) for message in prompt if isinstance(message, Mapping)]
    if not messages or len(messages) < len(prompt) or any({"role", "content"} - set(m) for m in messages):
        raise CanvasError('a prompt is a text or a list of messages such as {"role": "user", "content": "Hi"}')
    return messages


def find_mask_id(option: int | None, config: Mapping[str, Any], tokenizer: Any, vocab_size: int, source: str) -> int:
    """The mask id from the option, the config or the tokenizer, in this order. Raises `ModelError` if none has it."""
    for candidate in (option, config.get("mask_token_id"), getattr(tokenizer, "mask_token_id", None)):
        if candidate is not None:
            if not 0 <= candidate < vocab_size:
                raise ModelError(f"{source}: the mask id {candidate} is outside the vocabulary [0, {vocab_size})")
            return int(candidate)
    raise ModelError(
        f"{source}: neither config.json nor the tokenizer names a mask token; pass its id with mask_id=... (--mask-id)"
    )


def find_eos_ids(config: Mapping[str, Any], tokenizer: Any, turn_ends: Sequence[str]) -> tuple[int, ...]:
    """The config's and tokenizer's end tokens, and those of `turn_ends` that the tokenizer knows."""
    named = config.get("eos_token_id")
    ids = [*(named if isinstance(named, list) else [named])]
    ids.append(getattr(tokenizer, "eos_token_id", None))
    known = tokenizer.get_vocab() if tokenizer is not None else {}
    ids += [known.get(token) for token in turn_ends]
    return tuple(dict.fromkeys(int(token) for token in ids if token is not None))
