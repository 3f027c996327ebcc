"""Tools that an operator should look at: those that speak of other servers' tools, and those in doubt by themselves.

A description that tells how to use another server's tool can change what that one is used for, though nothing of it has
changed.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

from tools_svc.domain.catalog import Catalogue
from tools_svc.domain.telling import annotations
from tools_svc.domain.tool import Tool

_WORD = re.compile(r"[A-Za-z0-9_-]+")
_SHORTEST = 6
"""Own names of tools that are shorter, or but one word, are words of everyday language."""


@lru_cache(maxsize=4)
def warnings(catalogue: Catalogue) -> Mapping[str, tuple[str, ...]]:
    """Give what is to be said of tools, by their names; nothing of those that need no warning.

    Tools of servers that are away count, and those that are held back: who is there now changes nobody's description.
    """
    shelves = catalogue.shelves.values()
    tools = [entry.tool for shelf in shelves for entry in shelf.entries]
    tools += [held.tool for shelf in shelves for held in shelf.quarantined]
    telling: dict[str, set[str]] = {}
    for tool in tools:
        for name in {tool.name, tool.server_tool}:
            telling.setdefault(name.lower(), set()).add(tool.server)
    found = {tool.name: (*_shadowing(tool, telling), *tool.doubts) for tool in tools}
    return {name: said for name, said in found.items() if said}


def _shadowing(tool: Tool, telling: Mapping[str, set[str]]) -> Iterator[str]:
    texts = (tool.title, tool.description, *annotations(json.loads(tool.parameters_json)))
    words = {word.lower() for text in texts for word in _WORD.findall(text)}
    for word in sorted(words):
        others = telling.get(word, set()) - {tool.server}
        if others and tool.server not in telling[word] and _is_a_name(word):
            yield f"its description speaks of {word}, a tool of {', '.join(sorted(others))}"


def _is_a_name(word: str) -> bool:
    return len(word) >= _SHORTEST and ("_" in word or "-" in word)
