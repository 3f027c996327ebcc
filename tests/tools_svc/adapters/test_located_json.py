import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools_svc.adapters.located_json import JsonError, parse

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(VALUES, st.sampled_from([None, 2]))
def test_it_reads_what_the_standard_library_reads(value: object, indent: int | None) -> None:
    assert parse(json.dumps(value, indent=indent)).value == value


def test_every_key_and_element_knows_its_line() -> None:
    located = parse('{\n  "a": {\n    "b": 1\n  },\n  "c": [\n    1,\n    2]\n}')

    assert located.line(("a",)) == 2
    assert located.line(("a", "b")) == 3
    assert located.line(("c", 1)) == 7
    assert located.line(("c", 1, "missing")) == 7
    assert located.line(()) == 1


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("{\n", 2),
        ('{\n"a": 1,\n}', 3),
        ('{\n"a" 1}', 2),
        ('{"a": [1\n2]}', 2),
        ('{"a":\nNaN}', 2),
        ('{"a": tru}', 1),
        ('{"a": 1}\n{}', 2),
        ('{"a": "\n"}', 1),
        ('{"a": 1,\n\n"a": 2}', 3),
        ("[" * 40, 1),
        ("\ufeff{}", 1),
    ],
)
def test_what_is_no_json_is_told_with_its_line(text: str, line: int) -> None:
    with pytest.raises(JsonError) as error:
        parse(text)

    assert error.value.line == line
