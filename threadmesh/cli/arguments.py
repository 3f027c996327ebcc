"""A tool's arguments from the command line: a JSON object, or `key=value` read by the tool's schema."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from threadmesh.errors import InvalidArgument


def parse_arguments(words: Sequence[str], *, schema_json: str) -> str:
    """Give the arguments as a JSON object.

    A single word that begins with `{` is taken as it is. Of `key=value`, the value stays a text where the schema wants
    one, and is read as JSON elsewhere if it is JSON. `key:=value` is always JSON.
    """
    if len(words) == 1 and words[0].lstrip().startswith("{"):
        return _checked_object(words[0])
    properties = _properties(schema_json)
    arguments: dict[str, Any] = {}
    for word in words:
        key, value = _pair(word)
        if key.endswith(":"):
            arguments[key[:-1]] = _json(key[:-1], value)
        else:
            arguments[key] = _read(value, properties.get(key))
    return json.dumps(arguments, ensure_ascii=False)


def _checked_object(text: str) -> str:
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise InvalidArgument(f"The arguments are not JSON ({error}); write {{...}} or key=value.") from error
    if not isinstance(parsed, dict):
        raise InvalidArgument("The arguments must be a JSON object; write {...} or key=value.")
    return text


def _pair(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals or not key.strip(":"):
        raise InvalidArgument(f"{word!r} is no argument; write key=value or one JSON object.")
    return key, value


def _json(key: str, value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError as error:
        raise InvalidArgument(f"The value of {key} is not JSON ({error}).", field=key) from error


def _read(value: str, schema: object) -> Any:
    if isinstance(schema, Mapping) and "string" in _types(schema):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _types(schema: Mapping[str, Any]) -> set[str]:
    stated = schema.get("type", [])
    types = {stated} if isinstance(stated, str) else set(stated)
    alternatives = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    return types.union(*(_types(each) for each in alternatives if isinstance(each, Mapping)))


def _properties(schema_json: str) -> Mapping[str, Any]:
    try:
        schema = json.loads(schema_json or "{}")
    except ValueError:
        return {}
    properties = schema.get("properties", {}) if isinstance(schema, dict) else {}
    return properties if isinstance(properties, dict) else {}
