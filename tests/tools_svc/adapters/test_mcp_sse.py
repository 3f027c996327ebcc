"""Servers of the older HTTP with SSE that misbehave: each costs the call it answers, or says why it is away."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.servers.given import invocation, mcp_source, output, running, until, updates
from tests.servers.wild_http import said
from tests.servers.wild_sse import NAMED, OPENED, Answer, event, wild_sse
from threadmesh.conversation import Text
from threadmesh.errors import (
    MeshError,
    Overloaded,
    ToolAuthenticationFailed,
    ToolConnectionLost,
    ToolFailed,
    ToolResultTooLarge,
)
from tools_svc.adapters.server_config import SseServer
from tools_svc.domain.tool import ServerState

HUGE = 5_000_000
REPLIES: dict[str, bytes] = {
    "unauthorized": b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    "too_many": b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    "broken": b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    "redirect": b"HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.2/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    "dropped": b"",
    "endless_reply": b"HTTP/1.1 202 Accepted\r\ncontent-length: 100000000\r\nconnection: close\r\n\r\n" + b"x" * HUGE,
}


def _huge_notification(number: Any) -> bytes:
    data = {"data": {"id": number}, "words": "x" * HUGE, "end": {"id": number}}
    told = {"jsonrpc": "2.0", "method": "notifications/message", "params": data}
    return b"data: " + json.dumps(told).encode() + b"\n\n"


ANSWERS: dict[str, Answer] = {
    "fine": lambda number: event(said("fine"), number),
    "held": lambda number: event(said("held"), number),
    "huge": lambda number: event(said("x" * HUGE), number),
    "endless_reply": lambda number: event(said("endless_reply"), number),
    "huge_notification": lambda number: _huge_notification(number) + event(said("huge_notification"), number),
    "not_json": lambda _: b"data: {{{\n\n",
    "comments": lambda number: b":\n" * 60_000 + event(said("comments"), number),
    "blank_lines": lambda number: b"\n" * 60_000 + event(said("blank_lines"), number),
    "strange_answers": lambda number: event({}, 999_999) * 2_200 + event(said("strange_answers"), number),
    "endless_data": lambda number: (
        b'data: {"id": %d, "result":\n' % number + (b"data: " + b"x" * 65_000 + b"\n") * 1_050
    ),
}


@asynccontextmanager
async def _server(opening: bytes = NAMED) -> AsyncIterator[SseServer]:
    async with wild_sse(ANSWERS, REPLIES, opening) as wild:
        yield SseServer(url=wild.url)


@pytest.mark.parametrize(
    ("tool", "error"),
    [
        ("huge", ToolResultTooLarge),
        ("unauthorized", ToolAuthenticationFailed),
        ("too_many", Overloaded),
        ("broken", ToolConnectionLost),
        ("redirect", ToolFailed),
        ("dropped", ToolConnectionLost),
    ],
)
async def test_a_bad_answer_ends_its_call_and_leaves_the_one_beside_it(tool: str, error: type[MeshError]) -> None:
    async with _server() as server, running(mcp_source(server)) as source:
        beside = asyncio.create_task(output(source, invocation("held")))
        with pytest.raises(error):
            await updates(source, invocation(tool))
        await output(source, invocation("fine"))

        assert (await beside).parts == (Text(text="held"),)
        assert source.status.state is ServerState.READY
        assert source.status.protocol_version == "2024-11-05"


async def test_a_reply_without_end_is_not_read_and_the_answer_comes_by_the_stream() -> None:
    async with _server() as server, running(mcp_source(server)) as source:
        assert (await output(source, invocation("endless_reply"))).parts == (Text(text="endless_reply"),)


async def test_a_notification_that_is_too_large_ends_no_call() -> None:
    async with _server() as server, running(mcp_source(server)) as source:
        assert (await output(source, invocation("huge_notification"))).parts == (Text(text="huge_notification"),)


@pytest.mark.parametrize("tool", ["not_json", "ended"])
async def test_a_stream_that_breaks_ends_its_calls_and_is_opened_again(tool: str) -> None:
    async with _server() as server, running(mcp_source(server)) as source:
        with pytest.raises(ToolConnectionLost):
            await updates(source, invocation(tool))
        await until(source, ServerState.READY)

        assert (await output(source, invocation("fine"))).parts == (Text(text="fine"),)


@pytest.mark.parametrize(
    ("opening", "words"),
    [
        (OPENED + b"event: endpoint\ndata: http://127.0.0.2:9/messages\n\n", "to another server"),
        (b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\n\r\n", "compresses"),
        (b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", "status 200"),
        (
            b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.2/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            "status 302",
        ),
        (b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", "status 405"),
        (b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", "credentials"),
    ],
)
async def test_a_server_whose_stream_does_not_open_is_unavailable_and_says_why(opening: bytes, words: str) -> None:
    async with (
        _server(opening) as server,
        running(mcp_source(server, connect_seconds=5), state=ServerState.UNAVAILABLE) as source,
    ):
        status = await until(source, ServerState.UNAVAILABLE)

    assert status.failure is not None
    assert words in status.failure.message


@pytest.mark.parametrize("opening", [b"", OPENED, OPENED + b": wait\n\n"])
async def test_a_server_that_names_no_address_for_messages_is_given_up(opening: bytes) -> None:
    async with (
        _server(opening) as server,
        running(mcp_source(server, connect_seconds=0.2), state=ServerState.UNAVAILABLE) as source,
    ):
        status = await until(source, ServerState.UNAVAILABLE)

    assert status.failure is not None
    assert status.failure.reason == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("tool", ["comments", "blank_lines", "strange_answers"])
async def test_a_flood_of_what_answers_nothing_is_read_at_a_bearable_pace(tool: str) -> None:
    loop = asyncio.get_running_loop()
    async with _server() as server, running(mcp_source(server)) as source:
        began = loop.time()
        answer = await output(source, invocation(tool))

    assert answer.parts == (Text(text=tool),)
    assert loop.time() - began >= 0.8  # what 60,000 lines, or 200 messages too many, take at the least


async def test_an_event_without_end_is_given_up_with_its_call_and_the_stream_is_opened_again() -> None:
    async with _server() as server, running(mcp_source(server)) as source:
        with pytest.raises(ToolResultTooLarge):
            await updates(source, invocation("endless_data"))

        assert (await output(source, invocation("fine"))).parts == (Text(text="fine"),)
