import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadmesh.errors import InvalidToolArguments
from tools_svc.domain.arguments import parse_arguments

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), VALUES))
def test_every_json_object_is_read_as_it_is(value: dict[str, object]) -> None:
    assert parse_arguments(json.dumps(value)) == value


@pytest.mark.parametrize("text", ["", "  ", "{}"])
def test_no_arguments_are_an_empty_object(text: str) -> None:
    assert parse_arguments(text) == {}


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "1",
        "null",
        '"x"',
        "{",
        '{"a": 1,}',
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": 1e400}',
        '{"a": 1, "a": 2}',
        '{"a": {"b": 1, "b": 1}}',
        '{"a": "\\ud800"}',
        '{"\\udfff": 1}',
        '{"a": ["' + "\\ud83d" + '"]}',
        '{"a": ' + "[" * 65 + "]" * 65 + "}",
        '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"a": ' + "9" * 10_000 + "}",
        '{"a": "' + "x" * 1024 * 1024 + '"}',
        "\ud800",
    ],
    ids=range(19),
)
def test_what_is_no_clean_json_object_is_refused(text: str) -> None:
    with pytest.raises(InvalidToolArguments):
        parse_arguments(text)


def test_long_integers_keep_every_digit() -> None:
    assert parse_arguments('{"id": 1234567890123456789}') == {"id": 1234567890123456789}
