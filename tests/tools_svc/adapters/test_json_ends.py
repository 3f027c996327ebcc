"""What is known of a JSON object of which only the ends are."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools_svc.adapters.json_ends import fields

KEYS = st.text(alphabet='i"d\\{', max_size=3)
VALUES = st.recursive(
    st.none() | st.integers() | st.text(alphabet='ab"\\{}[]:,id\u00e9', max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from(["id", "result", "method", "params", '"id', "id\\"]), VALUES, max_size=5)


@given(OBJECTS, st.integers(0, 200), st.integers(0, 200), st.booleans())
def test_the_ends_show_no_field_that_is_not_the_objects_own(
    whole: dict[str, object], front: int, back: int, spaced: bool
) -> None:
    text = json.dumps(whole, separators=(", ", ": ") if spaced else (",", ":")).encode()

    shown = fields(text[:front], text[len(text) - min(back, len(text)) :])

    for name, value in shown:
        assert name in whole
        assert not value or value in (b"{", b"[") or json.loads(value) == whole[name]


@given(OBJECTS)
def test_an_object_that_is_known_from_end_to_end_shows_all_its_fields(whole: dict[str, object]) -> None:
    text = json.dumps(whole).encode()

    for head, tail in [(text, b""), (b"{", text)]:
        shown = dict(fields(head, tail))
        assert shown.keys() == whole.keys()
        assert all(value in (b"{", b"[") or json.loads(value) == whole[name] for name, value in shown.items())


@pytest.mark.parametrize(
    ("head", "tail", "shown"),
    [
        (b'{"id": 1', b"", [("id", b"")]),
        (b'{"id": 12, "res', b'x", "id": 7} ', [("id", b"12"), ("id", b"7")]),
        (b'{"params": {"id": 1, ', b'"id": 3}, "end": 4}}', [("params", b"{")]),
        (b'{"\\u0069d": 1,', b"", [("id", b"1")]),
        (b'{"id": 3, ', b'xx"', []),
        (b'{"a": "', b'\\", "id": 3}', [("a", b""), ("id", b"3")]),
        (b'{"a": "', b'", "id": 3}, "', []),
        (b'["id", 3, ', b'"id": 3}]', []),
        (b'xx{"id": 3,', b'"id": 3}', []),
        (b"", b"", []),
    ],
)
def test_what_is_not_certain_is_not_shown(head: bytes, tail: bytes, shown: list[tuple[str, bytes]]) -> None:
    assert fields(head, tail) == shown
