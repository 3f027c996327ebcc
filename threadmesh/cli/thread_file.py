"""The file that `threads export` writes and `threads import` reads; docs/thread-files.md describes it.

JSON lines: a header, then each thread followed by its items, then the end.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from threadmesh.api.context.v1 import threads_service_pb2 as pb
from threadmesh.errors import InvalidArgument

FORMAT = "threadmesh.threads"
VERSION = 3

Wire = TypeVar("Wire", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many threads and items a file holds."""

    threads: int = 0
    items: int = 0


Content = pb.Thread | pb.Item | Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a line holds, and its number from 1."""

    line: int
    content: Content


class BadLine(InvalidArgument):
    """A line of the file cannot be read."""

    reason = "BAD_LINE"

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}", line=line)


def header() -> str:
    """Write the first line."""
    return _line({"format": FORMAT, "version": VERSION})


def line_of(content: Content) -> str:
    """Write a thread, an item or the end as a line."""
    match content:
        case Count(threads=threads, items=items):
            return _line({"end": {"threads": threads, "items": items}})
        case pb.Thread():
            return _line({"thread": json_format.MessageToDict(content, preserving_proto_field_name=True)})
        case _:
            return _line({"item": json_format.MessageToDict(content, preserving_proto_field_name=True)})


def read_entries(lines: Iterable[bytes]) -> Iterator[Entry]:
    """Yield what the lines hold, the header left out; empty lines are passed over.

    Raises `BadLine` for the first line that is wrong or missing, and for a file of a later version.
    """
    number, begun, ended = 0, False, False
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if ended:
            raise BadLine(number, "the file goes on after its end")
        document = _parsed(line, number)
        if not begun:
            _check_header(document, number)
            begun = True
            continue
        content = _content(document, number)
        ended = isinstance(content, Count)
        yield Entry(line=number, content=content)
    if not ended:
        raise BadLine(number + 1, "the file breaks off here" if begun else "the file is empty")


def _line(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n"


def _parsed(line: bytes, number: int) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadLine(number, "it is no JSON") from error
    if not isinstance(document, dict):
        raise BadLine(number, "it is no JSON object")
    return document


def _check_header(document: dict[str, Any], number: int) -> None:
    if document.get("format") != FORMAT:
        raise BadLine(number, f'a file of threads begins with {{"format":"{FORMAT}",...}}')
    version = document.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise BadLine(number, "the version is no number")
    if version > VERSION:
        raise BadLine(
            number, f"the file has version {version}, this threadmesh reads up to {VERSION}; use a later threadmesh"
        )


def _content(document: dict[str, Any], number: int) -> Content:
    match document:
        case {"thread": dict(fields), **rest} if not rest:
            return _message(fields, pb.Thread(), number)
        case {"item": dict(fields), **rest} if not rest:
            return _message(fields, pb.Item(), number)
        case {"end": {"threads": int(threads), "items": int(items)}, **rest} if not rest:
            return Count(threads=threads, items=items)
        case _:
            raise BadLine(number, "it is neither a thread nor an item nor the end")


def _message(fields: dict[str, Any], into: Wire, number: int) -> Wire:
    try:
        return json_format.ParseDict(fields, into)
    except (json_format.ParseError, ValueError, RecursionError) as error:
        raise BadLine(number, " ".join(str(error).split())[:200]) from error
