"""Every sentence of a schema's grammar is JSON that conforms to the schema."""

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_svc.domain.grammar_rules import Freedom
from inference_svc.domain.schema_grammar import SchemaGrammar
from tests.inference_svc.schemas import schemas, speaker
from threadmesh.errors import UnsupportedSchema

SCHEMAS: list[Any] = [
    {"type": "object", "properties": {"timezone": {"type": "string"}}, "required": ["timezone"]},
    {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "boolean"}, "c": {"type": "null"}}},
    {"type": "object", "properties": {}, "additionalProperties": False},
    {"type": "object"},
    {"type": "object", "additionalProperties": {"type": "integer", "minimum": 3}},
    {"properties": {"a": {"const": 'he said "no\\yes"\n'}}, "required": ["a", "b"]},
    {"enum": ["é", 'quote"', "back\\slash", "line\nbreak", 1, 1.5, None, True, {"a": [1, 2]}]},
    {"type": ["string", "null"], "maxLength": 3},
    {"type": "string", "minLength": 2, "maxLength": 5},
    {"type": "string", "pattern": "^[a-z]+-\\d{2,3}$"},
    {"type": "string", "pattern": 'a"b\\\\c'},
    {"type": "string", "pattern": '^(?:red|gr(?:e|a)y|[^"\\\\x-z]{2})?$'},
    {"type": "string", "format": "date-time"},
    {"type": "string", "format": "date"},
    {"type": "string", "format": "uuid"},
    {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 4},
    {"type": "array", "items": {"type": "string"}, "maxItems": 0},
    {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False, "minItems": 2},
    {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"enum": ["x"]}}]},
    {"type": "object", "properties": {"a": {"type": "string"}}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
    {"allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"properties": {"b": {"type": "null"}}}]},
    {"allOf": [{"type": "integer", "minimum": 3}, {"minimum": 1, "maximum": 9}]},
    {"$defs": {"n": {"type": "integer"}}, "type": "array", "items": {"$ref": "#/$defs/n"}},
    {
        "$defs": {
            "node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "v": {"type": "integer"}}}
        },
        "$ref": "#/$defs/node",
        "description": "a list",
    },
    {
        "type": "object",
        "properties": {"tree": {"$ref": "#"}, "leaf": {"type": "string"}},
        "additionalProperties": False,
    },
    {"type": "number", "minimum": 0.2, "maximum": 0.8},
    {"type": "number", "exclusiveMinimum": -1.5, "exclusiveMaximum": 2},
    {},
    True,
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=[json.dumps(schema)[:60] for schema in SCHEMAS])
def test_what_the_grammar_admits_conforms_to_the_schema(schema: Any) -> None:
    validator = jsonschema_rs.validator_for(schema, validate_formats=True)
    speaks = speaker(schema, 0)
    for _ in range(300):
        validator.validate(json.loads(speaks.sentence()))


@settings(deadline=None)
@given(low=st.integers(-(10**6), 10**6), size=st.integers(0, 10**6), seed=st.integers(0, 2**32))
def test_whole_numbers_stay_within_their_bounds(low: int, size: int, seed: int) -> None:
    value = json.loads(speaker({"type": "integer", "minimum": low, "maximum": low + size}, seed).sentence())

    assert isinstance(value, int)
    assert low <= value <= low + size


@settings(deadline=None)
@given(
    bounds=st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)).map(sorted).filter(lambda pair: pair[0] < pair[1]),
    seed=st.integers(0, 2**32),
)
def test_numbers_stay_within_their_bounds(bounds: list[float], seed: int) -> None:
    schema = {"type": "number", "minimum": bounds[0], "maximum": bounds[1]}
    try:
        said = speaker(schema, seed).sentence()
    except UnsupportedSchema:
        assert bounds[1] - bounds[0] < 1e-6, "only an interval too small to be written may be refused"
        return

    assert bounds[0] <= json.loads(said) <= bounds[1]


@pytest.mark.parametrize("number", ["0", "7", "10", "99", "120"])
def test_every_whole_number_within_the_bounds_can_be_said(number: str) -> None:
    speaks = speaker({"type": "integer", "minimum": 0, "maximum": 120}, 0)
    said = {speaks.sentence() for _ in range(6_000)}

    assert number in said


@settings(max_examples=200, deadline=None)
@given(schema=schemas(), seed=st.integers(0, 2**32))
def test_what_any_grammar_admits_conforms_to_its_schema(schema: Any, seed: int) -> None:
    jsonschema_rs.validator_for(schema).validate(json.loads(speaker(schema, seed).sentence()))


def test_free_values_are_nested_only_so_deep() -> None:
    def depth(value: Any) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inner is None else 1 + max((depth(each) for each in inner), default=0)

    speaks = speaker({}, 0, freedom=Freedom(depth=3))
    values = [json.loads(speaks.sentence()) for _ in range(300)]

    assert max(depth(value) for value in values) == 3


REFUSED: list[tuple[Any, str]] = [
    ({"type": "string", "not": {"const": "x"}}, "#/not"),
    ({"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}, "#/properties/a/uniqueItems"),
    ({"type": "string", "pattern": "(?<=x)y"}, "#/pattern"),
    ({"type": "string", "pattern": "^(a+)+$"}, "#/pattern"),
    ({"type": "string", "pattern": "^(a)\\1$"}, "#/pattern"),
    ({"type": "string", "pattern": "^" + "(" * 20 + ")" * 20 + "$"}, "#/pattern"),
    ({"type": "string", "pattern": "^a{2000}$"}, "#/pattern"),
    ({"type": "integer", "minimum": 1.2, "maximum": 1.8}, ""),
    ({"type": "object", "required": ["a"], "additionalProperties": False}, "#/required"),
    ({"type": "string", "enum": [1, 2]}, ""),
    ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "#/allOf/1"),
]


@pytest.mark.parametrize(("schema", "pointer"), REFUSED, ids=[json.dumps(each[0])[:60] for each in REFUSED])
def test_what_cannot_be_guaranteed_is_refused_with_its_place(schema: Any, pointer: str) -> None:
    with pytest.raises(UnsupportedSchema) as caught:
        SchemaGrammar().schema(json.dumps(schema), field="schema")

    assert caught.value.field == f"schema{pointer}"


def test_a_lenient_grammar_passes_over_what_it_cannot_say() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "not": {"const": "x"}, "pattern": "(?=x)"}}}
    grammar = SchemaGrammar()

    assert grammar.schema(json.dumps(schema), field="schema", lenient=True)
