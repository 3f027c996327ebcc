"""Forms as MCP has them: one flat object of texts, numbers, choices, yes or no, and nothing that takes long to check.

MCP 2026-07-28, "Elicitation", `PrimitiveSchemaDefinition`; what pydantic writes for an optional field is read, too.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Any
from urllib.parse import urlsplit

from threadmesh.errors import UnsupportedSchema

LARGEST_BYTES = 16 * 1024
"""What a form's schema may hold."""

_MOST_FIELDS = 64
_KINDS: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "null": type(None),
}
_NAMES = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list of choices",
    "null": "null",
}


class FormSchema:
    """A form that can be filled in."""

    def __init__(self, schema_json: str) -> None:
        """Read a form; raises `UnsupportedSchema` for a schema that is none."""
        schema = _parsed(schema_json)
        self.fields: Mapping[str, Mapping[str, Any]] = schema["properties"]
        """The schema of each field."""
        self.required = frozenset(schema.get("required", ()))
        """The names of the fields that must be filled in."""

    def complaint(self, content: object) -> tuple[str, str]:
        """Say which field does not fit, and why; two empty texts when everything fits."""
        if not isinstance(content, dict):
            return "", "It must be an object of the form's fields."
        for name in sorted(self.required - content.keys()):
            return name, "It is missing."
        wrongs = ((name, self.wrong(name, value)) for name, value in content.items())
        return next(((name, wrong) for name, wrong in wrongs if wrong), ("", ""))

    def wrong(self, name: str, value: object) -> str:
        """Say what is wrong with the value of a field; empty if it fits."""
        if name not in self.fields:
            return "The form has no such field."
        wanted = _wanted(value, self.fields[name])
        return f"It must be {wanted}." if wanted else ""


def _parsed(schema_json: str) -> dict[str, Any]:
    try:
        schema: dict[str, Any] = json.loads(schema_json)
    except (ValueError, RecursionError) as error:
        raise UnsupportedSchema("The form's schema is not valid JSON.") from error
    match schema:
        case {"type": "object", "properties": dict() as fields} if len(fields) <= _MOST_FIELDS:
            names = schema.get("required", [])
        case _:
            raise UnsupportedSchema(f"A form is an object of at most {_MOST_FIELDS} fields.")
    if not isinstance(names, list) or any(not isinstance(name, str) or name not in fields for name in names):
        raise UnsupportedSchema("A form's required fields are fields of it.")
    for name, field in fields.items():
        if not isinstance(field, dict) or not all(map(_is_known, _alternatives(field))):
            raise UnsupportedSchema(f"The form's field {name[:64]} is no text, number, choice, yes or no.")
    return schema


def _alternatives(field: Mapping[str, Any]) -> list[Any]:
    """Give the kinds of value that a field may have: one, or also null where it is optional."""
    alternatives = field.get("anyOf")
    return alternatives if isinstance(alternatives, list) and alternatives else [field]


def _is_known(field: Any) -> bool:
    if not isinstance(field, dict) or field.get("type") not in _KINDS:
        return False
    if field["type"] != "array":
        return _are_texts(_choices(field)) and all(_is_limit(field.get(name)) for name in _LIMITS)
    items = field.get("items")
    return isinstance(items, dict) and bool(_choices(items)) and _are_texts(_choices(items)) and _has_limits(field)


_LIMITS = ("minLength", "maxLength", "minimum", "maximum")


def _has_limits(field: Mapping[str, Any]) -> bool:
    return _is_limit(field.get("minItems")) and _is_limit(field.get("maxItems"))


def _is_limit(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _are_texts(choices: list[Any] | None) -> bool:
    return choices is None or all(isinstance(choice, str) for choice in choices)


def _choices(field: Mapping[str, Any]) -> list[Any] | None:
    """Give what a field lets choose from; None if it lets fill in anything."""
    for key in ("oneOf", "anyOf"):
        if isinstance(titled := field.get(key), list):
            return [each.get("const") if isinstance(each, dict) else None for each in titled]
    if "const" in field:
        return [field["const"]]
    listed = field.get("enum")
    return listed if isinstance(listed, list) else None


def _wanted(value: object, field: Mapping[str, Any]) -> str:
    """Say what a value should have been; empty if it fits one of the field's alternatives."""
    wrongs = list(_wrongs(value, field))
    return "" if "" in wrongs else " or ".join(dict.fromkeys(wrongs))


def _wrongs(value: object, field: Mapping[str, Any]) -> Iterator[str]:
    for each in _alternatives(field):
        kind = each["type"]
        if not isinstance(value, _KINDS[kind]) or (isinstance(value, bool) and kind != "boolean"):
            yield _NAMES[kind]
        elif isinstance(value, list):
            yield _wrong_list(value, each)
        elif isinstance(value, str):
            yield _wrong_text(value, each)
        else:
            yield _outside(value, each)


def _wrong_list(value: list[Any], field: Mapping[str, Any]) -> str:
    choices = _choices(field["items"]) or []
    if any(each not in choices for each in value):
        return f"a list of some of {_listed(choices)}"
    least, most = field.get("minItems", 0), field.get("maxItems", len(value))
    return "" if least <= len(value) <= most else f"a list of {least} to {most} choices"


def _wrong_text(value: str, field: Mapping[str, Any]) -> str:
    if (choices := _choices(field)) is not None:
        return "" if value in choices else f"one of {_listed(choices)}"
    least, most = field.get("minLength", 0), field.get("maxLength", len(value))
    if not least <= len(value) <= most:
        return f"a text of {least} to {most} characters"
    form = field.get("format")
    return "" if _is_formed(value, form) else f"a text of the form {form}"


def _is_formed(value: str, form: object) -> bool:
    try:
        match form:
            case "email":
                name, _, domain = value.rpartition("@")
                return bool(name and domain)
            case "uri":
                return bool(urlsplit(value).scheme)
            case "date":
                return bool(date.fromisoformat(value))
            case "date-time":
                return bool(datetime.fromisoformat(value))
            case _:
                return True
    except ValueError:
        return False


def _outside(value: Any, field: Mapping[str, Any]) -> str:
    if value is None or isinstance(value, bool):
        return ""
    least, most = field.get("minimum"), field.get("maximum")
    if least is not None and value < least:
        return f"at least {least}"
    return f"at most {most}" if most is not None and value > most else ""


def _listed(choices: list[Any]) -> str:
    return ", ".join(map(repr, choices))[:300]
