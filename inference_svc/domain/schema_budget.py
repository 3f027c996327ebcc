"""What a JSON Schema or a grammar may cost, checked before anything is built from it.

llama.cpp parses grammars by recursion and expands repetitions: `maxLength: 20000` ends the process with a segmentation
fault. So what reaches it is bounded here, and a refusal names the place in the schema and the limit.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from threadmesh.errors import UnsupportedSchema

MAX_BYTES = 65_536
MAX_DEPTH = 32
MAX_SUBSCHEMAS = 2_000
MAX_PROPERTIES = 5_000
MAX_ENUM = 1_000
MAX_REPETITION = 1_000
MAX_REPETITIONS_IN_ALL = 20_000
MAX_PATTERN = 256

TOO_COMPLEX = "schema_too_complex"
REF_EXTERNAL = "schema_ref_external"
REF_CYCLE = "schema_ref_cycle"
UNSUPPORTED = "schema_unsupported"
PATTERN_UNSUPPORTED = "schema_pattern_unsupported"
UNSATISFIABLE = "schema_unsatisfiable"
INVALID = "schema_invalid"

_SCHEMA_KEYS = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
_LIST_KEYS = ("allOf", "anyOf", "oneOf", "prefixItems")
_MAP_KEYS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_TYPES = {"object", "array", "string", "number", "integer", "boolean", "null"}
_BOUNDS = (("minLength", "maxLength"), ("minItems", "maxItems"), ("minProperties", "maxProperties"))

Schema = Mapping[str, Any]


def read_schema(schema_json: str, *, field: str, lenient: bool = False) -> Any:
    """Give the schema as parsed JSON if it is within the budget.

    `lenient` lets upper bounds pass that are beyond the limit: a shorter text is valid too. Raises `UnsupportedSchema`;
    its `field` is the given one followed by a JSON pointer into the schema.
    """
    if len(schema_json.encode()) > MAX_BYTES:
        raise refuse(field, "", f"The schema is larger than {MAX_BYTES} bytes.", kind=TOO_COMPLEX)
    try:
        schema = json.loads(schema_json)
    except (ValueError, RecursionError):
        raise refuse(field, "", "The schema is not valid JSON.", kind=INVALID) from None
    _Budget(schema, field=field, lenient=lenient).check()
    return schema


def refuse(field: str, pointer: str, message: str, *, kind: str) -> UnsupportedSchema:
    """Make the error for a place in a schema; see `UnsupportedSchema` for the kinds."""
    return UnsupportedSchema(message, field=f"{field}#{pointer}" if pointer else field, kind=kind)


def resolve_ref(schema: Any, ref: str, *, field: str, pointer: str) -> Any:
    """Give what a `$ref` into the same document stands for. Raises `UnsupportedSchema`; nothing is ever fetched."""
    if ref != "#" and not ref.startswith("#/"):
        raise refuse(field, pointer, "A $ref must point into the same schema, such as #/$defs/name.", kind=REF_EXTERNAL)
    found = schema
    for written in ref.split("/")[1:]:
        step = written.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and step.isdecimal() and int(step) < len(found):
            found = found[int(step)]
        elif isinstance(found, dict) and step in found:
            found = found[step]
        else:
            raise refuse(field, pointer, "A $ref points to nothing.", kind=INVALID)
    return found


def subschemas(schema: Schema, pointer: str) -> Iterator[tuple[str, Any]]:
    """Give the schemas directly inside a schema, each with its JSON pointer."""
    for key in _SCHEMA_KEYS:
        value = schema.get(key)
        if isinstance(value, dict | bool) and not (key == "additionalProperties" and value is False):
            yield f"{pointer}/{key}", value
        elif isinstance(value, list):
            yield from ((f"{pointer}/{key}/{index}", each) for index, each in enumerate(value))
    for key in _LIST_KEYS:
        if isinstance(listed := schema.get(key), list):
            yield from ((f"{pointer}/{key}/{index}", each) for index, each in enumerate(listed))
    for key in _MAP_KEYS:
        if isinstance(mapped := schema.get(key), dict):
            yield from ((f"{pointer}/{key}/{escape(name)}", each) for name, each in mapped.items())


def escape(name: str) -> str:
    """Write a name as a step of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


class _Budget:
    def __init__(self, root: Any, *, field: str, lenient: bool) -> None:
        self._root, self._field, self._lenient = root, field, lenient
        self._schemas = self._properties = self._enum = self._repetitions = 0
        self._acyclic: set[int] = set()

    def check(self) -> None:
        waiting = [("", self._root, 1)]
        while waiting:
            pointer, schema, depth = waiting.pop()
            self._schemas += 1
            self._within(pointer, self._schemas, MAX_SUBSCHEMAS, "subschemas")
            self._within(pointer, depth, MAX_DEPTH, "levels")
            if isinstance(schema, bool):
                self._check_boolean(pointer, schema)
                continue
            if not isinstance(schema, dict):
                raise refuse(self._field, pointer, "A schema is an object or a boolean.", kind=INVALID)
            self._check_one(pointer, schema)
            waiting.extend((where, each, depth + 1) for where, each in subschemas(schema, pointer))

    def _check_boolean(self, pointer: str, schema: bool) -> None:  # noqa: FBT001  # a schema may be a boolean
        if not schema and not pointer.endswith("/items"):
            raise refuse(self._field, pointer, "Nothing satisfies the schema `false`.", kind=UNSATISFIABLE)

    def _check_one(self, pointer: str, schema: Schema) -> None:
        self._check_type(pointer, schema)
        self._check_sizes(pointer, schema)
        self._check_bounds(pointer, schema)
        self._check_range(pointer, schema)
        if "$ref" in schema:
            self._check_ref(pointer, schema)

    def _check_type(self, pointer: str, schema: Schema) -> None:
        types = schema.get("type", [])
        named = types if isinstance(types, list) else [types]
        if not all(isinstance(each, str) and each in _TYPES for each in named):
            raise refuse(self._field, f"{pointer}/type", "There is no such type.", kind=INVALID)

    def _check_sizes(self, pointer: str, schema: Schema) -> None:
        if isinstance(properties := schema.get("properties", {}), dict):
            self._properties += len(properties)
            self._within(f"{pointer}/properties", self._properties, MAX_PROPERTIES, "properties")
        if "enum" in schema:
            self._check_enum(f"{pointer}/enum", schema["enum"])
        if not isinstance(pattern := schema.get("pattern", ""), str):
            raise refuse(self._field, f"{pointer}/pattern", "A pattern is a text.", kind=INVALID)
        self._within(f"{pointer}/pattern", len(pattern), MAX_PATTERN, "characters in `pattern`")

    def _check_enum(self, pointer: str, enum: Any) -> None:
        if not isinstance(enum, list) or not enum:
            raise refuse(self._field, pointer, "An enum is a list of at least one value.", kind=INVALID)
        self._enum += len(enum)
        self._within(pointer, self._enum, MAX_ENUM, "enum values")

    def _check_bounds(self, pointer: str, schema: Schema) -> None:
        for least, most in _BOUNDS:
            for key in (least, most):
                if key in schema:
                    self._check_bound(f"{pointer}/{key}", schema[key], upper=key == most)
            if least in schema and most in schema and schema[least] > schema[most]:
                raise refuse(
                    self._field, f"{pointer}/{most}", f"Nothing satisfies {least} above {most}.", kind=UNSATISFIABLE
                )

    def _check_bound(self, pointer: str, bound: Any, *, upper: bool) -> None:
        if isinstance(bound, bool) or not isinstance(bound, int) or bound < 0:
            raise refuse(self._field, pointer, "A bound is a whole number from 0.", kind=INVALID)
        if not (upper and self._lenient):
            self._within(pointer, bound, MAX_REPETITION, f"repetitions in `{pointer.rpartition('/')[2]}`")
        self._repetitions += min(bound, MAX_REPETITION)
        self._within(pointer, self._repetitions, MAX_REPETITIONS_IN_ALL, "repetitions in all")

    def _check_range(self, pointer: str, schema: Schema) -> None:
        for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            if key in schema and not _finite(schema[key]):
                raise refuse(
                    self._field, f"{pointer}/{key}", "A bound is a finite number of at most 300 digits.", kind=INVALID
                )
        if schema.get("minimum", -math.inf) > schema.get("maximum", math.inf):
            raise refuse(
                self._field, f"{pointer}/maximum", "Nothing satisfies a minimum above the maximum.", kind=UNSATISFIABLE
            )

    def _check_ref(self, pointer: str, schema: Schema) -> None:
        """Refuse references that lead back to themselves without an object or an array between."""
        path = {id(schema): self._in_place(schema, pointer)}
        while path:
            here = next(reversed(path))
            inner = next(path[here], None)
            if inner is None:
                path.popitem()
                self._acyclic.add(here)
            elif id(inner) in path:
                raise refuse(self._field, f"{pointer}/$ref", "A $ref leads back to itself.", kind=REF_CYCLE)
            elif id(inner) not in self._acyclic:
                path[id(inner)] = self._in_place(inner, pointer)

    def _in_place(self, schema: Schema, pointer: str) -> Iterator[Schema]:
        """Give the schemas that hold for the same value as a schema."""
        if "$ref" in schema:
            if not isinstance(ref := schema["$ref"], str):
                raise refuse(self._field, f"{pointer}/$ref", "A $ref is a text.", kind=INVALID)
            target = resolve_ref(self._root, ref, field=self._field, pointer=f"{pointer}/$ref")
            yield from (target,) if isinstance(target, dict) else ()
        for key in ("allOf", "anyOf", "oneOf"):
            listed = schema.get(key)
            yield from (each for each in listed if isinstance(each, dict)) if isinstance(listed, list) else ()

    def _within(self, pointer: str, count: int, limit: int, what: str) -> None:
        if count > limit:
            raise refuse(self._field, pointer, f"The schema has more than {limit} {what}.", kind=TOO_COMPLEX)


def _finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 10**300 if isinstance(value, int) else math.isfinite(value)
