"""What is wrong with a value that a client has sent, in OpenAI's words and with its codes.

The words were gathered from answers of OpenAI's that its users have published; clients read them, and some the codes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from threadmesh.errors import InvalidArgument

_EXPECTED = {
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_from_float": "an integer",
    "float_type": "a decimal",
    "float_parsing": "a decimal",
    "string_type": "a string",
    "bool_type": "a boolean",
    "bool_parsing": "a boolean",
    "list_type": "an array",
    "tuple_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}
_BOUNDS = {
    "greater_than_equal": ("ge", "below minimum", "below_min", ">="),
    "greater_than": ("gt", "below minimum", "below_min", ">"),
    "less_than_equal": ("le", "above maximum", "above_max", "<="),
    "less_than": ("lt", "above maximum", "above_max", "<"),
}
_CHOICES = {"literal_error", "enum"}
_LENGTHS = {"too_short", "too_long", "string_too_short", "string_too_long"}
SHOWN = 64
"""Characters of a value that its sender is shown again."""


def invalid(error: ValidationError, raw: Any) -> InvalidArgument:
    """Tell of the deepest error: of a union, that is the one in the branch that was meant."""
    errors = error.errors(include_url=False)
    told = [(_place(each, raw), each) for each in errors]
    path = max((where for where, _ in told), key=lambda where: where.count(".") + where.count("["))
    here = [each for where, each in told if where == path]
    # Of a union, the branches of another type say nothing about a value that one of them takes as to its type.
    return wrong(path, [each for each in here if not _expected(each)] or here)


def wrong(path: str, errors: Sequence[ErrorDetails]) -> InvalidArgument:
    """Tell what is wrong with the value at a path; several errors of type are what it could have been instead."""
    first, name = errors[0], path or "body"
    kind = first["type"]
    if _expected(first):
        kinds = dict.fromkeys(filter(None, map(_expected, errors)))
        told = f"expected {_any_of(kinds)}, but got {_kind_of(first['input'])} instead"
        return _told(path, "invalid_type", f"Invalid type for '{name}': {told}.")
    if kind in _BOUNDS:
        return _told(path, *_beyond(name, first))
    if kind in _LENGTHS:
        return _told(path, *_of_wrong_length(name, first))
    if kind.startswith("union_tag"):
        return _of_no_branch(path, first)
    match kind:
        case "missing":
            code, message = "missing_required_parameter", f"Missing required parameter: '{name}'."
        case "literal_error" | "enum":
            code, message = "invalid_value", _unsupported(name, first["ctx"]["expected"])
        case "inconsistent":
            code, message = "invalid_value", first["msg"]
        case "string_pattern_mismatch":
            wanted = f"Expected a string that matches the pattern '{first['ctx']['pattern']}'."
            code, message = "invalid_value", f"Invalid '{name}': string does not match pattern. {wanted}"
        case _:
            code, message = "invalid_value", f"{path or 'The body'} {_own_words(first['msg'])}."
    return _told(path, code, message)


def unknown(field: str) -> InvalidArgument:
    """Tell of a field that means nothing here."""
    return _told(field, "unknown_parameter", f"Unknown parameter: '{field[:SHOWN]}'.")


def field_path(location: Sequence[int | str], raw: Any, *, missing: bool = True) -> str:
    """Write a pydantic location as `messages[3].content`; the last field may be one that is `missing`.

    A location also names the branches of unions; those are not found in the raw body, and so left out.
    """
    path = ""
    for place, part in enumerate(location):
        last = missing and place == len(location) - 1
        if isinstance(part, int) and isinstance(raw, list):
            path += f"[{part}]"
            raw = raw[part] if part < len(raw) else None
        elif isinstance(raw, dict) and (part in raw or last):
            path += f".{part}" if path else str(part)
            raw = raw.get(part)
    return path


def _place(error: ErrorDetails, raw: Any) -> str:
    path = field_path(error["loc"], raw, missing=error["type"] == "missing")
    of_it = error["ctx"]["field"] if error["type"] == "inconsistent" else ""
    return ".".join(filter(None, (path, of_it)))


def _told(path: str, code: str, message: str) -> InvalidArgument:
    return InvalidArgument(message, field=path, kind=code)


def _expected(error: ErrorDetails) -> str | None:
    """Say of what type a value should have been; None if its type is right."""
    if error["type"] in _CHOICES:
        return None if isinstance(error["input"], str) else "a string"
    return _EXPECTED.get(error["type"])


def _of_no_branch(path: str, error: ErrorDetails) -> InvalidArgument:
    """Tell of an object that does not say of which kind it is, or of one that there is not."""
    facts = error["ctx"]
    tag = facts["discriminator"].strip("'")
    name = f"{path}.{tag}" if path else tag
    if error["type"] == "union_tag_invalid":
        return _told(name, "invalid_value", _unsupported(name, facts["expected_tags"]))
    return missing(name)


def missing(name: str) -> InvalidArgument:
    """Tell of a field that is wanted here."""
    return _told(name, "missing_required_parameter", f"Missing required parameter: '{name}'.")


def _unsupported(name: str, supported: str) -> str:
    """Name the values that are taken. OpenAI shows the one that was sent, too; here it would stand in the log."""
    *others, last = supported.replace(" or ", ", ").split(", ")
    joined = f"{', '.join(others)}{',' if len(others) > 1 else ''} and {last}" if others else last
    return f"Invalid value for '{name}'. Supported values are: {joined}."


def _beyond(name: str, error: ErrorDetails) -> tuple[str, str]:
    bound, where, code, sign = _BOUNDS[error["type"]]
    limit = error["ctx"][bound]
    number = "decimal" if isinstance(limit, float) else "integer"
    wanted = f"Expected a value {sign} {limit:.15g}, but got {_number(error['input'])} instead."
    return f"{number}_{code}_value", f"Invalid '{name}': {number} {where} value. {wanted}"


def _number(value: Any) -> str:
    return f"{value:.15g}" if isinstance(value, float) else str(value)[:SHOWN]


def _of_wrong_length(name: str, error: ErrorDetails) -> tuple[str, str]:
    given, facts = error["input"], error["ctx"]
    most, least = facts.get("max_length"), facts.get("min_length")
    if isinstance(given, Mapping):
        wanted = f"Expected an object with at most {most} properties, but got an object with {len(given)} properties"
        return "object_above_max_properties", f"Invalid '{name}': too many properties. {wanted} instead."
    a_thing, thing = ("a string", "string") if isinstance(given, str) else ("an array", "array")
    got = f"{a_thing} with length {len(given)} instead"
    if most is not None:
        wanted = f"Expected {a_thing} with maximum length {most}, but got {got}."
        return f"{thing}_above_max_length", f"Invalid '{name}': {thing} too long. {wanted}"
    if not given:
        wanted = f"Expected {a_thing} with minimum length {least}, but got an empty {thing} instead."
        return f"empty_{thing}", f"Invalid '{name}': empty {thing}. {wanted}"
    wanted = f"Expected {a_thing} with minimum length {least}, but got {got}."
    return f"{thing}_below_min_length", f"Invalid '{name}': {thing} too short. {wanted}"


def _kind_of(value: Any) -> str:
    kinds = {bool: "a boolean", int: "an integer", float: "a decimal number", str: "a string", dict: "an object"}
    return "null" if value is None else kinds.get(type(value), "an array")


def _any_of(kinds: Iterable[str]) -> str:
    """Join what a value could have been; only the first one has an article."""
    first, *others = kinds
    *more, last = [each.partition(" ")[2] for each in others] or [""]
    return f"one of {', '.join([first, *more])} or {last}" if last else first


def _own_words(message: str) -> str:
    text = message.removeprefix("Value error, ").removeprefix("Input ").rstrip(".")
    return text[:1].lower() + text[1:]
