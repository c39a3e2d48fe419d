"""Prompts: chats, what a chat template may raise, start and end tokens, and texts to infill. No model is loaded."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

import mdm_sampling as mdm
from mdm_sampling.backends.chat import messages_of, prompts_of, with_system
from mdm_sampling.backends.text import TextCodec
from mdm_sampling.result import Collector

LETTERS = [chr(c) for c in range(32, 127)]
SPECIAL = ["<unk>", "<s>", "</s>", "<mask>", "[SEP]", "<user>"]
VOCABULARY = [*SPECIAL, *LETTERS, "\n", "▁", "▁t", "th", "▁th", "at"]
ID = {token: i for i, token in enumerate(VOCABULARY)}
PLAIN = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}|{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def codec_of(spaces: str = "kept", around: str = "$A", template: Any = None, **options: Any) -> TextCodec:
    """A tokenizer of characters, with a few merges.

    Args:
        spaces: "kept", or how a space is put before a text, as SentencePiece does: "first", "always" or "normalizer".
        around: what a text gets, such as "<s> $A".
    """
    core = Tokenizer(models.BPE(ID, [("t", "h"), ("▁", "t"), ("a", "t")]))
    if spaces == "normalizer":
        core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    elif spaces == "kept":
        core.decoder = decoders.Fuse()
    else:
        core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=spaces, split=False)
        core.decoder = decoders.Metaspace(prepend_scheme=spaces, split=False)
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    core.post_processor = processors.TemplateProcessing(
        single=around, special_tokens=[(token, ID[token]) for token in SPECIAL if token in around]
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="</s>", mask_token="<mask>", clean_up_tokenization_spaces=False, **options
    )
    made.chat_template = template
    return TextCodec(made, ID["<mask>"], (ID["</s>"],))


def text(codec: TextCodec, ids: Sequence[int]) -> str:
    found: str = codec.tokenizer.decode(ids)
    return found


# --- Chats --------------------------------------------------------------------------------------------------------

USER = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize(
    ("messages", "rendered"),
    [
        ([USER], "[user]Hi|[assistant]"),
        ([{"role": "user", "content": [{"type": "text", "text": "Hi"}]}], "[user]Hi|[assistant]"),
        ([{"role": "user", "content": [{"type": "text", "text": t} for t in ("a", "b")]}], "[user]ab|[assistant]"),
        ([USER, {"role": "assistant", "content": "Sure, "}], "[user]Hi|[assistant]Sure, "),
        ([USER, {"role": "assistant", "content": [{"type": "text", "text": "S"}]}], "[user]Hi|[assistant]S"),
        ([USER, {"role": "assistant", "content": ""}], "[user]Hi|[assistant]"),
        ([USER, {"role": "assistant", "content": "x"}, USER], "[user]Hi|[assistant]x|[user]Hi|[assistant]"),
    ],
)
def test_a_chat_becomes_the_text_that_the_template_writes(messages: list[dict[str, Any]], rendered: str) -> None:
    codec = codec_of(template=PLAIN)
    assert codec.rendered(messages).text == rendered
    assert text(codec, codec.encode(messages)) == rendered


def test_all_fields_of_a_message_reach_the_template() -> None:
    codec = codec_of(template="{% for m in messages %}{{ m.name }}:{{ m.tool_calls[0].id }};{% endfor %}")
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "c1"}], "name": "bot"}
    assert codec.rendered([call]).text == "bot:c1;"


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}], "not text, 'image_url'"),
        ([{"role": "user", "content": ["Hi"]}], "not text, 'Hi'"),
        ([{"role": "user", "content": [{"type": "text", "text": 5}]}], "not text"),
        ([{"role": "user", "content": []}], "the content of message 0"),
        ([USER, {"role": "user", "content": None}], "the content of message 1"),
        ([USER, {"role": "user"}], "the content of message 1"),
        ([{"content": "Hi"}], "a text or a list of messages"),
        ([], "a text or a list of messages"),
        (["Hi"], "a text or a list of messages"),
        (5, "a text or a list of messages"),
    ],
)
def test_what_is_no_chat_is_refused_in_a_sentence(messages: Any, words: str) -> None:
    with pytest.raises(mdm.CanvasError, match=words):
        messages_of(messages)


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages[0]['content'] + 1 }}",
        "{{ 1/0 }}",
        "{{ range(10**9) }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% include 'x' %}",
        "{{ raise_exception('no') }}",
        "{% if %}",
        "{% if true %}" * 3000 + "{% endif %}" * 3000,
        5,
        {"rag": "x", "tool_use": "y"},
    ],
    ids=lambda value: str(value)[:30],
)
def test_whatever_a_template_raises_is_one_sentence(template: Any) -> None:
    codec = codec_of(template=template)
    for prompt in ("Hi", [USER]):
        with pytest.raises(mdm.CanvasError, match=r"chat template.*--no-chat") as raised:
            codec.encode(prompt)
        assert "\n" not in str(raised.value)
    if isinstance(template, dict):
        assert "rag, tool_use" in str(raised.value)


@pytest.mark.parametrize("prompt", ["Hi", [USER], [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]])
def test_a_system_message_stands_before_a_text_and_before_a_chat(prompt: Any) -> None:
    assert (
        codec_of(template=PLAIN).rendered(with_system(prompt, "Be kind")).text == "[system]Be kind|[user]Hi|[assistant]"
    )


def test_a_chat_with_a_system_message_of_its_own_gets_no_second_one() -> None:
    with pytest.raises(mdm.CanvasError, match=r"a system message of its own; leave out system=... \(--system\)"):
        with_system([{"role": "system", "content": "Be kind"}, USER], "Be brief")


@pytest.mark.parametrize(
    ("template", "system", "chat", "error", "words"),
    [
        (None, "Hi", None, mdm.CanvasError, "no chat template, so it can be given no system message"),
        (None, "Hi", True, mdm.CanvasError, "no chat template, so it can be given no system message"),
        (PLAIN, "Hi", False, mdm.CanvasError, "leave it out, or switch the template on"),
        (PLAIN, 5, None, mdm.SpecError, "system must be a text, got 5"),
        (PLAIN, "\ud800", None, mdm.SpecError, "system must be a Unicode text"),
    ],
)
def test_a_system_message_that_cannot_be_put_anywhere_is_refused(
    template: str | None, system: Any, chat: bool | None, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        codec_of(template=template).check_system(system, chat)


def test_one_chat_is_one_prompt() -> None:
    assert prompts_of([USER]) == prompts_of([[USER]]) == [[USER]]
    assert prompts_of("Hi") == ["Hi"]
    assert prompts_of(["a", [USER]]) == ["a", [USER]]
    with pytest.raises(mdm.CanvasError, match="put it into a list"):
        prompts_of(USER)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [None, 5, 1.5, [None], [5], b"Hi"], ids=repr)
def test_what_is_no_prompt_is_refused_in_a_sentence(given: Any) -> None:
    codec = codec_of(template=PLAIN)
    with pytest.raises(mdm.CanvasError, match="a text or a list of messages"):
        [codec.encode(prompt) for prompt in prompts_of(given)]
    with pytest.raises(mdm.CanvasError, match="a text with masks is needed"):
        codec.encode_masked(given[0] if isinstance(given, list) else given)


# --- What a tokenizer puts around a text --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("around", "before"),
    [("$A", ""), ("<s> $A", "<s>"), ("<s> $A </s>", "<s>"), ("<user> $A [SEP]", "<user>"), ("$A </s>", "")],
)
@pytest.mark.parametrize("spaces", ["kept", "first"])
def test_only_what_stands_before_a_text_is_added_and_once(around: str, before: str, spaces: str) -> None:
    codec = codec_of(spaces, around)
    for prompt in ("Hi", "", "at 1"):
        ids = codec.encode(prompt)
        assert ids[: len(ids) - len(codec.ids(prompt, special=False))] == ([ID[before]] if before else [])
        if before:
            assert codec.encode(before + prompt) == [ID[before], *codec.ids(before + prompt, special=False)[1:]]
    assert codec.encode_masked("a[MASK]")[0] == ([ID[before]] if before else [])


def test_a_token_that_opens_the_answer_stays_behind_a_prompt() -> None:
    codec = codec_of("kept", "<s> $A <user>", answer_token="<user>")
    assert text(codec, codec.encode("Hi")) == text(codec, codec.encode("<s>Hi")) == "<s>Hi<user>"


# --- Texts to infill ----------------------------------------------------------------------------------------------


def filled(codec: TextCodec, given: str, tokens: Sequence[str]) -> str:
    """The text of a result whose masks were filled with these tokens."""
    import torch

    prefix, body = codec.encode_masked(given)
    canvas = mdm.Canvas.from_rows([(prefix, body)], mask_id=ID["<mask>"], pad_id=0)
    collector = Collector(canvas, [0], codec, until_eos=False)
    ids = iter([ID[token] for token in tokens])
    canvas.tokens[0] = torch.tensor([next(ids) if t == ID["<mask>"] else t for t in canvas.tokens[0].tolist()])
    return collector.result({}).texts[0]


@pytest.mark.parametrize("spaces", ["kept", "first", "always", "normalizer"])
@example(pieces=["the c", "t sat.", " a"])
@given(pieces=st.lists(st.text("that 1.\n", max_size=6), min_size=2, max_size=4))
def test_what_was_given_stays_and_nothing_is_added(spaces: str, pieces: list[str]) -> None:
    codec = codec_of(spaces, "<s> $A")
    pieces[0] = pieces[0].lstrip(" ")  # the first space of a text is what these tokenizers cannot tell from their own
    for mask in ("[MASK]", "<mask>"):
        assert filled(codec, mask.join(pieces), "z" * (len(pieces) - 1)) == "z".join(pieces)


@pytest.mark.parametrize("spaces", ["kept", "first"])
def test_given_special_tokens_stay_in_the_text_and_drawn_ones_do_not(spaces: str) -> None:
    codec = codec_of(spaces)
    assert filled(codec, "<user>the c[MASK]t</s>[MASK:2]", ["</s>", "z", "[SEP]"]) == "<user>the ct</s>z"


def test_masks_are_counted_before_they_are_made() -> None:
    codec = codec_of()
    for masked, limit, words in [
        ("[MASK:999999]" * 5000, 256, "4999995000 masks exceed the model's context of 256"),
        ("[MASK:200]" * 2, 256, "400 masks exceed"),
        ("[MASK]" * 300, 256, "300 masks exceed"),
        ("<mask>" * 300, 256, "300 masks exceed"),
        ("[MASK:999999]" * 2, None, "the most of one row"),
    ]:
        with pytest.raises(mdm.CanvasError, match=words):
            codec.encode_masked(masked, limit)
    assert len(codec.encode_masked("[MASK:256]", 256)[1]) == 256
