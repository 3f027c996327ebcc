"""How often a JSON Schema looks at one place of a value.

Combinations (`allOf` and its like) and references multiply: twenty short definitions, each referring twice to the next,
look a million times. The count is found on the schema alone, so that a bomb is known before a value meets it.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from threadmesh.errors import UnsupportedSchema
from tools_svc.domain.schema_budget import walk

_MOST_IN_PLACE = 5_000
_CEILING = 10**12
_LISTS_IN_PLACE = ("allOf", "anyOf", "oneOf")
_ONE_IN_PLACE = ("not", "if", "then", "else")
_MAPS_IN_PLACE = ("dependentSchemas", "dependencies")
_ANY_NAME = ("additionalProperties", "unevaluatedProperties", "propertyNames")
_ELEMENTS = ("items", "prefixItems", "additionalItems", "contains", "unevaluatedItems")


@dataclass(slots=True)
class _Node:
    """One schema with all that it applies in place: how many schemas those are, and where they lead one step down."""

    size: int = 1
    names: dict[str, Counter[int]] = field(default_factory=dict)
    any_name: Counter[int] = field(default_factory=Counter)
    elements: Counter[int] = field(default_factory=Counter)

    def add(self, other: "_Node") -> None:
        self.size += other.size
        for name, steps in other.names.items():
            self.names.setdefault(name, Counter()).update(steps)
        self.any_name.update(other.any_name)
        self.elements.update(other.elements)


class SchemaCost:
    """The cost of one schema; raises `UnsupportedSchema` for one that multiplies too much at a single place."""

    def __init__(self, schema: Any) -> None:
        self._root = schema
        self._schemas = {id(node): node for node, _ in walk(schema) if isinstance(node, dict)}
        self._anchors = {
            f"#{node[keyword]}": node
            for node in self._schemas.values()
            for keyword in ("$anchor", "$dynamicAnchor")
            if isinstance(node.get(keyword), str)
        }
        self._nodes: dict[int, _Node] = {}
        self._costs: dict[tuple[int, int], int] = {}
        for node in self._schemas.values():
            self._node(node, ())

    def looks(self, depth: int) -> int:
        """Give how often, at most, the schema looks at one place of a value that is `depth` deep."""
        return self._cost(id(self._root), depth) if isinstance(self._root, dict) else 1

    def _cost(self, key: int, depth: int) -> int:
        if (known := self._costs.get((key, depth))) is not None:
            return known
        node = self._nodes[key]
        cost = node.size
        if depth > 0:
            named = max((self._sum(steps, depth) for steps in node.names.values()), default=0)
            cost += max(named + self._sum(node.any_name, depth), self._sum(node.elements, depth))
        self._costs[key, depth] = min(cost, _CEILING)
        return self._costs[key, depth]

    def _sum(self, steps: Counter[int], depth: int) -> int:
        return sum(times * self._cost(key, depth - 1) for key, times in steps.items())

    def _node(self, schema: dict[str, Any], path: tuple[int, ...]) -> _Node:
        key = id(schema)
        if key in path:
            raise UnsupportedSchema("The schema refers to itself without getting further.")
        if key not in self._nodes:
            node = _own_steps(schema)
            for applied in self._in_place(schema):
                if isinstance(applied, dict):
                    node.add(self._node(applied, (*path, key)))
                if node.size > _MOST_IN_PLACE:
                    raise UnsupportedSchema("The schema's combinations multiply too much.", limit=_MOST_IN_PLACE)
            self._nodes[key] = node
        return self._nodes[key]

    def _in_place(self, schema: dict[str, Any]) -> Iterator[Any]:
        for keyword in ("$ref", "$dynamicRef", "$recursiveRef"):
            if isinstance(reference := schema.get(keyword), str):
                yield self._target(reference)
        for keyword in _LISTS_IN_PLACE:
            if isinstance(listed := schema.get(keyword), list):
                yield from listed
        for keyword in _MAPS_IN_PLACE:
            if isinstance(mapped := schema.get(keyword), dict):
                yield from mapped.values()
        yield from (schema[keyword] for keyword in _ONE_IN_PLACE if keyword in schema)

    def _target(self, reference: str) -> Any:
        """Follow a reference; what it does not find is the compiler's to complain about."""
        if reference in self._anchors:
            return self._anchors[reference]
        node = self._root
        for part in reference.removeprefix("#").split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(node, list) and key.isdigit() and int(key) < len(node):
                node = node[int(key)]
            else:
                node = node.get(key) if isinstance(node, dict) else None
        return node


def _own_steps(schema: dict[str, Any]) -> _Node:
    node = _Node()
    if isinstance(properties := schema.get("properties"), dict):
        node.names = {name: _ids([child]) for name, child in properties.items()}
    patterns = schema.get("patternProperties")
    node.any_name = _ids([*(patterns.values() if isinstance(patterns, dict) else ()), *_values(schema, _ANY_NAME)])
    node.elements = _ids(_values(schema, _ELEMENTS))
    return node


def _values(schema: dict[str, Any], keywords: tuple[str, ...]) -> Iterator[Any]:
    for keyword in keywords:
        value = schema.get(keyword)
        yield from value if isinstance(value, list) else [value]


def _ids(schemas: Iterator[Any] | list[Any]) -> Counter[int]:
    return Counter(id(schema) for schema in schemas if isinstance(schema, dict))


def measure(value: Any) -> tuple[int, int]:
    """Give how many values a JSON value holds, itself included, and how deep they go, from 0."""
    count, depth, layer = 1, 0, [value]
    while layer := [child for each in layer for child in _children(each)]:
        count, depth = count + len(layer), depth + 1
    return count, depth


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
