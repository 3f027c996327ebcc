"""What models are told of a tool: the words of its server, without what hides in them and not at any length.

A description is read by the model as if the operator had written it. The definition itself stays as it was sent: its
hash, what is compared and approved, and what arguments are checked against.
"""

import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from tools_svc.domain.tool import OfferedTool

DESCRIPTION = 2048
"""Characters of one text that a model reads, where nothing else is said."""
LONGEST_DESCRIPTION = 16_384
"""The most that may be said, and what an operator's own words may have."""
_CUT = " [cut]"
_ANNOTATIONS = {"description", "title", "$comment"}
"""Texts of a schema that only tell something; all others are part of what is checked."""
_DATA = {"const", "default", "enum", "examples"}
_BLANK = {"\u115f", "\u1160", "\u2800", "\u3164", "\uffa0"}
"""Fillers of Korean syllables, and the pattern of Braille without dots."""
_PLAIN = {"\n", "\r", "\t", "\u200d"}
"""The last one joins emoji."""
_WORD = re.compile(r"[A-Za-z0-9_-]+")
_SHORTEST_NAME = 6
"""Own names of tools that are shorter, or but one word, are words of everyday language."""
_ORDERS = re.compile(
    r"</?\s*(?:important|critical|system|secret|instructions?)\b[^>]*>"
    r"|<\|[a-z_]+\|>|\[/?INST\]"
    r"|\b(?:ignore|disregard|forget|override)\b[^.\n]{0,40}\b(?:instruction|prompt|rule)s?\b"
    r"|\b(?:do\s+not|don['\u2019]?t|never|without)\s+(?:tell|mention|inform|reveal)\w*\b[^.\n]{0,40}\b(?:user|person|human)s?\b"
    r"|\bsystem\s+prompt\b|\bid_rsa\b|~/\.ssh\b",
    re.IGNORECASE,
)
"""What talks to a model past the person it works for, as in tool poisoning that was published."""


def told(text: str, *, limit: int) -> str:
    """Give what a model reads of a text: what a person could see of it, cut to `limit` characters."""
    seen = _seen(text)
    return seen if len(seen) <= limit else seen[: max(0, limit - len(_CUT))].rstrip() + _CUT


def told_schema(schema_json: str, *, limit: int) -> str:
    """Give a schema with its descriptions and titles as a model reads them, and nothing else of it changed."""
    schema = json.loads(schema_json)
    shown = _told(schema, limit)
    return schema_json if shown == schema else json.dumps(shown, ensure_ascii=False, separators=(",", ":"))


def doubts(offer: OfferedTool, *, limit: int) -> Iterator[str]:
    """Say what of a definition an operator should look at, by itself."""
    schema = json.loads(offer.parameters_json or "{}")
    if _seen(offer.description) != offer.description:
        yield "its description holds characters that cannot be seen"
    if any(_seen(text) != text for text in (offer.title, *_texts(schema))):
        yield "its title or the schema of its arguments holds characters that cannot be seen"
    if any(len(text) > limit for text in (offer.description, *annotations(schema))):
        yield f"it describes itself in more than {limit} characters; models read no further"
    orders = (_ORDERS.search(told(text, limit=len(text))) for text in (offer.description, *annotations(schema)))
    if found := next(filter(None, orders), None):
        yield f"its description speaks to the model: {found[0][:60]!r}"


def mentions(*texts: str) -> frozenset[str]:
    """Give the words that could be names of tools, in lower case."""
    words = {word.lower() for text in texts for word in _WORD.findall(text)}
    return frozenset(word for word in words if len(word) >= _SHORTEST_NAME and ("_" in word or "-" in word))


def _told(value: Any, limit: int) -> Any:
    match value:
        case dict():
            return {
                name: told(member, limit=limit)
                if name in _ANNOTATIONS and isinstance(member, str)
                else member
                if name in _DATA
                else _told(member, limit)
                for name, member in value.items()
            }
        case list():
            return [_told(member, limit) for member in value]
        case _:
            return value


def annotations(value: Any) -> Iterator[str]:
    """Give the texts of a schema that only tell something."""
    match value:
        case dict():
            for name, member in value.items():
                if name in _ANNOTATIONS and isinstance(member, str):
                    yield member
                elif name not in _DATA:
                    yield from annotations(member)
        case list():
            for member in value:
                yield from annotations(member)


class _Seen(dict[int, int | None]):
    """A table for `str.translate` that leaves hidden characters out, and remembers the most common characters."""

    def __missing__(self, code: int) -> int | None:
        seen = None if _is_hidden(chr(code)) else code
        if len(self) < _MOST_REMEMBERED:
            self[code] = seen
        return seen


_MOST_REMEMBERED = 4096
_SEEN = _Seen()


def _seen(text: str) -> str:
    """Give what a person could see of a text; lists of tools have a megabyte of it, so no character costs a call."""
    return text if text.isascii() and text.isprintable() else text.translate(_SEEN)


def _is_hidden(sign: str) -> bool:
    """Whether a character is of no width, or of no meaning to a reader.

    Those are control, format, private and unassigned ones, letters that are blank, and the variation selectors that no
    emoji has: a byte can be written as each of them, and read by a model.
    """
    return sign not in _PLAIN and (
        unicodedata.category(sign) in {"Cc", "Cf", "Cn", "Co"}
        or sign in _BLANK
        or "\ufe00" <= sign <= "\ufe0d"
        or "\U000e0100" <= sign <= "\U000e01ef"
    )


def _texts(value: Any) -> Iterator[str]:
    """Give all texts of a JSON value, names of members included."""
    match value:
        case str():
            yield value
        case dict():
            for name, member in value.items():
                yield name
                yield from _texts(member)
        case list():
            for member in value:
                yield from _texts(member)
