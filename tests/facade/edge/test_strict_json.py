"""Every body that merely resembles JSON is refused, with the place where it is wrong."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facade.edge.strict_json import JsonError, decode

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(_TEXT, _VALUES, max_size=4))
def test_every_valid_object_is_decoded_as_it_is(value: dict[str, object]) -> None:
    assert decode(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("body", "kind", "field"),
    [
        (b"", None, None),
        (b"[]", None, None),
        (b'{"a":1}x', None, None),
        (b'{"a":1', None, None),
        (b'{"a":1} // no', None, None),
        (b'{"a":{"b":[1,NaN]}}', "invalid_number", "a.b[1]"),
        (b'{"a":Infinity}', "invalid_number", "a"),
        (b'{"a":-Infinity}', "invalid_number", "a"),
        (b'{"a":1e400}', "invalid_number", "a"),
        (b'{"a":1,"a":2}', "duplicate_key", None),
        (b'{"a":"\\ud800"}', "invalid_unicode", "a"),
        (b'{"a":["\\u0000"]}', "invalid_unicode", "a[0]"),
        (b'{"\\u0000":1}', "invalid_unicode", None),
        (b'{"a":"\xff"}', "invalid_unicode", None),
        ('{"a":1}'.encode("utf-16"), "invalid_unicode", None),
        (b'{"a":' + b"[" * 100_000, "json_too_complex", None),
        (b'{"a":' + b"1" * 5_000 + b"}", "json_too_complex", None),
        (json.dumps({"a": [0] * 60_000}).encode(), "json_too_complex", None),
    ],
)
def test_what_is_not_json_is_refused(body: bytes, kind: str | None, field: str | None) -> None:
    with pytest.raises(JsonError) as caught:
        decode(body)

    assert caught.value.facts.get("kind") == kind
    assert caught.value.facts.get("field") == field


def test_brackets_inside_strings_do_not_count_as_depth() -> None:
    text = '[{"' * 100

    assert decode(json.dumps({"a": text, "b": '\\"[' * 100}).encode())["a"] == text


def test_a_byte_order_mark_is_accepted() -> None:
    assert decode(b'\xef\xbb\xbf{"a":1}') == {"a": 1}
