"""Tools whose description speaks of other servers' tools, or hides something from whoever reads it.

A description is read by the model as if the operator had written it. One that tells how to use another server's tool
can change what that one is used for, though nothing of it has changed; such tools are not taken away, but named.
"""

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from tools_svc.domain.catalog import Catalogue
from tools_svc.domain.tool import Tool

_WORD = re.compile(r"[A-Za-z0-9_-]+")
_SHORTEST = 6
"""Own names of tools that are shorter, or but one word, are words of everyday language."""
_BLANK = {"\u115f", "\u1160", "\u2800", "\u3164", "\uffa0"}
"""Fillers of Korean syllables, and the pattern of Braille without dots."""
_PLAIN = {"\n", "\r", "\t", "\u200d"}
"""The last one joins emoji."""


@lru_cache(maxsize=2)
def warnings(catalogue: Catalogue) -> Mapping[str, tuple[str, ...]]:
    """Give what is to be said of tools, by their names; nothing of those that need no warning."""
    tools = catalogue.tools
    telling: dict[str, set[str]] = {}
    for tool in tools:
        for name in {tool.name, tool.server_tool}:
            telling.setdefault(name.lower(), set()).add(tool.server)
    found = {tool.name: tuple(_of(tool, telling)) for tool in tools}
    return {name: said for name, said in found.items() if said}


def _of(tool: Tool, telling: Mapping[str, set[str]]) -> Iterator[str]:
    words = {word.lower() for word in _WORD.findall(tool.description)}
    for word in sorted(words):
        others = telling.get(word, set()) - {tool.server}
        if others and tool.server not in telling[word] and _is_a_name(word):
            yield f"its description speaks of {word}, a tool of {', '.join(sorted(others))}"
    if any(_is_hidden(sign) for sign in tool.description):
        yield "its description holds characters that cannot be seen"
    if any(_is_hidden(sign) for told in (tool.title, *_texts(json.loads(tool.parameters_json))) for sign in told):
        yield "its title or the schema of its arguments holds characters that cannot be seen"


def _is_a_name(word: str) -> bool:
    return len(word) >= _SHORTEST and ("_" in word or "-" in word)


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
