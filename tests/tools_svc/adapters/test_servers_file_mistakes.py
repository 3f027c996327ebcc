"""What is refused in a servers file, and how that is told."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.tools_svc.adapters.given_servers_file import GOOD, VERIFY, WEB, read
from threadmesh.settings import ConfigurationError
from tools_svc.adapters.server_config import HttpServer, Webhook
from tools_svc.adapters.servers_file import read_servers

HOOK = {"webhook": "https://example.com"}


def _verified(effect: str = "read_only", **verify: Any) -> dict[str, Any]:
    """Give a server with a tool `put` that is verified by `get`, which has this effect."""
    return {"command": "npx", "tools": {"get": {"effect": effect}, "put": {"verify": VERIFY | verify}}}


@pytest.mark.parametrize(
    ("server", "key"),
    [
        ("npx", "s"),
        ({}, "s"),
        (GOOD | WEB, "s"),
        (GOOD | {"python": "/x.py"}, "s"),
        ({"python": "tools.py"}, "s.python"),
        ({"python": "/no/such/tools.py"}, "s.python"),
        ({"python": "package.module"}, "s.python"),
        ({"python": __file__, "args": []}, "s.args"),
        ({"python": __file__, "type": "stdio"}, "s.type"),
        (GOOD | {"colour": "red"}, "s.colour"),
        (GOOD | {"headers": {}}, "s.headers"),
        (WEB | {"args": []}, "s.args"),
        (GOOD | {"type": "http"}, "s.type"),
        (GOOD | {"type": "sse"}, "s.type"),
        (WEB | {"type": "websocket"}, "s.type"),
        ({"type": "sse", "url": "http://example.com/sse"}, "s.url"),
        ({"command": ""}, "s.command"),
        ({"command": "npx -y x"}, "s.command"),
        ({"command": "a;b"}, "s.command"),
        ({"command": "$(id)"}, "s.command"),
        ({"command": "bin/tool"}, "s.command"),
        ({"command": ["npx"]}, "s.command"),
        (GOOD | {"args": "-y"}, "s.args"),
        (GOOD | {"args": [1]}, "s.args"),
        (GOOD | {"cwd": "here"}, "s.cwd"),
        (GOOD | {"nice": -1}, "s.nice"),
        (GOOD | {"nice": 20}, "s.nice"),
        (GOOD | {"nice": True}, "s.nice"),
        (WEB | {"nice": 1}, "s.nice"),
        (GOOD | {"memory_mb": 1}, "s.memory_mb"),
        (GOOD | {"memory_mb": "1G"}, "s.memory_mb"),
        (WEB | {"memory_mb": 100}, "s.memory_mb"),
        (GOOD | {"open_files": 0}, "s.open_files"),
        (GOOD | {"open_files": True}, "s.open_files"),
        (GOOD | {"processes": 32}, "s.processes"),
        (GOOD | {"processes": 0, "user": 0}, "s.processes"),
        (GOOD | {"sha256": "abc"}, "s.sha256"),
        (GOOD | {"sha256": 5}, "s.sha256"),
        ({"python": __file__, "sha256": "0" * 64}, "s.sha256"),
        (GOOD | {"user": "no-such-user-anywhere"}, "s.user"),
        (GOOD | {"user": -1}, "s.user"),
        (GOOD | {"user": True}, "s.user"),
        (GOOD | {"user": 2**40}, "s.user"),
        (GOOD | {"network": "no"}, "s.network"),
        (WEB | {"network": False}, "s.network"),
        (GOOD | {"cwd": "/no/such/directory"}, "s.cwd"),
        (GOOD | {"env": ["A=1"]}, "s.env"),
        (GOOD | {"env": {"A": 1}}, "s.env.A"),
        (GOOD | {"env": {"GITHUB_TOKEN": "hunter2"}}, "s.env.GITHUB_TOKEN"),
        (GOOD | {"env": {"A": "${env:NOT_SET_ANYWHERE}"}}, "s.env.A"),
        (GOOD | {"env": {"A": "${file:/no/such/file}"}}, "s.env.A"),
        (GOOD | {"env": {"A": "${vault:x}"}}, "s.env.A"),
        (WEB | {"headers": {"Authorization": "Bearer hunter2"}}, "s.headers.Authorization"),
        (WEB | {"headers": {"X": "a\r\nEvil: b"}}, "s.headers.X"),
        ({"url": "http://example.com/mcp"}, "s.url"),
        ({"url": "ftp://example.com"}, "s.url"),
        ({"url": "example.com"}, "s.url"),
        ({"url": "https://me:hunter2@example.com"}, "s.url"),
        ({"url": "https://169.254.169.254/mcp"}, "s.url"),
        ({"url": "https://example.com:port"}, "s.url"),
        ({"url": "https://2852039166/"}, "s.url"),
        ({"url": "https://0xa9fea9fe/"}, "s.url"),
        ({"url": "https://0251.0376.0251.0376/"}, "s.url"),
        ({"url": "https://169.254.169.254./"}, "s.url"),
        ({"url": "https://[::ffff:169.254.169.254]/"}, "s.url"),
        ({"url": "https://[fd00:ec2::254]/", "private_network": True}, "s.url"),
        ({"url": "https://metadata.google.internal./"}, "s.url"),
        ({"url": "https://0.0.0.0/"}, "s.url"),
        ({"url": "https://10.0.0.1/"}, "s.url"),
        ({"url": "https://192.168.1.9/", "private_network": False}, "s.url"),
        ({"url": "https://[fd00::1]/"}, "s.url"),
        ({"url": "http://10.0.0.1/", "private_network": True}, "s.url"),
        ({"url": "https://example.com/?token=hunter2"}, "s.url"),
        ({"url": "https://example.com/?token=${env:NOT_SET_ANYWHERE}"}, "s.url"),
        ({"url": "https://example.com/${env:HOME}"}, "s.url"),
        (
            GOOD | {"notifications": {"heard": {"webhook": "https://a.b?key=hunter2"}}},
            "s.notifications.heard.webhook",
        ),
        (GOOD | {"args": ["-y", "--token=hunter2"]}, "s.args.1"),
        (GOOD | {"args": ["--token", "hunter2"]}, "s.args.1"),
        (GOOD | {"env": {"KEY": "hunter2"}}, "s.env.KEY"),
        (GOOD | {"env": {"DATABASE_URL": "postgres://me:hunter2@db/x"}}, "s.env.DATABASE_URL"),
        (GOOD | {"env": {"GITHUB_TOKEN": "ghp_hunter2${env:HOME}"}}, "s.env.GITHUB_TOKEN"),
        (WEB | {"headers": {"X-Auth": "Bearer hunter2"}}, "s.headers.X-Auth"),
        (WEB | {"private_network": "yes"}, "s.private_network"),
        (GOOD | {"private_network": True}, "s.private_network"),
        (GOOD | {"notifications": {"heard": {"webhook": "https://10.0.0.1"}}}, "s.notifications.heard.webhook"),
        (
            GOOD | {"notifications": {"heard": HOOK | {"private_network": 1}}},
            "s.notifications.heard.private_network",
        ),
        ({"url": 5}, "s.url"),
        (GOOD | {"timeout_seconds": 0}, "s.timeout_seconds"),
        (GOOD | {"timeout_seconds": -1}, "s.timeout_seconds"),
        (GOOD | {"timeout_seconds": True}, "s.timeout_seconds"),
        (GOOD | {"timeout_seconds": "5"}, "s.timeout_seconds"),
        (GOOD | {"timeout_seconds": 1e9}, "s.timeout_seconds"),
        (GOOD | {"disabled": "no"}, "s.disabled"),
        (GOOD | {"effects": {"get": "harmless"}}, "s.effects.get"),
        (GOOD | {"effects": ["get"]}, "s.effects"),
        (GOOD | {"effects": {"get": ["read_only"]}}, "s.effects.get"),
        (GOOD | {"quirks": "json_content"}, "s.quirks"),
        (GOOD | {"quirks": ["json_content", "json"]}, "s.quirks.1"),
        (GOOD | {"quirks": [["json_content"]]}, "s.quirks.0"),
        (GOOD | {"notifications": {"heard": HOOK | {"body": "${param:a}"}}}, "s.notifications.heard.body"),
        (GOOD | {"notifications": {"heard": HOOK | {"body": {"a": ["${env:A}"]}}}}, "s.notifications.heard.body.a.0"),
        (
            GOOD | {"notifications": {"heard": HOOK | {"body": {"a": "Bearer abcdefghijklmnopqrstuvwxyz012345"}}}},
            "s.notifications.heard.body.a",
        ),
        (GOOD | {"notifications": ["heard"]}, "s.notifications"),
        (GOOD | {"notifications": {"heard": "https://example.com"}}, "s.notifications.heard"),
        (GOOD | {"notifications": {"heard": {}}}, "s.notifications.heard"),
        (GOOD | {"notifications": {"heard": {"webhook": "https://example.com", "x": 1}}}, "s.notifications.heard"),
        (GOOD | {"notifications": {"notifications/progress": HOOK}}, "s.notifications.notifications/progress"),
        (GOOD | {"notifications": {"heard": {"webhook": "http://example.com"}}}, "s.notifications.heard.webhook"),
        (GOOD | {"notifications": {"heard": HOOK | {"headers": []}}}, "s.notifications.heard.headers"),
        (
            GOOD | {"notifications": {"heard": HOOK | {"headers": {"X-Token": "hunter2"}}}},
            "s.notifications.heard.headers.X-Token",
        ),
        (GOOD | {"max_parallel": 0}, "s.max_parallel"),
        (GOOD | {"approval": True}, "s.approval"),
        (GOOD | {"untrusted": "yes"}, "s.untrusted"),
        (GOOD | {"tools": {"get": {"untrusted": 1}}}, "s.tools.get.untrusted"),
        (GOOD | {"max_waiting": -1}, "s.max_waiting"),
        (GOOD | {"description_characters": 0}, "s.description_characters"),
        (GOOD | {"description_characters": 1e6}, "s.description_characters"),
        (GOOD | {"breaker": True}, "s.breaker"),
        (GOOD | {"breaker": {"failures": 0}}, "s.breaker.failures"),
        (GOOD | {"breaker": {"patience": 1}}, "s.breaker.patience"),
        (GOOD | {"tools": {"get": {"approval": "sometimes"}}}, "s.tools.get.approval"),
        (GOOD | {"max_parallel": 1.5}, "s.max_parallel"),
        (GOOD | {"max_parallel": True}, "s.max_parallel"),
        (GOOD | {"max_parallel": 100_000}, "s.max_parallel"),
        (GOOD | {"rate": 0}, "s.rate"),
        (GOOD | {"rate": -1}, "s.rate"),
        (GOOD | {"rate": "5/s"}, "s.rate"),
        (GOOD | {"rate": 1e9}, "s.rate"),
        (GOOD | {"rate": {}}, "s.rate.per_second"),
        (GOOD | {"rate": {"per_second": True}}, "s.rate.per_second"),
        (GOOD | {"rate": {"per_second": 1, "burst": 0}}, "s.rate.burst"),
        (GOOD | {"rate": {"per_second": 1, "each": 1}}, "s.rate.each"),
        (GOOD | {"tools": []}, "s.tools"),
        (GOOD | {"tools": {"get": "read_only"}}, "s.tools.get"),
        (GOOD | {"tools": {"get": {"colour": "red"}}}, "s.tools.get.colour"),
        (GOOD | {"tools": {"get": {"effect": "harmless"}}}, "s.tools.get.effect"),
        (GOOD | {"tools": {"get": {"effect": []}}}, "s.tools.get.effect"),
        (GOOD | {"tools": {"get": {"timeout_seconds": 0}}}, "s.tools.get.timeout_seconds"),
        (GOOD | {"tools": {"get": {"max_parallel": -1}}}, "s.tools.get.max_parallel"),
        (GOOD | {"tools": {"get": {"rate": None}}}, "s.tools.get.rate"),
        (GOOD | {"tools": {"get": {"retries": -1}}}, "s.tools.get.retries"),
        (GOOD | {"tools": {"get": {"retries": 11}}}, "s.tools.get.retries"),
        (GOOD | {"tools": {"get": {"effect": "read_only", "cache_seconds": 0}}}, "s.tools.get.cache_seconds"),
        (GOOD | {"tools": {"get": {"cache_seconds": 5}}}, "s.tools.get.cache_seconds"),
        (GOOD | {"tools": {"get": {"queue": "yes"}}}, "s.tools.get.queue"),
        (GOOD | {"tools": {"get": {"effect": "idempotent", "cache_seconds": 5}}}, "s.tools.get.cache_seconds"),
        (GOOD | {"effects": {"get": "keyed"}, "tools": {"get": {"cache_seconds": 5}}}, "s.tools.get.cache_seconds"),
        (GOOD | {"effects": {"get": "keyed"}, "tools": {"get": {"effect": "keyed"}}}, "s.tools.get.effect"),
        (GOOD | {"tools": {"put": {"verify": "get"}}}, "s.tools.put.verify"),
        (_verified(colour="red"), "s.tools.put.verify.colour"),
        (_verified(tool=""), "s.tools.put.verify.tool"),
        (_verified(tool="other"), "s.tools.put.verify.tool"),
        (_verified("idempotent"), "s.tools.put.verify.tool"),
        (_verified() | {"approval": "always"}, "s.tools.put.verify.tool"),
        (_verified() | {"approval": "after_untrusted"}, "s.tools.put.verify.tool"),
        (
            GOOD | {"tools": {"get": {"effect": "read_only", "cache_seconds": 5}, "put": {"verify": VERIFY}}},
            "s.tools.put.verify.tool",
        ),
        (_verified(done="found"), "s.tools.put.verify.done"),
        (_verified(done="/a~2"), "s.tools.put.verify.done"),
        (_verified(arguments=[]), "s.tools.put.verify.arguments"),
        (_verified(arguments={"newest": True}), "s.tools.put.verify.arguments"),
        (_verified(arguments={"q": {"$from": "/run_id"}}), "s.tools.put.verify.arguments.q.$from"),
        (_verified(arguments={"q": [{"$from": "/arguments"}]}), "s.tools.put.verify.arguments.q.0.$from"),
        (_verified(arguments={"q": {"$from": "/call_id", "x": 1}}), "s.tools.put.verify.arguments.q"),
        (_verified(after_seconds=-1), "s.tools.put.verify.after_seconds"),
        (_verified(again="yes"), "s.tools.put.verify.again"),
        (
            GOOD | {"tools": {"get": {"effect": "read_only"}, "see": {"effect": "read_only", "verify": VERIFY}}},
            "s.tools.see.verify",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line_with_its_place_and_without_secrets(
    tmp_path: Path, server: Any, key: str
) -> None:
    with pytest.raises(ConfigurationError) as error:
        read(tmp_path, s=server)

    assert re.fullmatch(rf"{tmp_path}/servers\.json:\d+: {re.escape(key)}: .+", error.value.message)
    assert "hunter2" not in error.value.message


@pytest.mark.parametrize("name", ["a__b", "a b", "", "x" * 33])
def test_a_server_name_that_no_tool_can_bear_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError):
        read(tmp_path, **{name: GOOD})


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/mcp", "http://localhost:1/mcp", "http://[::1]:1/mcp"])
def test_this_machine_may_be_reached_without_encryption(tmp_path: Path, url: str) -> None:
    assert read(tmp_path, s={"url": url})[0].transport == HttpServer(url=url)


@pytest.mark.parametrize(
    "url", ["https://10.0.0.1/mcp", "https://[fd00::1]/mcp", "https://100.64.0.1/", "https://10.1/"]
)
def test_a_private_network_may_be_reached_where_the_file_says_so(tmp_path: Path, url: str) -> None:
    hook = {"webhook": url, "private_network": True}
    (server,) = read(tmp_path, s={"url": url, "private_network": True, "notifications": {"heard": hook}})

    assert server.transport == HttpServer(url=url, private_network=True)
    assert server.notifications == {"heard": Webhook(url=url, private_network=True)}


def test_every_mistake_of_a_file_is_told_in_the_order_of_its_lines(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as error:
        read(tmp_path, a=GOOD | {"x": 1}, b=GOOD | {"timeout_seconds": 0}, c={"url": "http://example.com"})

    lines = [int(line.split(":")[1]) for line in error.value.message.splitlines()]
    assert len(lines) == 3
    assert lines == sorted(set(lines))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", ":1: file: "),
        ('{"mcpServers": {\n"a": {"command": "x"},\n"a": {"command": "y"}}}', ":3: file: 'a' stands here"),
        ("[]", ":1: file: "),
        ('{"servers": {}}', ":1: file: "),
        ('{"mcpServers": {},\n"more": 1}', ":2: more: no such key"),
        ('{"mcpServers": []}', ":1: file: "),
        ("\ufeff{}", ":1: file: "),
    ],
)
def test_a_file_of_the_wrong_shape_is_refused_with_its_line(tmp_path: Path, text: str, place: str) -> None:
    file = tmp_path / "servers.json"
    file.write_text(text)

    with pytest.raises(ConfigurationError) as error:
        read_servers(file)

    assert f"{file}{place}" in error.value.message


def test_a_file_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        read_servers(tmp_path / "nothing.json")
