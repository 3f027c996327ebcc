"""Schemas and grammars that would cost too much, or end the process, never reach the converter."""

import json
from typing import Any

import pytest

from inference_svc.domain.gbnf_budget import check_gbnf
from inference_svc.domain.schema_budget import read_schema
from threadmesh.errors import UnsupportedSchema


def deep(levels: int) -> Any:
    schema: Any = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


BOMBS: list[tuple[str, Any, str]] = [
    ("long text", {"type": "string", "minLength": 1, "maxLength": 20_000}, "#/maxLength"),
    ("just too long", {"type": "string", "maxLength": 1_001}, "#/maxLength"),
    ("many items", {"type": "array", "items": {"type": "null"}, "maxItems": 100_000}, "#/maxItems"),
    ("least items", {"type": "array", "minItems": 5_000}, "#/minItems"),
    ("long pattern", {"type": "string", "pattern": "a" * 300}, "#/pattern"),
    ("big enum", {"enum": list(range(2_000))}, "#/enum"),
    ("enums in all", {"anyOf": [{"enum": list(range(600))}, {"enum": list(range(600))}]}, "#/anyOf/0/enum"),
    ("deep", deep(40), "#" + "/items" * 32),
    ("many schemas", {"anyOf": [{"type": "null"}] * 2_500}, "#/anyOf/"),
    ("many properties", {"properties": {str(n): {} for n in range(5_001)}}, "#/properties"),
    (
        "sum of bounds",
        {"anyOf": [{"type": "string", "maxLength": 999, "title": str(n)} for n in range(30)]},
        "#/anyOf/",
    ),
    ("remote", {"$ref": "https://example.com/schema.json"}, "#/$ref"),
    ("file", {"properties": {"a": {"$ref": "file:///etc/passwd"}}}, "#/properties/a/$ref"),
    ("nowhere", {"$ref": "#/$defs/none"}, "#/$ref"),
    ("itself", {"$ref": "#"}, "#/$ref"),
    ("ring", {"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, ""),
    ("nothing fits", False, ""),
    ("nothing fits inside", {"properties": {"a": False}}, "#/properties/a"),
    ("least above most", {"type": "string", "minLength": 5, "maxLength": 2}, "#/maxLength"),
    ("minimum above maximum", {"minimum": 5, "maximum": 2}, "#/maximum"),
    ("negative bound", {"type": "string", "minLength": -1}, "#/minLength"),
    ("bound of a wrong kind", {"type": "string", "minLength": "9"}, "#/minLength"),
    ("endless number", {"type": "number", "maximum": 1e999}, "#/maximum"),
    ("no such type", {"type": "text"}, "#/type"),
    ("no schema", {"properties": {"a": 3}}, "#/properties/a"),
    ("empty enum", {"enum": []}, "#/enum"),
]


@pytest.mark.parametrize(("schema", "pointer"), [each[1:] for each in BOMBS], ids=[each[0] for each in BOMBS])
def test_a_schema_beyond_the_budget_is_refused_with_its_place(schema: Any, pointer: str) -> None:
    with pytest.raises(UnsupportedSchema) as caught:
        read_schema(json.dumps(schema), field="schema")

    assert caught.value.field.startswith(f"schema{pointer}")


@pytest.mark.parametrize("written", ["", "{", "[" * 100_000, '{"a": 1} x', '"' + "a" * 70_000 + '"'])
def test_what_is_no_json_or_too_large_is_refused(written: str) -> None:
    with pytest.raises(UnsupportedSchema):
        read_schema(written, field="schema")


@pytest.mark.parametrize(
    "schema",
    [
        {},
        True,
        {"type": "object", "properties": {}},
        {"type": "string", "maxLength": 1_000},
        {"enum": list(range(1_000))},
        {"$defs": {"n": {"type": "object", "properties": {"next": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"},
        {"$defs": {"a/b~c": {"type": "null"}}, "$ref": "#/$defs/a~1b~0c"},
        {"const": {"$ref": "https://example.com is data here"}},
        deep(30),
    ],
)
def test_a_schema_within_the_budget_passes_unchanged(schema: Any) -> None:
    assert read_schema(json.dumps(schema), field="schema") == schema


def test_a_lenient_budget_lets_upper_bounds_pass() -> None:
    schema = {"type": "string", "maxLength": 100_000}

    assert read_schema(json.dumps(schema), field="schema", lenient=True) == schema


@pytest.mark.parametrize(
    "gbnf",
    [
        "root ::= " + "(" * 20_000 + '"a"' + ")" * 20_000,
        'root ::= "a"{0,20000}',
        'root ::= ("a"{0,100}){0,100}',
        'root ::= (("a"{100} "b"){2} "c"){100}',
        'root ::= "a"{99999999999999999999}',
        "root ::= " + '"a"{0,1000} ' * 21,
        'answer ::= "a"',
        'root ::= "\0"',
        "",
        'root ::= "' + "a" * 300_000 + '"',
    ],
    ids=["parentheses", "repetition", "nested", "nested apart", "digits", "in all", "no root", "nul", "empty", "bytes"],
)
def test_a_grammar_beyond_the_budget_is_refused(gbnf: str) -> None:
    with pytest.raises(UnsupportedSchema) as caught:
        check_gbnf(gbnf, field="grammar")

    assert caught.value.field == "grammar"


@pytest.mark.parametrize(
    "gbnf",
    [
        'root ::= "yes" | "no"',
        'root ::= ("a"{1,100} other){2} # (((( {9999}\nother ::= "({9999}" [({]{1,1000}',
    ],
)
def test_a_grammar_within_the_budget_passes_unchanged(gbnf: str) -> None:
    assert check_gbnf(gbnf, field="grammar") == gbnf
