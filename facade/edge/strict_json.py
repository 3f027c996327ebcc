"""A decoder for request bodies that accepts JSON and nothing that merely resembles it.

What Python's and most other decoders let pass, and what then fails somewhere deeper, is refused here with a place:
NaN and infinities, duplicate keys, lone surrogates and NUL in strings, numbers no double can hold, and bombs.
"""

import json
import math
import re
from typing import Any

from threadmesh.errors import InvalidArgument

BODY_BYTES = 4 * 1024 * 1024
_DEPTH = 64
_NODES = 50_000
_DIGITS = 4_300
_STRUCTURE = re.compile(r""""[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[{]|[\]}]""", re.DOTALL)
"""Strings as a whole, and brackets. The quantifiers give nothing back, so the search takes linear time."""


class JsonError(InvalidArgument):
    """The body is not valid JSON."""

    reason = "INVALID_JSON"


class BodyTooLarge(InvalidArgument):
    """The body is larger than 4 MiB."""

    reason = "REQUEST_TOO_LARGE"


class WrongMediaType(InvalidArgument):
    """Send the body as `Content-Type: application/json`, without a content encoding."""

    reason = "UNSUPPORTED_MEDIA_TYPE"


def decode(body: bytes) -> dict[str, Any]:
    """Decode a body that must be one JSON object. Raises `JsonError` with the reason and the place."""
    text = _text(body)
    _check_depth(text)
    nodes = _Nodes()
    try:
        value = json.loads(
            text,
            object_pairs_hook=nodes.object,
            parse_int=_short,
        )
    except json.JSONDecodeError as error:
        raise JsonError(
            f"The body is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from error
    if not isinstance(value, dict):
        raise JsonError("The body must be a JSON object.")
    _check(value, "", nodes)
    return value


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise JsonError(f"The body is not UTF-8: byte {error.start} is wrong.", kind="invalid_unicode") from error


def _check_depth(text: str) -> None:
    """Refuse deep nesting before the recursive decoder sees it; brackets inside strings do not count."""
    depth = opened = 0
    for match in _STRUCTURE.finditer(text):
        match match[0][0]:
            case "[" | "{":
                depth += 1
                opened += 1
                if depth > _DEPTH or opened > _NODES:
                    raise JsonError(
                        f"The body has more than {_DEPTH} levels or {_NODES} values.", kind="json_too_complex"
                    )
            case "]" | "}":
                depth -= 1
            case _:
                pass


class _Nodes:
    def __init__(self) -> None:
        self._count = 0

    def object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Make an object of its members, refusing a key that stands twice."""
        made: dict[str, Any] = {}
        for key, value in pairs:
            if key in made:
                raise JsonError(f"The key {key[:64]!r} stands twice in one object.", kind="duplicate_key")
            made[key] = value
        return made

    def count(self) -> None:
        """Count a value, refusing more than a sensible request holds."""
        self._count += 1
        if self._count > _NODES:
            raise JsonError(f"The body has more than {_DEPTH} levels or {_NODES} values.", kind="json_too_complex")


def _check(value: Any, path: str, nodes: _Nodes) -> None:
    nodes.count()
    match value:
        case str():
            _check_text(value, path)
        case float() if not math.isfinite(value):
            raise JsonError(f"{path} is not a finite number.", field=path, kind="invalid_number")
        case dict():
            for key, member in value.items():
                _check_text(key, path)
                _check(member, f"{path}.{key}" if path else key, nodes)
        case list():
            for index, member in enumerate(value):
                _check(member, f"{path}[{index}]", nodes)


def _check_text(text: str, path: str) -> None:
    if text.isascii() and "\0" not in text:
        return
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise JsonError(f"{path or 'A key'} holds a NUL or half a surrogate pair.", field=path, kind="invalid_unicode")


def _short(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise JsonError(f"A number has more than {_DIGITS} digits.", kind="json_too_complex")
    return int(digits)
