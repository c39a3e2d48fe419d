"""Text to tokens and back, with the model's own tokenizer and chat template."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ..errors import CanvasError, ModelError, require
from ..fields import HALF_A_PAIR, is_whole
from ..kinds import require_kind
from ..prompts import Prompt
from .chat import Rendered, is_chat, messages_of, render
from .masks import parts_of

_PROBES = ("1", "a", ".")
"""Short texts that tell what a tokenizer puts around a text; where it knows none, one of its own tokens does."""

_ANCHORS = ("\n", ".", "1")
"""What stands before a text that is encoded as the middle of a longer one; its own characters are tried as well."""
_MOST_ANCHORS = 16


@dataclass(frozen=True)
class TextCodec:
    """Encodes prompts and decodes canvases.

    Attributes:
        tokenizer: a transformers tokenizer.
        mask_id: id of the mask token.
        eos_ids: ids that end a text.
        closing: text of the token that stands behind each text with masks; None if there is none.
        hint: what to add to the error of a text that the tokenizer does not know.
    """

    tokenizer: Any
    mask_id: int
    eos_ids: tuple[int, ...]
    closing: str | None = None
    hint: str = ""

    @property
    def has_chat_template(self) -> bool:
        return bool(getattr(self.tokenizer, "chat_template", None))

    def encode(self, prompt: Prompt | Rendered, chat: bool | None = None) -> list[int]:
        """Token ids of a prompt that is open for an answer. Raises `CanvasError` for one that cannot be read.

        Args:
            prompt: text, or a list of messages with "role" and "content"; other fields are the template's to read.
                A last message of the assistant's is gone on with. A text that is `Rendered` is encoded as it stands.
            chat: whether to apply the chat template, a text becoming one user message. None applies it if there is
                one. Messages always need it.
        """
        if isinstance(prompt, Rendered):
            return self.ids(prompt.text, special=False)
        if self.applies_template(prompt, chat):
            return self.encode(self.rendered(prompt))
        assert isinstance(prompt, str)
        return self.ids(prompt, special=True)

    def applies_template(self, prompt: Prompt, chat: bool | None = None) -> bool:
        """Whether `encode` applies the chat template. Raises `CanvasError` where it would have to and cannot."""
        if is_chat(prompt):
            messages_of(prompt)
            if chat is False:
                raise CanvasError("a list of messages needs the chat template; pass a text or switch the template on")
            chat = True
        elif chat is None:
            chat = self.has_chat_template
        if chat and not self.has_chat_template:
            raise CanvasError("this model has no chat template; pass a plain text with chat=False (--no-chat)")
        return chat

    def check_system(self, system: object, chat: bool | None = None) -> None:
        """Raise unless a system message can be put before prompts.

        Raises:
            SpecError: for what is not Unicode text.
            CanvasError: where there is no chat template that writes it, or `chat` is False.
        """
        require_kind("system", system, str)
        require(not HALF_A_PAIR.search(str(system)), f"system must be a Unicode text, got {system!r:.80}")
        if not self.has_chat_template:
            raise CanvasError("this model has no chat template, so it can be given no system message")
        if chat is False:
            raise CanvasError("a system message needs the chat template; leave it out, or switch the template on")

    def rendered(self, prompt: Prompt) -> Rendered:
        """The text that the chat template makes of a prompt. Raises `CanvasError` for whatever the template raises."""
        messages = messages_of(prompt) if is_chat(prompt) else [{"role": "user", "content": prompt}]
        try:
            return Rendered(render(self.tokenizer, messages))
        except CanvasError as error:
            raise CanvasError(f"{error}; a text does without it with chat=False (--no-chat)") from error

    def encode_masked(self, text: str, limit: int | None = None) -> tuple[list[int], list[int]]:
        """(Prefix, body) ids of a text to infill: `[MASK]` is one masked token, `[MASK:5]` five in a row.

        The model's own mask token counts as well. The prefix holds what the tokenizer puts before a text. The text is
        encoded as one: a part that follows a mask gets nothing that a tokenizer puts where a text begins.

        Args:
            limit: most masks; a text with more is refused before any is made.
        """
        if not isinstance(text, str):
            raise CanvasError(f"a text with masks is needed, got {text!r:.80}")
        parts = parts_of(text, self._mask_text, limit)
        if parts in ([], [text]) and self.mask_id not in (self._known_ids(text, special=False) or []):
            own, start = self._mask_text or "[MASK]", text[:40]
            raise CanvasError(
                f"there is nothing to fill in {start!r}; write {own} or [MASK:5] where one token or five are missing, "
                f"as in {start + own!r}"
            )
        body: list[int] = []
        for part in parts:
            if isinstance(part, int):
                body += [self.mask_id] * part
            else:
                body += self._following(part) if body else self.ids(part, special=False)
        before, after = ([], []) if self._is_opened(body) else self._around()
        return before + after, body + self._closing_ids

    def decode(self, ids: Sequence[int], until_eos: bool = True, given: Collection[int] = ()) -> str:
        """Text of token ids without special tokens, by default up to the first end token. Masks show as `_`.

        Args:
            given: the positions in `ids` of tokens that were not generated: their special tokens stay in the text.
        """
        closing = self._closing_ids
        ids = ids[: -len(closing)] if closing and [*ids[-len(closing) :]] == closing else ids
        if until_eos:
            ends = [i for i, token in enumerate(ids) if token in self.eos_ids]
            ids = ids[: ends[0]] if ends else ids
        special = self._special_ids() if given else set()
        keeps = any(ids[i] in special for i in given if i < len(ids) and ids[i] != self.mask_id)
        pieces: list[str] = []
        run: list[int] = []
        for i, token in enumerate([*ids, None]):
            if token is not None and token != self.mask_id:
                if not keeps or i in given or token not in special:
                    run.append(token)
                continue
            pieces.append(self.tokenizer.decode(run, skip_special_tokens=not keeps) if run else "")
            pieces.append("_" if token is not None else "")
            run = []
        return "".join(pieces)

    @property
    def _closing_ids(self) -> list[int]:
        """What closes a text with masks."""
        return [] if self.closing is None else [self.tokenizer.convert_tokens_to_ids(self.closing)]

    def token_text(self, token: int) -> str:
        """One token as text, special tokens included."""
        text: str = self.tokenizer.decode([token])
        return text

    def ids(self, text: str, special: bool) -> list[int]:
        """Token ids of a text. Raises `CanvasError` for characters that the tokenizer does not know.

        Args:
            special: whether to add what the tokenizer puts before a text, such as a start token. A text that begins
                with a special token was made ready beforehand and gets no second one. Of what a tokenizer puts behind
                a text, such as an end token, only the token that opens an answer is added, if it names an
                `answer_token`.
        """
        ids = self._known_ids(text, special=False)
        if ids is None:
            strange = sorted(c for c in set(text) if self._known_ids(c, special=False) is None)
            what = ", ".join(map(repr, strange)) or "a part of the text"
            raise CanvasError(f"the model's tokenizer does not know {what}{self.hint}")
        if not special:
            return ids
        before, after = self._around()
        return ([] if self._is_opened(ids) else before) + ids + (after if ids[-1:] != after else [])

    def _following(self, text: str) -> list[int]:
        """Token ids of a text that is not the beginning of one: without the space that some tokenizers put there."""
        plain = self._known_ids(text, special=False)
        if plain:
            first = str(self.tokenizer.convert_ids_to_tokens(plain[:1])[0])
            if first.startswith(text[0]):
                return plain
        for anchor in (*_ANCHORS, *sorted(set(text))[:_MOST_ANCHORS]):
            before = self._known_ids(anchor, special=False)
            if not before:
                continue
            if plain and self.tokenizer.decode(before + plain) == anchor + text:
                return plain
            whole = self._known_ids(anchor + text, special=False) or []
            if whole[: len(before)] == before and self.tokenizer.decode(whole) == anchor + text:
                return whole[len(before) :]
        return self.ids(text, special=False) if plain is None else plain

    def _around(self) -> tuple[list[int], list[int]]:
        """What stands before every text, such as a start token, and the token that opens an answer behind it."""
        for probe in self._probes():
            plain, full = self._known_ids(probe, special=False), self._known_ids(probe, special=True)
            if not plain or full is None:
                continue
            ends = range(len(plain), len(full) + 1)
            end = next((end for end in ends if full[end - len(plain) : end] == plain), None)
            if end is not None:
                answer = getattr(self.tokenizer, "answer_token_id", None)
                return full[: end - len(plain)], [token for token in full[end:] if token == answer]
        return [], []

    def _probes(self) -> Iterator[str]:
        """Texts, of which the tokenizer should know the first. A vocabulary is large, so it is read only if needed."""
        yield from _PROBES
        special = self._special_ids()
        yield from (token for token, number in self.tokenizer.get_vocab().items() if number not in special)

    def _is_opened(self, ids: Sequence[int]) -> bool:
        """Whether a text begins with a special token, as what a chat template has made does."""
        return bool(ids) and ids[0] != self.mask_id and ids[0] in self._special_ids()

    def _special_ids(self) -> set[int]:
        added = getattr(self.tokenizer, "added_tokens_decoder", {})
        return {number for number, token in added.items() if token.special}

    @property
    def _mask_text(self) -> str | None:
        """The mask as it is written in a text; None where the tokenizer does not look for it."""
        token = getattr(self.tokenizer, "added_tokens_decoder", {}).get(self.mask_id)
        return None if token is None else str(token.content)

    def _known_ids(self, text: str, special: bool) -> list[int] | None:
        """Token ids with all that the tokenizer adds, if wanted; None where the text holds something unknown."""
        try:
            ids = list(self.tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])
        except Exception:  # the tokenizers library raises plain `Exception`, and `TypeError` for half a surrogate pair
            return None
        unknown = getattr(self.tokenizer, "unk_token_id", None)
        return None if unknown is not None and unknown in ids and unknown not in self.eos_ids else ids


def find_mask_id(
    option: int | None, config: Mapping[str, Any], published: int | None, tokenizer: Any, vocab_size: int, source: str
) -> int:
    """The mask id from the option, config.json's `mask_token_id`, the family or the tokenizer, in this order.

    The id that the family's published checkpoints have counts if the tokenizer has a token of that id: another
    tokenizer has another mask. Raises `ModelError` if none has it.
    """
    if published is not None and tokenizer is not None and published not in tokenizer.get_vocab().values():
        published = None
    named = {
        "the option mask_id (--mask-id)": option,
        "mask_token_id of config.json": config.get("mask_token_id"),
        "the family's published checkpoints": published,
        "the tokenizer": getattr(tokenizer, "mask_token_id", None),
    }
    for origin, candidate in named.items():
        if candidate is not None:
            if not is_whole(candidate) or not 0 <= candidate < vocab_size:
                raise ModelError(
                    f"{source}: the mask id {candidate!r} is outside the vocabulary [0, {vocab_size}); it is from "
                    f"{origin}, and mask_id=... (--mask-id) names another"
                )
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
            raise ModelError(f"the {name} id {token!r:.60} is not a whole number")
        if not 0 <= token < vocab_size:
            raise ModelError(f"the {name} id {token} is outside the vocabulary [0, {vocab_size})")
    if mask_id in eos_ids:
        raise ModelError(f"the mask id {mask_id} is also an end id, so a text would end at its first mask")


def ids_without_token(
    tokenizer: Any, vocab_size: int, ends: Sequence[int], text_size: int | None = None
) -> tuple[range, ...]:
    """The ids that the model has a row for and that are no token of a text, as ranges in rising order.

    Embeddings often have more rows than there are tokens. An id that `ends` a text counts as a token, since nothing
    has to be written for it. Without a tokenizer, or with one that does not list its tokens, all below `text_size` are.
    """
    size = vocab_size if text_size is None else min(text_size, vocab_size)
    vocabulary = tokenizer.get_vocab() if hasattr(tokenizer, "get_vocab") else {}
    tokens = sorted(token for token in {*vocabulary.values(), *ends} if 0 <= token < size)
    if not vocabulary or not tokens:
        return () if size == vocab_size else (range(size, vocab_size),)
    bounds = [-1, *tokens, vocab_size]
    gaps = (range(before + 1, after) for before, after in pairwise(bounds))
    return tuple(gap for gap in gaps if gap)
