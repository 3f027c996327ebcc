import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from threadmesh.breaker import BreakerLimits
from threadmesh.settings import ConfigurationError
from tools_svc.adapters.server_config import Confinement, HttpServer, ServerConfig, SseServer, StdioServer, Webhook
from tools_svc.adapters.servers_file import DEFAULT, read_servers
from tools_svc.domain.policy import ToolPolicy
from tools_svc.domain.token_bucket import Rate
from tools_svc.domain.tool import Effect
from tools_svc.domain.verify import Verify


def _read(directory: Path, **servers: Any) -> tuple[ServerConfig, ...]:
    file = directory / "servers.json"
    file.write_text(json.dumps({"mcpServers": servers}, indent=1))
    return read_servers(file)


def test_the_default_file_names_two_servers_run_by_this_interpreter() -> None:
    time, git = read_servers(DEFAULT)

    assert (time.name, git.name) == ("time", "git")
    assert isinstance(time.transport, StdioServer)
    assert time.transport.command == sys.executable
    assert git.effects["git_status"] is Effect.READ_ONLY
    assert "git_commit" not in git.effects


def test_a_server_is_read_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", "secret")
    stdio, http = _read(
        tmp_path,
        local={
            "command": "npx",
            "args": ["-y", "x"],
            "env": {"API_TOKEN": "${env:A_TOKEN}"},
            "cwd": str(tmp_path),
            "nice": 19,
        },
        web={
            "url": "https://example.com/mcp",
            "headers": {"Authorization": "Bearer ${env:A_TOKEN}"},
            "timeout_seconds": 2,
            "disabled": True,
            "effects": {"get": "read_only"},
            "quirks": ["server_info", "json_content"],
            "notifications": {"heard": {"webhook": "http://127.0.0.1:1/", "headers": {"X-Token": "${env:A_TOKEN}"}}},
        },
    )

    assert stdio.transport == StdioServer(
        command="npx", args=("-y", "x"), env={"API_TOKEN": "${env:A_TOKEN}"}, cwd=str(tmp_path), nice=19
    )
    assert (stdio.timeout_seconds, stdio.quirks) == (None, ())
    assert http.transport == HttpServer(
        url="https://example.com/mcp", headers={"Authorization": "Bearer ${env:A_TOKEN}"}
    )
    assert (http.timeout_seconds, http.disabled, http.effects) == (2, True, {"get": Effect.READ_ONLY})
    assert http.quirks == ("server_info", "json_content")
    assert http.notifications == {"heard": Webhook(url="http://127.0.0.1:1/", headers={"X-Token": "${env:A_TOKEN}"})}


def test_what_a_server_may_not_is_read_as_it_is_written(tmp_path: Path) -> None:
    digest = "0123456789ABCDEF" * 4
    limits: dict[str, Any] = {
        "memory_mb": 512,
        "open_files": 256,
        "processes": 64,
        "user": os.geteuid(),
        "network": False,
    }
    plain, full, functions = _read(
        tmp_path, plain=GOOD, full=GOOD | limits | {"sha256": digest}, functions={"python": __file__, "memory_mb": 512}
    )

    assert plain.transport == StdioServer(command="npx", confinement=Confinement())
    assert full.transport == StdioServer(command="npx", confinement=Confinement(sha256=digest.lower(), **limits))
    assert isinstance(functions.transport, StdioServer)
    assert functions.transport.confinement == Confinement(memory_mb=512)


def test_a_file_of_functions_is_run_by_this_interpreter_and_its_own_word_on_effects_holds(tmp_path: Path) -> None:
    (server,) = _read(tmp_path, home={"python": __file__, "env": {"PYTHONPATH": "/more"}})

    assert isinstance(server.transport, StdioServer)
    assert server.transport.command == sys.executable
    assert server.transport.args[-1] == __file__
    assert server.transport.env["PYTHONPATH"].endswith(":/more")
    assert server.hints_trusted


def test_a_server_may_ask_only_what_the_file_says(tmp_path: Path) -> None:
    plain, form, model = _read(
        tmp_path, plain=WEB, form=WEB | {"elicitation": True}, model=WEB | {"sampling": True, "elicitation": False}
    )

    assert (plain.elicitation, plain.sampling) == (False, False)
    assert (form.elicitation, form.sampling) == (True, False)
    assert (model.elicitation, model.sampling) == (False, True)


def test_a_type_tells_the_older_http_with_sse_from_streamable_http(tmp_path: Path) -> None:
    old, new, default = _read(tmp_path, a=WEB | {"type": "sse"}, b=WEB | {"type": "http"}, c=WEB)

    assert isinstance(old.transport, SseServer)
    assert isinstance(new.transport, HttpServer)
    assert isinstance(default.transport, HttpServer)


VERIFY: dict[str, Any] = {"tool": "get", "arguments": {"title": {"$from": "/arguments/title"}}, "done": "/found"}


def _verified(effect: str = "read_only", **verify: Any) -> dict[str, Any]:
    """Give a server with a tool `put` that is verified by `get`, which has this effect."""
    return {"command": "npx", "tools": {"get": {"effect": effect}, "put": {"verify": VERIFY | verify}}}


def test_a_servers_policy_is_read_as_it_is_written(tmp_path: Path) -> None:
    plain, full = _read(
        tmp_path,
        plain={"command": "npx"},
        full={
            "command": "npx",
            "max_parallel": 2,
            "approval": "always",
            "max_waiting": 0,
            "description_characters": 64,
            "breaker": {"failures": 2, "rest_seconds": 1},
            "rate": 2.5,
            "effects": {"get": "read_only", "find": "read_only"},
            "tools": {
                "get": {"cache_seconds": 60, "retries": 0, "timeout_seconds": 1.5},
                "find": {"approval": "never"},
                "put": {
                    "effect": "keyed",
                    "max_parallel": 1,
                    "rate": {"per_second": 0.5, "burst": 4},
                    "approval": "never",
                    "queue": True,
                    "verify": VERIFY | {"tool": "find", "after_seconds": 2, "again": True},
                },
            },
        },
    )

    assert (plain.max_parallel, plain.rate, plain.tools) == (8, None, {})
    assert (plain.max_waiting, full.max_waiting) == (64, 0)
    assert (plain.description_characters, full.description_characters) == (2048, 64)
    assert plain.breaker == BreakerLimits()
    assert full.breaker == BreakerLimits(consecutive=2, rest_seconds=1.0)
    assert (plain.approval, full.approval) == (False, True)
    assert (full.max_parallel, full.rate) == (2, Rate(per_second=2.5, burst=3))
    assert full.effects == {"get": Effect.READ_ONLY, "find": Effect.READ_ONLY, "put": Effect.KEYED}
    assert full.tools == {
        "get": ToolPolicy(cache_seconds=60, retries=0, timeout_seconds=1.5),
        "find": ToolPolicy(requires_approval=False),
        "put": ToolPolicy(
            max_parallel=1,
            rate=Rate(per_second=0.5, burst=4),
            requires_approval=False,
            queued=True,
            verify=Verify(tool="find", arguments=VERIFY["arguments"], done="/found", after_seconds=2.0, again=True),
        ),
    }


GOOD = {"command": "npx"}
WEB = {"url": "https://example.com"}
HOOK = {"webhook": "https://example.com"}


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
        _read(tmp_path, s=server)

    assert re.fullmatch(rf"{tmp_path}/servers\.json:\d+: {re.escape(key)}: .+", error.value.message)
    assert "hunter2" not in error.value.message


@pytest.mark.parametrize("name", ["a__b", "a b", "", "x" * 33])
def test_a_server_name_that_no_tool_can_bear_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError):
        _read(tmp_path, **{name: GOOD})


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/mcp", "http://localhost:1/mcp", "http://[::1]:1/mcp"])
def test_this_machine_may_be_reached_without_encryption(tmp_path: Path, url: str) -> None:
    assert _read(tmp_path, s={"url": url})[0].transport == HttpServer(url=url)


@pytest.mark.parametrize(
    "url", ["https://10.0.0.1/mcp", "https://[fd00::1]/mcp", "https://100.64.0.1/", "https://10.1/"]
)
def test_a_private_network_may_be_reached_where_the_file_says_so(tmp_path: Path, url: str) -> None:
    hook = {"webhook": url, "private_network": True}
    (server,) = _read(tmp_path, s={"url": url, "private_network": True, "notifications": {"heard": hook}})

    assert server.transport == HttpServer(url=url, private_network=True)
    assert server.notifications == {"heard": Webhook(url=url, private_network=True)}


def test_every_mistake_of_a_file_is_told_in_the_order_of_its_lines(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as error:
        _read(tmp_path, a=GOOD | {"x": 1}, b=GOOD | {"timeout_seconds": 0}, c={"url": "http://example.com"})

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
    with pytest.raises(ConfigurationError):
        read_servers(tmp_path / "nothing.json")
