"""What a servers file says, as it is read."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tools_svc.adapters.given_servers_file import GOOD, VERIFY, WEB, read
from threadmesh.breaker import BreakerLimits
from tools_svc.adapters.server_config import Confinement, HttpServer, SseServer, StdioServer, Webhook
from tools_svc.adapters.servers_file import DEFAULT, read_servers
from tools_svc.domain.policy import ToolPolicy
from tools_svc.domain.token_bucket import Rate
from tools_svc.domain.tool import ApprovalRule, Effect
from tools_svc.domain.verify import Verify


def test_the_default_file_names_two_servers_run_by_this_interpreter() -> None:
    time, git = read_servers(DEFAULT)

    assert (time.name, git.name) == ("time", "git")
    assert isinstance(time.transport, StdioServer)
    assert time.transport.command == sys.executable
    assert git.effects["git_status"] is Effect.READ_ONLY
    assert "git_commit" not in git.effects


def test_a_server_is_read_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", "secret")
    stdio, http = read(
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
            "notifications": {
                "heard": {
                    "webhook": "http://127.0.0.1:1/",
                    "headers": {"X-Token": "${env:A_TOKEN}"},
                    "body": {"thread_key": "a:${param:b}"},
                }
            },
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
    assert http.notifications == {
        "heard": Webhook(
            url="http://127.0.0.1:1/", headers={"X-Token": "${env:A_TOKEN}"}, body={"thread_key": "a:${param:b}"}
        )
    }


def test_what_a_server_may_not_is_read_as_it_is_written(tmp_path: Path) -> None:
    digest = "0123456789ABCDEF" * 4
    limits: dict[str, Any] = {
        "memory_mb": 512,
        "open_files": 256,
        "processes": 64,
        "user": os.geteuid(),
        "network": False,
    }
    plain, full, functions = read(
        tmp_path, plain=GOOD, full=GOOD | limits | {"sha256": digest}, functions={"python": __file__, "memory_mb": 512}
    )

    assert plain.transport == StdioServer(command="npx", confinement=Confinement())
    assert full.transport == StdioServer(command="npx", confinement=Confinement(sha256=digest.lower(), **limits))
    assert isinstance(functions.transport, StdioServer)
    assert functions.transport.confinement == Confinement(memory_mb=512)


def test_a_file_of_functions_is_run_by_this_interpreter_and_its_own_word_on_effects_holds(tmp_path: Path) -> None:
    (server,) = read(tmp_path, home={"python": __file__, "env": {"PYTHONPATH": "/more"}})

    assert isinstance(server.transport, StdioServer)
    assert server.transport.command == sys.executable
    assert server.transport.args[-1] == __file__
    assert server.transport.env["PYTHONPATH"].endswith(":/more")
    assert server.hints_trusted


def test_a_server_may_ask_only_what_the_file_says(tmp_path: Path) -> None:
    plain, form, model = read(
        tmp_path, plain=WEB, form=WEB | {"elicitation": True}, model=WEB | {"sampling": True, "elicitation": False}
    )

    assert (plain.elicitation, plain.sampling) == (False, False)
    assert (form.elicitation, form.sampling) == (True, False)
    assert (model.elicitation, model.sampling) == (False, True)


def test_a_type_tells_the_older_http_with_sse_from_streamable_http(tmp_path: Path) -> None:
    old, new, default = read(tmp_path, a=WEB | {"type": "sse"}, b=WEB | {"type": "http"}, c=WEB)

    assert isinstance(old.transport, SseServer)
    assert isinstance(new.transport, HttpServer)
    assert isinstance(default.transport, HttpServer)


def test_a_servers_policy_is_read_as_it_is_written(tmp_path: Path) -> None:
    plain, full = read(
        tmp_path,
        plain={"command": "npx"},
        full={
            "command": "npx",
            "max_parallel": 2,
            "approval": "always",
            "untrusted": False,
            "max_waiting": 0,
            "description_characters": 64,
            "breaker": {"failures": 2, "rest_seconds": 1},
            "rate": 2.5,
            "effects": {"get": "read_only", "find": "read_only"},
            "tools": {
                "get": {"cache_seconds": 60, "retries": 0, "timeout_seconds": 1.5},
                "find": {"approval": "never", "untrusted": True},
                "put": {
                    "effect": "keyed",
                    "max_parallel": 1,
                    "rate": {"per_second": 0.5, "burst": 4},
                    "approval": "after_untrusted",
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
    assert (plain.approval, full.approval) == (ApprovalRule.NEVER, ApprovalRule.ALWAYS)
    assert (plain.untrusted, full.untrusted) == (None, False)
    assert (full.max_parallel, full.rate) == (2, Rate(per_second=2.5, burst=3))
    assert full.effects == {"get": Effect.READ_ONLY, "find": Effect.READ_ONLY, "put": Effect.KEYED}
    assert full.tools == {
        "get": ToolPolicy(cache_seconds=60, retries=0, timeout_seconds=1.5),
        "find": ToolPolicy(approval=ApprovalRule.NEVER, untrusted=True),
        "put": ToolPolicy(
            max_parallel=1,
            rate=Rate(per_second=0.5, burst=4),
            approval=ApprovalRule.AFTER_UNTRUSTED,
            queued=True,
            verify=Verify(tool="find", arguments=VERIFY["arguments"], done="/found", after_seconds=2.0, again=True),
        ),
    }
