import json

import pytest

from threadmesh.cli.arguments import parse_arguments
from threadmesh.errors import InvalidArgument

SCHEMA = json.dumps(
    {
        "properties": {
            "zone": {"type": "string"},
            "count": {"type": "integer"},
            "tags": {"type": "array"},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        }
    }
)


def parse(*words: str) -> object:
    return json.loads(parse_arguments(words, schema_json=SCHEMA))


def test_no_words_are_no_arguments() -> None:
    assert parse() == {}


def test_a_json_object_is_passed_on_byte_for_byte() -> None:
    assert parse_arguments(['{"id": 9007199254740993}'], schema_json="") == '{"id": 9007199254740993}'


def test_values_are_read_by_the_tools_schema() -> None:
    assert parse("zone=5", "count=5", 'tags=["a"]', "note=null") == {
        "zone": "5",
        "count": 5,
        "tags": ["a"],
        "note": "null",
    }


def test_values_the_schema_does_not_know_are_json_if_they_can_be() -> None:
    assert parse("a=1", "b=x y", "c=d=e") == {"a": 1, "b": "x y", "c": "d=e"}


def test_a_colon_before_the_equals_sign_forces_json() -> None:
    assert parse("zone:=5", "note:=null") == {"zone": 5, "note": None}


@pytest.mark.parametrize("words", [["{broken"], ["[1]"], ["plain"], ["=x"], ["a:=no json"], ["{}", "a=1"]])
def test_what_is_no_argument_is_refused(words: list[str]) -> None:
    with pytest.raises(InvalidArgument):
        parse(*words)
