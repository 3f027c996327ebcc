"""What the servers file may say about capabilities, and where it is said to be wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from threadmesh.settings import ConfigurationError
from tools_svc.adapters.servers_file import read_capabilities, read_servers
from tools_svc.domain.capability import Alternative

SERVERS = {"a": {"command": "a-mcp"}, "b": {"command": "b-mcp"}}
GOOD: dict[str, Any] = {"description": "Search.", "parameters": {"type": "object"}, "tools": ["a__find"]}


def written(directory: Path, **capabilities: Any) -> Path:
    file = directory / "servers.json"
    file.write_text(json.dumps({"mcpServers": SERVERS, "capabilities": capabilities}))
    return file


def test_a_capability_is_read_as_it_is_written(tmp_path: Path) -> None:
    other = {"tool": "b__query", "preference": -1, "arguments": {"text": "q"}, "fixed": {"safe": True}}
    (search,) = read_capabilities(written(tmp_path, search=GOOD | {"tools": ["a__find", other]}))

    assert (search.name, search.description, search.parameters_json) == ("search", "Search.", '{"type":"object"}')
    assert search.alternatives == (
        Alternative(tool="a__find"),
        Alternative(tool="b__query", preference=-1, arguments={"text": "q"}, fixed={"safe": True}),
    )


def test_a_file_without_capabilities_has_none(tmp_path: Path) -> None:
    (tmp_path / "servers.json").write_text(json.dumps({"mcpServers": SERVERS}))

    assert read_capabilities(tmp_path / "servers.json") == ()


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"search": 5}, "search"),
        ({"web__search": GOOD}, "web__search"),
        ({"search": GOOD | {"cost": 1}}, "search.cost"),
        ({"search": GOOD | {"description": ""}}, "search.description"),
        ({"search": GOOD | {"parameters": {"type": "string"}}}, "search.parameters"),
        ({"search": GOOD | {"tools": []}}, "search.tools"),
        ({"search": GOOD | {"tools": [5]}}, "search.tools.0"),
        ({"search": GOOD | {"tools": ["find"]}}, "search.tools.0"),
        ({"search": GOOD | {"tools": ["nobody__find"]}}, "search.tools.0"),
        ({"search": GOOD | {"tools": ["any__find"]}}, "search.tools.0"),
        ({"search": GOOD | {"tools": [{"tool": "a__find", "preference": "first"}]}}, "search.tools.0.preference"),
        ({"search": GOOD | {"tools": [{"tool": "a__find", "arguments": {"q": 1}}]}}, "search.tools.0.arguments"),
        ({"search": GOOD | {"tools": [{"tool": "a__find", "fixed": []}]}}, "search.tools.0.fixed"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, wrong: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_servers(written(tmp_path, **wrong))

    (line,) = caught.value.message.splitlines()
    assert f": {place}" in line


def test_no_server_is_called_as_capabilities_are(tmp_path: Path) -> None:
    (tmp_path / "servers.json").write_text(json.dumps({"mcpServers": {"any": {"command": "x"}}}))

    with pytest.raises(ConfigurationError, match="stands for capabilities"):
        read_servers(tmp_path / "servers.json")
