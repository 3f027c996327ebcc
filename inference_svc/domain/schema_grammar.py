"""A JSON Schema as a GBNF grammar whose every sentence is JSON that conforms to the schema.

The converter that llama-cpp-python carries lets control characters into strings, ignores `minimum` and loses the
backslashes of constants, so what it admits need not even parse. Whitespace is one space behind colons and commas, as
models have read it most often: where there is a choice small models get lost, and where there is none the text between
two values is known and need not be drawn (`forced_text`). Where a schema allows more than rules can say (properties
that it does not name, say), the grammar admits less: what it admits is valid still.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from inference_svc.domain import number_grammar, schema_merge
from inference_svc.domain.format_grammar import FORMATS
from inference_svc.domain.grammar_rules import CHARACTER, GrammarRules
from inference_svc.domain.pattern_grammar import UnsupportedPattern, pattern, quote
from inference_svc.domain.schema_budget import (
    INVALID,
    MAX_REPETITION,
    PATTERN_UNSUPPORTED,
    TOO_COMPLEX,
    UNSATISFIABLE,
    UNSUPPORTED,
    escape,
    read_schema,
    refuse,
    resolve_ref,
)

MAX_VISITS = 20_000
MAX_LEVELS = 96

_BEYOND = (
    "not",
    "if",
    "then",
    "else",
    "patternProperties",
    "contains",
    "propertyNames",
    "uniqueItems",
    "multipleOf",
    "dependentRequired",
    "dependentSchemas",
    "minProperties",
    "maxProperties",
    "unevaluatedProperties",
    "unevaluatedItems",
)
_BY_TYPE = {
    "object": ("properties", "required", "additionalProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "string": ("pattern", "minLength", "maxLength", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
}


class SchemaGrammar(GrammarRules):
    """The rules of a grammar that schemas are part of."""

    def schema(self, schema_json: str, *, field: str, lenient: bool = False) -> str:
        """Give the name of a rule for a schema.

        Raises `UnsupportedSchema` for what is beyond the budget or the rules; `lenient` ignores what rules cannot say.
        """
        return _Converter(
            self, read_schema(schema_json, field=field, lenient=lenient), field=field, lenient=lenient
        ).root()


class _Converter:
    """Turns one schema into rules; `pointer` names the place in it."""

    def __init__(self, grammar: GrammarRules, schema: Any, *, field: str, lenient: bool) -> None:
        self._grammar, self._root, self._field, self._lenient = grammar, schema, field, lenient
        self._refs: dict[str, str] = {}
        self._visits = self._depth = 0

    def root(self) -> str:
        return self._visit(self._root, "")

    def _visit(self, schema: Any, pointer: str) -> str:
        """Give the name of a rule for a part; what is said beside a `$ref` is built anew each time, and counted."""
        self._visits += 1
        self._depth += 1
        if self._visits > MAX_VISITS or self._depth > MAX_LEVELS:
            what = f"Its references unfold to more than {MAX_VISITS} parts or {MAX_LEVELS} levels."
            raise refuse(self._field, pointer, what, kind=TOO_COMPLEX)
        name = self._rule_of(schema, pointer)
        self._depth -= 1
        return name

    def _rule_of(self, schema: Any, pointer: str) -> str:
        if not isinstance(schema, dict):
            return self._grammar.anything()
        if not self._lenient:
            self._refuse_beyond(schema, pointer)
        if isinstance(ref := schema.get("$ref"), str) and schema.keys() <= schema_merge.ANNOTATIONS | {"$ref"}:
            return self._visit_ref(ref, pointer)
        for key in ("allOf", "$ref"):
            if key in schema:
                return self._visit(self._merged(schema, key, pointer), pointer)
        for key in ("anyOf", "oneOf"):
            if isinstance(schema.get(key), list):
                return self._visit_union(schema, key, pointer)
        if "const" in schema or "enum" in schema:
            return self._visit_values(schema, pointer)
        return self._visit_types(schema, pointer)

    def _refuse_beyond(self, schema: Mapping[str, Any], pointer: str) -> None:
        for key in _BEYOND:
            if key in schema:
                raise refuse(
                    self._field,
                    f"{pointer}/{escape(key)}",
                    f"`{key}` cannot be guaranteed; leave it out.",
                    kind=UNSUPPORTED,
                )

    def _visit_ref(self, ref: str, pointer: str) -> str:
        if ref not in self._refs:
            self._refs[ref] = name = self._grammar.reserve("ref")
            found = resolve_ref(self._root, ref, field=self._field, pointer=pointer)
            self._grammar.define(name, self._visit(found, ref.removeprefix("#")))
        return self._refs[ref]

    def _merged(self, schema: Mapping[str, Any], key: str, pointer: str) -> Mapping[str, Any]:
        rest = {name: value for name, value in schema.items() if name != key}
        parts = schema[key] if key == "allOf" else [{"$ref": schema["$ref"]}]
        for index, part in enumerate(parts if isinstance(parts, list) else []):
            where = f"{pointer}/{key}/{index}" if key == "allOf" else pointer
            try:
                rest = schema_merge.merge(rest, self._opened(part, where), lenient=self._lenient)
            except ValueError as error:
                raise refuse(self._field, where, str(error), kind=UNSUPPORTED) from None
        return rest

    def _opened(self, part: Any, pointer: str) -> Mapping[str, Any]:
        """Give a schema with its reference replaced by what that stands for."""
        if not isinstance(part, dict):
            return {}
        if not isinstance(ref := part.get("$ref"), str):
            return part
        target = resolve_ref(self._root, ref, field=self._field, pointer=pointer)
        own = {key: value for key, value in part.items() if key != "$ref"}
        return {**target, **own} if isinstance(target, dict) else own

    def _visit_union(self, schema: Mapping[str, Any], key: str, pointer: str) -> str:
        rest = {name: value for name, value in schema.items() if name != key}
        shared = {name: value for name, value in rest.items() if name not in schema_merge.ANNOTATIONS}
        names = []
        for index, part in enumerate(schema[key]):
            where = f"{pointer}/{key}/{index}"
            whole = {**shared, "allOf": [part]} if shared else part
            names.append(self._visit(whole, where))
        if not names:
            raise refuse(
                self._field, f"{pointer}/{key}", "Nothing satisfies an empty list of alternatives.", kind=INVALID
            )
        return self._grammar.rule(" | ".join(dict.fromkeys(names)), hint="union")

    def _visit_values(self, schema: Mapping[str, Any], pointer: str) -> str:
        values = [schema["const"]] if "const" in schema else schema["enum"]
        types = _listed(schema.get("type"))
        fitting = [value for value in values if not types or any(_is_of(value, each) for each in types)]
        if not fitting:
            raise refuse(self._field, pointer, "None of the allowed values has the type.", kind=UNSATISFIABLE)
        return self._grammar.rule(" | ".join(quote(_written(value)) for value in fitting), hint="values")

    def _visit_types(self, schema: Mapping[str, Any], pointer: str) -> str:
        types = _listed(schema.get("type")) or [
            name for name, keys in _BY_TYPE.items() if any(k in schema for k in keys)
        ]
        if not types:
            return self._grammar.anything()
        names = [self._visit_type(each, schema, pointer) for each in types]
        return names[0] if len(names) == 1 else self._grammar.rule(" | ".join(names), hint="types")

    def _visit_type(self, kind: str, schema: Mapping[str, Any], pointer: str) -> str:
        match kind:
            case "object":
                return self._visit_object(schema, pointer)
            case "array":
                return self._visit_array(schema, pointer)
            case "string":
                return self._visit_string(schema, pointer)
            case "integer" | "number":
                return self._visit_number(kind, schema, pointer)
            case "boolean":
                return self._grammar.rule('"true" | "false"', hint="boolean")
            case _:
                return self._grammar.rule('"null"', hint="null")

    def _visit_object(self, schema: Mapping[str, Any], pointer: str) -> str:
        properties = dict(schema.get("properties") or {})
        additional = schema.get("additionalProperties", True)
        required = [name for name in schema.get("required") or [] if isinstance(name, str)]
        for name in required:
            if name not in properties and additional is False:
                raise refuse(
                    self._field,
                    f"{pointer}/required",
                    "A required property is not allowed by the schema.",
                    kind=UNSATISFIABLE,
                )
            properties.setdefault(name, additional)
        if not properties:
            return self._visit_mapping(additional, pointer)
        members = [
            (self._member(name, each, f"{pointer}/properties/{escape(name)}"), name in required)
            for name, each in properties.items()
        ]
        return self._grammar.rule(f'"{{" {self._members(members)} "}}"', hint="object")

    def _visit_mapping(self, additional: Any, pointer: str) -> str:
        if additional is False:
            return self._grammar.rule('"{}"', hint="empty")
        if isinstance(additional, dict) and additional:
            return self._grammar.mapping(self._visit(additional, f"{pointer}/additionalProperties"))
        return self._grammar.object()

    def _member(self, name: str, schema: Any, pointer: str) -> str:
        return self._grammar.rule(f"{quote(_written(name) + ': ')} {self._visit(schema, pointer)}", hint="member")

    def _members(self, members: Sequence[tuple[str, bool]]) -> str:
        """Chain members in order: `first` where none came before, `rest` where a comma is due."""
        first = rest = '""'
        for member, required in reversed(members):
            after = self._grammar.rule(rest, hint="rest")
            alone = f"{member} {after}"
            before = first if required else self._grammar.rule(first, hint="first")
            first = alone if required else f"{alone} | {before}"
            rest = f'", " {alone}' if required else f'(", " {member})? {after}'
        return self._grammar.rule(first, hint="first")

    def _visit_array(self, schema: Mapping[str, Any], pointer: str) -> str:
        fixed = schema.get("prefixItems", schema["items"] if isinstance(schema.get("items"), list) else None)
        if fixed:
            return self._visit_tuple(fixed, schema, pointer)
        items, least = schema.get("items", True), int(schema.get("minItems", 0))
        most = schema.get("maxItems", self._grammar.freedom.items)
        most = None if most is None else max(least, min(int(most), MAX_REPETITION))
        if items is False or most == 0:
            return self._grammar.rule('"[]"', hint="empty")
        listed = self._grammar.listed(self._visit(items, f"{pointer}/items"), least, most)
        return self._grammar.rule(f'"[" {listed} "]"' if least else f'"[" ({listed})? "]"', hint="array")

    def _visit_tuple(self, fixed: Sequence[Any], schema: Mapping[str, Any], pointer: str) -> str:
        least, most = int(schema.get("minItems", 0)), int(schema.get("maxItems", len(fixed)))
        if least > len(fixed) or most < len(fixed):
            raise refuse(
                self._field,
                f"{pointer}/prefixItems",
                "The number of items must be that of `prefixItems`.",
                kind=UNSUPPORTED,
            )
        names = [self._visit(each, f"{pointer}/prefixItems/{index}") for index, each in enumerate(fixed)]
        return self._grammar.rule('"[" ' + ' ", " '.join(names) + ' "]"', hint="tuple")

    def _visit_string(self, schema: Mapping[str, Any], pointer: str) -> str:
        if "pattern" in schema:
            return self._visit_pattern(schema["pattern"], pointer)
        if (form := schema.get("format")) in FORMATS:
            return self._grammar.rule(f'"\\"" {FORMATS[form]} "\\""', hint="format")
        most = schema.get("maxLength")
        return self._grammar.string(int(schema.get("minLength", 0)), None if most is None else int(most))

    def _visit_pattern(self, source: str, pointer: str) -> str:
        char = self._grammar.rule(CHARACTER, hint="char")
        try:
            return self._grammar.rule(f'"\\"" {pattern(source, anything=f"{char}*")} "\\""', hint="pattern")
        except UnsupportedPattern as error:
            if self._lenient:
                return self._grammar.string()
            raise refuse(
                self._field,
                f"{pointer}/pattern",
                f"The pattern cannot be guaranteed: {error}.",
                kind=PATTERN_UNSUPPORTED,
            ) from None

    def _visit_number(self, kind: str, schema: Mapping[str, Any], pointer: str) -> str:
        low, open_low = number_grammar.bound(schema, "minimum", "exclusiveMinimum", tightest=max)
        high, open_high = number_grammar.bound(schema, "maximum", "exclusiveMaximum", tightest=min)
        if kind == "integer":
            least = None if low is None else low.__floor__() + 1 if open_low else low.__ceil__()
            most = None if high is None else high.__ceil__() - 1 if open_high else high.__floor__()
            body = number_grammar.integer(least, most)
        else:
            body = number_grammar.number(low, high, open_low=open_low, open_high=open_high)
        if body is None:
            raise refuse(self._field, pointer, "No number is between the bounds.", kind=UNSATISFIABLE)
        return self._grammar.rule(body, hint=kind)


def _listed(types: Any) -> list[str]:
    return [types] if isinstance(types, str) else list(types or [])


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))


def _is_of(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    kinds: dict[str, Any] = {"object": dict, "array": list, "string": str, "number": int | float, "boolean": bool}
    if kind == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return value is None if kind == "null" else isinstance(value, kinds[kind])
