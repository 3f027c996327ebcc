"""JSON Schema by jsonschema-rs, whose regular expressions and evaluation take bounded time."""

import json
from functools import lru_cache
from typing import Any, NoReturn

import jsonschema_rs

from threadmesh.errors import UnsupportedSchema
from tools_svc.domain.schema_budget import SchemaBudget, check_budget
from tools_svc.domain.schema_cost import SchemaCost, measure

_BACKTRACKS = 10_000
_LONGEST_COMPLAINT = 300
_MOST_LOOKS = 20_000_000
"""What one check may cost: about a quarter of a second."""


class JsonSchemaCompiler:
    """Compiles schemas of any draft, 2020-12 unless they say otherwise; equal schemas are compiled once."""

    def __init__(self, budget: SchemaBudget | None = None) -> None:
        self._budget = budget or SchemaBudget()
        self._compiled = lru_cache(maxsize=1024)(self._compile)

    def compile(self, schema_json: str) -> "JsonSchema":
        """Compile a schema; raises `UnsupportedSchema`."""
        return self._compiled(schema_json)

    def _compile(self, schema_json: str) -> "JsonSchema":
        try:
            schema = json.loads(schema_json)
        except (ValueError, RecursionError) as error:
            raise UnsupportedSchema("The schema is not valid JSON.") from error
        check_budget(schema, size=len(schema_json.encode()), budget=self._budget)
        try:
            cost = SchemaCost(schema)
            validator = jsonschema_rs.validator_for(
                schema,
                retriever=_never,
                pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACKS),
            )
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError, RecursionError) as error:
            raise UnsupportedSchema(f"The schema is not valid: {_first_line(error)}") from error
        return JsonSchema(validator, cost)


class JsonSchema:
    """A compiled schema."""

    def __init__(self, validator: Any, cost: SchemaCost) -> None:
        self._validator = validator
        self._cost = cost

    def complaint(self, value: object) -> str:
        """Say where and why a value does not fit; empty when it fits."""
        count, depth = measure(value)
        if count * self._cost.looks(depth) > _MOST_LOOKS:
            return "the whole: it is too large and too deep for this schema"
        try:
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            place = "".join(f"/{part}" for part in error.instance_path)
            return _cut(f"{place or 'the whole'}: {error.message}")
        except (ValueError, RecursionError) as error:
            return _cut(f"it cannot be checked: {error}")
        return ""


def _never(uri: str) -> NoReturn:
    raise ValueError(f"references to other documents are not followed: {uri[:100]}")


def _first_line(error: Exception) -> str:
    return _cut(next(iter(str(error).splitlines()), type(error).__name__))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_COMPLAINT else text[:_LONGEST_COMPLAINT] + "…"
