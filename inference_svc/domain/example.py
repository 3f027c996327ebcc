"""The least value that a JSON Schema of the usual kind allows."""

import math
from collections.abc import Mapping
from typing import Any

from inference_svc.domain.schema_budget import resolve_ref

_DEEPEST = 16


def example_of(schema: Any) -> Any:
    """Give a small value that conforms to the schema: required properties only, the first of several choices.

    Patterns and the rarer keywords are not looked at.
    """
    return _example(schema, schema, 0)


def _example(schema: Any, root: Any, depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return None
    if isinstance(ref := schema.get("$ref"), str):
        return _example(resolve_ref(root, ref, field="schema", pointer="/$ref"), root, depth + 1)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    for key in ("enum", "examples"):
        if schema.get(key):
            return schema[key][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return _example(schema[key][0], root, depth + 1)
    return _typed(schema, root, depth)


def _typed(schema: Mapping[str, Any], root: Any, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    match kind[0] if isinstance(kind, list) and kind else kind:
        case "object":
            properties = schema.get("properties", {})
            return {name: _example(properties.get(name, {}), root, depth + 1) for name in schema.get("required", ())}
        case "array":
            return [_example(schema.get("items", {}), root, depth + 1) for _ in range(schema.get("minItems", 0))]
        case "string":
            least = schema.get("minLength", 0)
            return "text".ljust(least, "x")[: max(least, min(4, schema.get("maxLength", 4)))]
        case "integer" | "number":
            return _number(schema)
        case "boolean":
            return False
        case _:
            return None


def _number(schema: Mapping[str, Any]) -> int:
    least = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
    most = schema.get("maximum", schema.get("exclusiveMaximum", math.inf))
    return math.ceil(least) if least > 0 or most < 0 else 0
