"""Text to tokens and back, with the model's own tokenizer and chat template."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ..errors import CanvasError, ModelError
from ..fields import is_whole
from ..interfaces import Prompt

MASK_PATTERN = re.compile(r"\[MASK(?::([^\]]*))?\]")
MASK_COUNT = re.compile(r"0*[1-9][0-9]{0,5}")


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
                return self.ids(prompt, special=True)
            messages = [{"role": "user", "content": prompt}]
        else:
            messages = _checked_messages(prompt)
            if chat is False:
                raise CanvasError("a list of messages needs the chat template; pass a text or switch the template on")
        if not self.has_chat_template:
            raise CanvasError("this model has no chat template; pass a plain text with chat=False (--no-chat)")
        from jinja2 import TemplateError

        try:
            text = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        except TemplateError as error:
            raise CanvasError(
                f"the model's chat template refuses the prompt ({error}); chat=False (--no-chat) does without it"
            ) from error
        return self.ids(text, special=False)

    def encode_masked(self, text: str) -> tuple[list[int], list[int]]:
        """(Prefix, body) ids of a text to infill: `[MASK]` is one masked token, `[MASK:5]` five in a row.

        The model's own mask token counts as well. The prefix holds what the tokenizer puts before any text.
        """
        body: list[int] = []
        end = 0
        for match in MASK_PATTERN.finditer(text):
            if match[1] is not None and not MASK_COUNT.fullmatch(match[1]):
                raise CanvasError(f"{match[0][:40]!r} needs a whole number from 1 to 999999, such as [MASK:5]")
            body += self._pieces(text[end : match.start()]) + [self.mask_id] * int(match[1] or 1)
            end = match.end()
        body += self._pieces(text[end:])
        if self.mask_id not in body:
            raise CanvasError(f"there is nothing to fill in {text[:40]!r}; write [MASK] where a token is missing")
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
        return self.ids(text, special=False) if text else []

    def ids(self, text: str, special: bool) -> list[int]:
        """Token ids of a text. Raises `CanvasError` for characters that the tokenizer does not know.

        Args:
            special: whether to add what the tokenizer puts around a text.
        """
        ids = self._known_ids(text, special)
        if ids is None:
            strange = sorted(c for c in set(text) if self._known_ids(c, special=False) is None)
            raise CanvasError(
                f"the model's tokenizer does not know {', '.join(map(repr, strange)) or 'a part of the text'}"
            )
        return ids

    def _known_ids(self, text: str, special: bool) -> list[int] | None:
        """Token ids, or None where the text holds something unknown."""
        try:
            ids = list(self.tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])
        except Exception:  # the tokenizers library raises plain `Exception`, and `TypeError` for half a surrogate pair
            return None
        unknown = getattr(self.tokenizer, "unk_token_id", None)
        return None if unknown is not None and unknown in ids and unknown not in self.eos_ids else ids


def _checked_messages(prompt: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    messages = [dict(message) for message in prompt if isinstance(message, Mapping)]
    if not messages or len(messages) < len(prompt) or any({"role", "content"} - set(m) for m in messages):
        raise CanvasError('a prompt is a text or a list of messages such as {"role": "user", "content": "Hi"}')
    return messages


def find_mask_id(option: int | None, config: Mapping[str, Any], tokenizer: Any, vocab_size: int, source: str) -> int:
    """The mask id from the option, the config or the tokenizer, in this order. Raises `ModelError` if none has it."""
    for candidate in (option, config.get("mask_token_id"), getattr(tokenizer, "mask_token_id", None)):
        if candidate is not None:
            if not is_whole(candidate) or not 0 <= candidate < vocab_size:
                raise ModelError(f"{source}: the mask id {candidate!r} is outside the vocabulary [0, {vocab_size})")
            return int(candidate)
    raise ModelError(
        f"{source}: neither config.json nor the tokenizer names a mask token; pass its id with mask_id=... (--mask-id)"
    )


def find_eos_ids(
    config: Mapping[str, Any], generation: Mapping[str, Any], tokenizer: Any, turn_ends: Sequence[str]
) -> tuple[int, ...]:
    """All end tokens that anything names: config.json, the tokenizer, generation_config.json.

    Those of `turn_ends` that the tokenizer knows count as well.
    """
    ids = _named_ends(config, "config.json")
    ids.append(getattr(tokenizer, "eos_token_id", None))
    known = tokenizer.get_vocab() if tokenizer is not None else {}
    ids += [known.get(token) for token in turn_ends]
    ids += _named_ends(generation, "generation_config.json")
    return tuple(dict.fromkeys(int(token) for token in ids if token is not None))


def _named_ends(config: Mapping[str, Any], file: str) -> list[int | None]:
    named = config.get("eos_token_id")
    ids = named if isinstance(named, list) else [named]
    if any(not is_whole(token) or token < 0 for token in ids if token is not None):
        raise ModelError(f"{file} says eos_token_id={named!r:.60}, expected a token id or a list of them")
    return list(ids)


def check_ids(mask_id: int, eos_ids: Sequence[int], vocab_size: int) -> None:
    """Raise `ModelError` unless the mask id and the end ids are distinct tokens of the vocabulary."""
    if not is_whole(vocab_size) or vocab_size < 1:
        raise ModelError(f"vocab_size is {vocab_size!r:.60}, expected a whole number above 0")
    if not isinstance(eos_ids, Sequence) or isinstance(eos_ids, str | bytes):
        raise ModelError(f"eos_ids is {eos_ids!r:.60}, expected a tuple of token ids")
    for name, token in [("mask", mask_id), *(("end", token) for token in eos_ids)]:
        if not is_whole(token):
            raise ModelError(f"the {name} id {token!r:.60} is no whole number")
        if not 0 <= token < vocab_size:
            raise ModelError(f"the {name} id {token} is outside the vocabulary [0, {vocab_size})")
    if mask_id in eos_ids:
        raise ModelError(f"the mask id {mask_id} is also an end id, so a text would end at its first mask")


def ids_without_token(tokenizer: Any, vocab_size: int, ends: Sequence[int]) -> tuple[range, ...]:
    """The ids that the model has a row for and the tokenizer has no token for, as ranges in rising order.

    Embeddings often have more rows than there are tokens. An id that `ends` a text counts as a token, since nothing
    has to be written for it. Without a tokenizer, or with one that does not list its tokens, there are none.
    """
    vocabulary = tokenizer.get_vocab() if hasattr(tokenizer, "get_vocab") else {}
    tokens = sorted(token for token in {*vocabulary.values(), *ends} if 0 <= token < vocab_size)
    if not vocabulary or not tokens:
        return ()
    bounds = [-1, *tokens, vocab_size]
    gaps = (range(before + 1, after) for before, after in pairwise(bounds))
    return tuple(gap for gap in gaps if gap)
