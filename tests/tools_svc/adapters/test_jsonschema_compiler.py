import json
from typing import Any

import pytest

from threadmesh.errors import UnsupportedSchema
from tools_svc.adapters.jsonschema_compiler import JsonSchema, JsonSchemaCompiler

TWICE = {f"s{n}": {"allOf": [{"$ref": f"#/$defs/s{n - 1}"}] * 2} for n in range(1, 25)} | {"s0": {}}
ANY_JSON = {
    "anyOf": [
        {"type": ["string", "number", "boolean", "null"]},
        {"type": "array", "items": {"$ref": "#"}},
        {"type": "object", "additionalProperties": {"$ref": "#"}},
    ]
}


def _compile(schema: Any) -> JsonSchema:
    return JsonSchemaCompiler().compile(json.dumps(schema))


def _nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def test_a_complaint_says_where_and_why() -> None:
    schema = _compile(
        {"type": "object", "properties": {"zone": {"type": "object", "properties": {"n": {"minimum": 1}}}}}
    )

    assert schema.complaint({"zone": {"n": 1}}) == ""
    assert schema.complaint({"zone": {"n": 0}}) == "/zone/n: 0 is less than the minimum of 1"


def test_a_complaint_about_a_long_value_is_short() -> None:
    assert len(_compile({"maxLength": 3}).complaint("x" * 100_000)) < 500


def test_integers_beyond_53_bits_are_compared_exactly() -> None:
    schema = _compile({"type": "integer", "maximum": 1234567890123456788})

    assert schema.complaint(1234567890123456788) == ""
    assert schema.complaint(1234567890123456789) != ""


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"properties": {"a": {"$ref": "file:///etc/passwd"}}},
        {"$ref": "other.json#/a"},
        {"$schema": "http://127.0.0.1:9/dialect"},
        {"$ref": "#"},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"$ref": "#/nowhere"},
        {"type": "nonsense"},
        {"pattern": "(("},
        {"pattern": "a" * 300},
        {"description": "x" * 70_000},
        {"enum": [[[]]] * 3_000},
        {"properties": _nested(40)},
        {"$defs": TWICE, "$ref": "#/$defs/s24"},
        {"properties": {"a": {"$id": "inner", "type": "object"}}},
        [],
        "object",
    ],
    ids=range(17),
)
def test_a_schema_that_is_broken_or_refers_elsewhere_or_explodes_is_refused(schema: Any) -> None:
    with pytest.raises(UnsupportedSchema):
        _compile(schema)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"pattern": "^(a+)+$"}, "a" * 5_000 + "b"),
        ({"pattern": r"^(a+)+\1$"}, "a" * 5_000 + "b"),
        ({"uniqueItems": True}, [{"n": n} for n in range(4_000)] + [{"n": 0}]),
        ({"allOf": [{"properties": {"a": {"$ref": "#"}}}] * 2}, _nested(60)),
        ({"allOf": [{"properties": {"a": {"$ref": "#/$defs/x"}}}] * 2, "$defs": {"x": {"$ref": "#"}}}, _nested(60)),
        ({"$anchor": "x", "allOf": [{"properties": {"a": {"$ref": "#x"}}}] * 3}, _nested(60)),
    ],
    ids=range(6),
)
@pytest.mark.timeout(20)
def test_a_value_that_would_keep_others_busy_for_ever_is_refused_at_once(schema: Any, value: Any) -> None:
    """Each of these takes an ordinary validator longer than anybody waits."""
    assert _compile(schema).complaint(value) != ""


@pytest.mark.parametrize("depth", [3, 30, 60])
def test_a_recursive_schema_that_does_not_multiply_is_as_good_as_any(depth: int) -> None:
    assert _compile(ANY_JSON).complaint(_nested(depth)) == ""


def test_equal_schemas_are_compiled_once() -> None:
    compiler = JsonSchemaCompiler()

    assert compiler.compile('{"type":"object"}') is compiler.compile('{"type":"object"}')
