"""Answers that do not come from an MCP server, a proxy's 502 above all: nobody knows whether the call took effect."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.servers.wild_http import Answer, WildHttp, head, result, said, wild_http
from tests.tools_svc.given import Mesh, call, mesh, text
from threadmesh.api.conversation.v1 import events_pb2 as events

UNCLEAR: dict[str, bytes] = {
    "bad gateway": head("502 Bad Gateway", "text/html") + b"<html>",
    "gateway timeout": head("504 Gateway Timeout", "text/plain"),
    "accepted": head("202 Accepted", "text/plain", "content-length: 0"),
    "not MCP": head("200 OK", "text/html") + b"<html>",
}
VERIFY = {"tool": "find", "arguments": {"id": {"$from": "/call_id"}}, "done": "/found", "after_seconds": 0}
TOOLS: dict[str, Any] = {
    "read": {"effect": "read_only"},
    "find": {"effect": "read_only"},
    "send": {"effect": "unsafe"},
    "send_and_look": {"effect": "unsafe", "verify": VERIFY},
}


@asynccontextmanager
async def behind(unclear: bytes, directory: Path) -> AsyncIterator[tuple[Mesh, WildHttp]]:
    """Run the service with a server whose every first call is answered unclearly, by whoever stands before it."""
    found = {"content": [], "structuredContent": {"found": True}}
    answers: dict[str, Answer] = {name: _first(unclear) for name in ("read", "send", "send_and_look")}
    answers["find"] = lambda number: result(found, number)
    async with (
        wild_http(answers) as server,
        mesh(directory, wild={"url": server.url, "tools": TOOLS, "breaker": False}) as running,
    ):
        yield running, server


def _first(unclear: bytes) -> Answer:
    first: Iterator[bytes] = iter([unclear])
    return lambda number: next(first, result(said("done"), number))


def sent(server: WildHttp, tool: str) -> int:
    return sum(b'"tools/call"' in request and f'"name":"{tool}"'.encode() in request for request in server.requests)


@pytest.mark.parametrize("unclear", UNCLEAR.values(), ids=list(UNCLEAR))
async def test_an_unclear_answer_is_tried_again_where_the_tool_only_reads(unclear: bytes, tmp_path: Path) -> None:
    async with behind(unclear, tmp_path) as (service, server):
        ended = (await service.run(call("wild__read")))["call"]

    assert (ended.outcome, text(ended)) == (events.CALL_OUTCOME_SUCCEEDED, "done")
    assert sent(server, "read") == 2


@pytest.mark.parametrize("unclear", UNCLEAR.values(), ids=list(UNCLEAR))
async def test_it_leaves_the_outcome_of_an_unsafe_call_open(unclear: bytes, tmp_path: Path) -> None:
    async with behind(unclear, tmp_path) as (service, server):
        ended = (await service.run(call("wild__send")))["call"]

    assert (ended.outcome, ended.failure.reason) == (events.CALL_OUTCOME_UNKNOWN, "TOOL_CONNECTION_LOST")
    assert f"status {unclear.split()[1].decode()}" in ended.failure.message
    assert sent(server, "send") == 1


@pytest.mark.parametrize("unclear", UNCLEAR.values(), ids=list(UNCLEAR))
async def test_who_can_tell_what_came_of_it_is_asked(unclear: bytes, tmp_path: Path) -> None:
    async with behind(unclear, tmp_path) as (service, server):
        ended = (await service.run(call("wild__send_and_look")))["call"]

    assert ended.outcome == events.CALL_OUTCOME_SUCCEEDED
    assert (sent(server, "send_and_look"), sent(server, "find")) == (1, 1)
