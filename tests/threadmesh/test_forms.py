"""Forms of tool servers: which can be filled in, and what fits them."""

import json
from typing import Any

import pytest

from threadmesh.errors import UnsupportedSchema
from threadmesh.forms import FormSchema

FIELDS: dict[str, Any] = {
    "name": {"type": "string", "minLength": 2, "maxLength": 5},
    "mail": {"type": "string", "format": "email"},
    "page": {"type": "string", "format": "uri"},
    "day": {"type": "string", "format": "date"},
    "at": {"type": "string", "format": "date-time"},
    "seats": {"type": "integer", "minimum": 1, "maximum": 8},
    "share": {"type": "number"},
    "agreed": {"type": "boolean"},
    "colour": {"type": "string", "enum": ["red", "blue"]},
    "size": {"type": "string", "oneOf": [{"const": "s", "title": "Small"}, {"const": "l", "title": "Large"}]},
    "days": {"type": "array", "items": {"type": "string", "enum": ["mon", "tue"]}, "minItems": 1, "maxItems": 2},
    "tags": {"type": "array", "items": {"anyOf": [{"const": "a", "title": "A"}]}},
    "note": {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "null"}]},
}


def form(fields: dict[str, Any] = FIELDS, **more: Any) -> FormSchema:
    return FormSchema(json.dumps({"type": "object", "properties": fields, **more}))


GOOD: dict[str, list[Any]] = {
    "name": ["Ann"],
    "mail": ["ann@example.com"],
    "page": ["https://example.com"],
    "day": ["2026-02-28"],
    "at": ["2026-02-28T10:00:00+01:00"],
    "seats": [1, 8],
    "share": [1, 0.5],
    "agreed": [True, False],
    "colour": ["red"],
    "size": ["l"],
    "days": [["mon", "tue"]],
    "tags": [[], ["a"]],
    "note": [None, "abc"],
}
BAD: dict[str, list[Any]] = {
    "name": ["A", "Annabel", 5, None],
    "mail": ["ann", "@example.com"],
    "page": ["example"],
    "day": ["2026-02-30"],
    "at": ["soon"],
    "seats": [0, 9, 2.5, True, "2"],
    "share": ["1", True],
    "agreed": [0, "yes"],
    "colour": ["green", ["red"]],
    "size": ["Large"],
    "days": [[], ["mon", "tue", "mon"], ["wed"], "mon"],
    "tags": [["b"], [1]],
    "note": ["abcd", 5],
}


@pytest.mark.parametrize(("field", "value"), [(name, value) for name, values in GOOD.items() for value in values])
def test_what_fits_its_field_is_taken(field: str, value: Any) -> None:
    assert form().complaint({field: value}) == ("", "")


@pytest.mark.parametrize(("field", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_what_does_not_is_refused_with_the_field_and_what_it_must_be(field: str, value: Any) -> None:
    where, why = form().complaint({field: value})

    assert where == field
    assert why.startswith("It must be ")


def test_a_field_that_is_missing_or_unknown_is_named() -> None:
    wanted = form(required=["name"])

    assert wanted.complaint({})[0] == "name"
    assert wanted.complaint({"name": "Ann", "age": 5})[0] == "age"
    assert wanted.complaint(["Ann"])[1] == "It must be an object of the form's fields."


@pytest.mark.parametrize(
    "schema",
    [
        "no JSON",
        "[]",
        '{"type": "object"}',
        '{"type": "string", "properties": {}}',
        '{"type": "object", "properties": {}, "required": ["name"]}',
        '{"type": "object", "properties": {"a": {"type": "object", "properties": {}}}}',
        '{"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}}}',
        '{"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}}',
        '{"type": "object", "properties": {"a": {"type": "string", "enum": [1]}}}',
        '{"type": "object", "properties": {"a": {"type": "integer", "minimum": "1"}}}',
        json.dumps({"type": "object", "properties": {str(number): {"type": "string"} for number in range(65)}}),
    ],
)
def test_a_schema_that_is_no_flat_form_is_refused(schema: str) -> None:
    with pytest.raises(UnsupportedSchema):
        FormSchema(schema)
