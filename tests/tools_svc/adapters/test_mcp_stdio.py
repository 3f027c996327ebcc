"""What the transport over pipes holds for a server that does not read."""

import asyncio
import sys
from typing import Any, cast

import anyio
import pytest
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCNotification

from threadmesh.errors import ToolConnectionLost
from tools_svc.adapters.lifeline import Lifeline
from tools_svc.adapters.mcp_stdio import stdio_transport
from tools_svc.adapters.server_config import StdioServer

LARGE = 1 << 20
SENT = 8
DEAF = "import signal; signal.pause()"
HEARING = f"""
import json, sys
for line in sys.stdin:
    sent = json.loads(line)
    assert len(sent["params"]["text"]) == {LARGE}
    print(json.dumps({{"jsonrpc": "2.0", "method": sent["method"]}}), flush=True)
"""


class Counted(JSONRPCNotification):
    """A message that tells when it is written down, which is when it takes room."""

    def model_dump_json(self, **options: Any) -> str:
        written.append(self.method)
        return super().model_dump_json(**options)


written: list[str] = []


def messages() -> list[SessionMessage]:
    written.clear()
    params = {"text": "x" * LARGE}
    return [SessionMessage(Counted(jsonrpc="2.0", method=f"m{number}", params=params)) for number in range(SENT)]


def server(code: str) -> StdioServer:
    return StdioServer(command=sys.executable, args=("-c", code))


async def test_of_all_that_is_sent_to_a_server_that_does_not_read_one_message_takes_room() -> None:
    async with stdio_transport("deaf", server(DEAF), Lifeline()) as (_, outgoing):
        sending = [asyncio.create_task(outgoing.send(message)) for message in messages()]
        for _ in range(100):
            await asyncio.sleep(0)
        held, ended = list(written), [each for each in sending if each.done()]
        for each in sending:
            each.cancel()
        await asyncio.gather(*sending, return_exceptions=True)

    assert (held, ended) == (["m0"], [])


async def test_what_waited_arrives_whole_and_in_order_once_the_server_reads() -> None:
    async with stdio_transport("hearing", server(HEARING), Lifeline()) as (incoming, outgoing), asyncio.timeout(30):
        await asyncio.gather(*map(outgoing.send, messages()))
        heard = [cast(Any, await anext(incoming)).message.method for _ in range(SENT)]

    assert heard == [f"m{number}" for number in range(SENT)]


async def test_whoever_sends_to_a_server_that_has_ended_is_told_and_so_is_the_owner() -> None:
    lifeline = Lifeline()
    async with stdio_transport("ended", server("pass"), lifeline) as (incoming, outgoing), asyncio.timeout(30):
        assert [message async for message in incoming] == []
        with pytest.raises(anyio.BrokenResourceError):
            await asyncio.gather(*map(outgoing.send, messages()))

    assert isinstance(lifeline.reason, ToolConnectionLost)
