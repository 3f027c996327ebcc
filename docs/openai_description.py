"""What requests can say in two OpenAPI documents: OpenAI's published description, and the one that the facade serves.

Each property of a request has a path such as `messages.content[image_url].image_url.detail`: objects that are told
apart by their `type` have it in brackets, and are such a property themselves. Those of a query begin with a `?`.
"""

import gzip
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Document = Mapping[str, Any]
GROUPS = ("chat/completions", "responses", "conversations", "models", "embeddings")
"""What the paths begin with that are compared."""
_METHODS = ("get", "post", "delete")
_UNIONS = ("anyOf", "oneOf", "allOf")


@dataclass(slots=True)
class Property:
    """A property of a request, and the `values` that it can have.

    It is `open` if other values are possible, and `anything` if nothing is said of it. The refusal is a reason.
    """

    values: set[str] = field(default_factory=set)
    open: bool = False
    anything: bool = False
    refusal: str = ""


Request = dict[str, Property]


def read(path: Path) -> Document:
    """Read a document from a .json or .json.gz file."""
    data = path.read_bytes()
    document: Document = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    return document


def requests(document: Document, *, prefix: str = "") -> dict[str, Request]:
    """Give the requests of the groups, by method and path; the names that stand in paths are left out."""
    found = {}
    for path, item in document["paths"].items():
        name = re.sub(r"\{[^}]*\}", "{}", path.removeprefix(prefix).removeprefix("/"))
        if path.startswith(prefix) and name.startswith(GROUPS) and "?" not in name:
            for method in (each for each in _METHODS if each in item):
                found[f"{method.upper()} {name}"] = _Reading(document).request(item[method])
    return found


class _Reading:
    """Notes the properties of one request."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._found: Request = {}

    def request(self, operation: Document) -> Request:
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "query":
                self._note(parameter.get("schema", {}), f"?{parameter['name'].removesuffix('[]')}")
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        self._look(body.get("schema", {}), "", ())
        return self._found

    def _look(self, schema: Document, path: str, within: tuple[int, ...]) -> None:
        """Note all that a schema allows; what contains itself is looked into once."""
        for each in self._branches(schema):
            if id(each) in within:
                continue
            inner = (*within, id(each))
            if "items" in each:
                self._look(each["items"], path, inner)
            for place in self._places(each, path):
                for name, part in each.get("properties", {}).items():
                    where = f"{place}.{name}".removeprefix(".")
                    self._note(part, where)
                    self._look(part, where, inner)

    def _note(self, schema: Document, path: str) -> None:
        noted = self._found.setdefault(path, Property())
        told = schema.get("description", "")
        noted.refusal = told.removeprefix("Refused: it ").rstrip(".") if told.startswith("Refused: it ") else ""
        noted.anything |= not schema.keys() - {"title", "default", "description"}
        for each in self._branches(schema):
            values = {str(value) for value in _values(each) if value is not None}
            noted.values |= values
            noted.open |= not values and each.get("type") not in ("null", "array", "object")

    def _places(self, schema: Document, path: str) -> list[str]:
        """Give where the properties of an object stand: once for each type that it can be of."""
        told = schema.get("properties", {}).get("type", {})
        kinds = sorted({str(value) for each in self._branches(told) for value in _values(each)})
        places = [f"{path}[{kind}]" for kind in kinds]
        for place in places:
            self._found.setdefault(place, Property(open=True))
        return places or [path]

    def _branches(self, schema: Document, seen: tuple[str, ...] = ()) -> Iterator[Document]:
        """Give the schemas that a schema can stand for, without references."""
        if (reference := schema.get("$ref")) is not None:
            if reference not in seen:
                yield from self._branches(self._resolved(reference), (*seen, reference))
            return
        parts = [part for union in _UNIONS for part in schema.get(union, ())]
        for part in parts:
            yield from self._branches(part, seen)
        if not parts or "properties" in schema or "enum" in schema:
            yield schema

    def _resolved(self, reference: str) -> Document:
        document = self._document
        for name in reference.removeprefix("#/").split("/"):
            document = document[name]
        return document


def _values(schema: Document) -> list[Any]:
    return schema.get("enum") or ([schema["const"]] if "const" in schema else [])
