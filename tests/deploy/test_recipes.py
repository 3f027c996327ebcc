import re

import pytest

from tests.deploy.recipes import DIRECTORY, RECIPES
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


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_described(name: str) -> None:
    assert f"`{name}.json`" in (DIRECTORY / "README.md").read_text()
