"""How complex a JSON Schema may be; checked on the schema itself, before anything is made of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from threadmesh.errors import UnsupportedSchema


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaBudget:
    """Limits of a schema: bytes of JSON text, depth, objects and arrays in it, and characters of a pattern."""

    bytes: int = 64 * 1024
    depth: int = 32
    parts: int = 5_000
    pattern: int = 256


def check_budget(schema: Any, *, size: int, budget: SchemaBudget) -> None:
    """Raise `UnsupportedSchema`, naming the limit, for a schema that is too complex or refers to other documents."""
    if size > budget.bytes:
        raise UnsupportedSchema("The schema is too long.", limit=budget.bytes)
    for parts, (node, depth) in enumerate(walk(schema)):
        if depth > budget.depth:
            raise UnsupportedSchema("The schema is nested too deeply.", limit=budget.depth)
        if parts >= budget.parts:
            raise UnsupportedSchema("The schema has too many parts.", limit=budget.parts)
        if isinstance(node, dict):
            _check_node(node, budget, is_root=node is schema)


def walk(schema: Any) -> Iterator[tuple[Any, int]]:
    """Give every object and array of the schema with its depth, from 1."""
    waiting = [(schema, 1)]
    while waiting:
        node, depth = waiting.pop()
        yield node, depth
        children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        waiting += [(child, depth + 1) for child in children if isinstance(child, dict | list)]


def _check_node(node: dict[str, Any], budget: SchemaBudget, *, is_root: bool) -> None:
    for keyword in ("$ref", "$dynamicRef", "$recursiveRef"):
        reference = node.get(keyword)
        if isinstance(reference, str) and not reference.startswith("#"):
            raise UnsupportedSchema("The schema refers to another document.", reference=reference[:200])
    if isinstance(node.get("$id"), str) and not is_root:
        raise UnsupportedSchema("The schema holds a document of its own inside.", id=str(node["$id"])[:200])
    pattern = node.get("pattern")
    if isinstance(pattern, str) and len(pattern) > budget.pattern:
        raise UnsupportedSchema("The schema has too long a pattern.", limit=budget.pattern)
