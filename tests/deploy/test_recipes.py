import re

import pytest

from deploy.mcp.list_recipes import recipes, stale
from tests.deploy.recipes import DIRECTORY, RECIPES, recipe
from tools_svc.adapters.servers_file import read_servers

_SECRET = re.compile(r"\$\{env:(\w+)\}")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_read_once_its_secrets_are_set(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = DIRECTORY / f"{name}.json"
    for secret in _SECRET.findall(file.read_text()):
        monkeypatch.setenv(secret, "a secret")

    servers = read_servers(file)

    assert servers
    assert all(server.effects for server in servers)


def test_every_recipe_whose_server_a_registry_has_can_be_listed() -> None:
    told = {each.name: (each.installer, each.package) for each in recipes((DIRECTORY / "README.md").read_text())}

    assert set(told) == set(RECIPES) - {"discord-bot"}
    assert told["memory"] == ("npm", "@modelcontextprotocol/server-memory@2026.8.31")
    assert all("==" in package if tool == "pip" else "@" in package[1:] for tool, package in told.values())


def test_tools_that_a_server_offers_no_longer_are_named() -> None:
    (memory,) = [each for each in recipes((DIRECTORY / "README.md").read_text()) if each.name == "memory"]
    offered = [("read_only", f"memory__{name}") for name in recipe("memory")["mcpServers"]["memory"]["effects"]]

    assert stale(memory, offered) == []
    assert stale(memory, offered[1:]) == ["read_graph"]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_described(name: str) -> None:
    assert f"`{name}.json`" in (DIRECTORY / "README.md").read_text()
