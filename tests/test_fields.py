"""Values of JSON that somebody may have changed: what is refused, and what is not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdm_sampling.fields import MOST_DEPTH, is_number, is_whole, parse_json

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=60,
)


@given(values, st.booleans())
def test_ordinary_values_are_read(value, ascii_only):
    """Pairs of surrogates, which `ascii_only` writes for signs beyond 16 bits, are ordinary."""
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert parse_json(text) == parse_json(text.encode()) == value


def nested(depth, wrap):
    value = 1
    for _ in range(depth):
        value = wrap(value)
    return json.dumps(value)


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"a": v}], ids=["lists", "objects"])
def test_depth_is_bounded(wrap):
    parse_json(nested(MOST_DEPTH, wrap))
    for depth in (MOST_DEPTH + 1, 900):
        with pytest.raises(ValueError, match="nests too deep"):
            parse_json(nested(depth, wrap))
    with pytest.raises(ValueError, match="nests too deep"):
        parse_json("[" * 100_000 + "]" * 100_000)
    with pytest.raises(ValueError, match="nests too deep"):
        parse_json("[" * 100_000)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("1" + "0" * 400, "too large"),
        ("-1" + "0" * 400, "too large"),
        ('{"a": [1, 1' + "0" * 400 + "]}", "too large"),
        ("9" * 5000, None),  # more digits than Python reads
        ('"\\ud800"', "not Unicode"),
        ('{"\\uDC00": 1}', "not Unicode"),
        ('["\\ude00\\ud83d"]', "not Unicode"),
        ("{", None),
        (b"\xff", None),
    ],
)
def test_what_no_code_expects_is_refused(text, fault):
    with pytest.raises(ValueError, match=fault):
        parse_json(text)


def test_long_digits_within_a_text_are_a_text():
    assert parse_json(json.dumps(["9" * 5000])) == ["9" * 5000]


def test_numbers_that_other_code_can_use():
    huge = 10**400
    assert not any(map(is_number, (huge, -huge, float("nan"), float("inf"), True, "1", None)))
    assert all(map(is_number, (0, -1.5, 10**300, 2**63)))
    assert not any(map(is_whole, (2**63, -(2**63) - 1, huge, True, 1.0, "1")))
    assert all(map(is_whole, (0, -1, 2**63 - 1)))
