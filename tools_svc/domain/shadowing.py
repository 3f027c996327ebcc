"""Tools that an operator should look at: those that speak of other servers' tools, and those in doubt by themselves.

A description that tells how to use another server's tool can change what that one is used for, though nothing of it has
changed.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache

from tools_svc.domain.catalog import Catalogue
from tools_svc.domain.tool import Tool


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
    for word in sorted(tool.mentions & telling.keys()):
        others = telling[word]
        if tool.server not in others:
            yield f"its description speaks of {word}, a tool of {', '.join(sorted(others))}"
