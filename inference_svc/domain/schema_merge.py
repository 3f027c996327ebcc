"""Two JSON Schemas that hold together, as one; for `allOf` and for keywords beside a `$ref`."""

from collections.abc import Callable, Mapping
from typing import Any

ANNOTATIONS = frozenset(
    {
        "title",
        "description",
        "default",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
        "$comment",
        "$id",
        "$schema",
        "$defs",
        "definitions",
    }
)


def merge(left: Mapping[str, Any], right: Mapping[str, Any], *, lenient: bool) -> dict[str, Any]:
    """Give one schema that admits what both admit; where they clash, `lenient` takes the right one's word.

    Raises `ValueError` with a sentence for a person where that cannot be said in one schema.
    """
    merged = dict(left)
    for key, value in right.items():
        merged[key] = _both(key, merged[key], value, lenient=lenient) if key in merged else value
    return merged


def _both(key: str, left: Any, right: Any, *, lenient: bool) -> Any:
    if left == right or key in ANNOTATIONS:
        return left
    if key in _TOGETHER:
        return _TOGETHER[key](left, right)
    if key == "additionalProperties" and False in (left, right):
        return False
    if lenient:
        return right
    raise ValueError(f"`{key}` is said twice and differently; say it once.")


def _properties(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    shared = {name: {"allOf": [left[name], right[name]]} for name in left.keys() & right.keys()}
    return {**left, **right, **shared}


_TOGETHER: Mapping[str, Callable[[Any, Any], Any]] = {
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems"), max),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems"), min),
    "required": lambda left, right: list(dict.fromkeys([*left, *right])),
    "properties": _properties,
    "allOf": lambda left, right: [*left, *right],
}
