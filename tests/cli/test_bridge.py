"""`threadmesh mcp` as a process: what it writes, and how it ends."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from tests.cli.conftest import CommandLine
from tests.cli.servers import serving, tools_service
from threadmesh.cli.ports import free_port

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}


@asynccontextmanager
async def _bridge(target: str) -> AsyncIterator[Process]:
    command = (sys.executable, "-m", "threadmesh.cli", "mcp", "--target", target)
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=os.environ)
    try:
        async with asyncio.timeout(60):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _asked(process: Process, *lines: bytes | dict[str, Any]) -> dict[str, Any]:
    """Write lines and give the next message."""
    assert process.stdin is not None
    assert process.stdout is not None
    for line in lines:
        process.stdin.write((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n")
    answer: dict[str, Any] = json.loads(await process.stdout.readline())
    return answer


def test_without_a_tools_service_there_is_one_line_and_status_3(threadmesh: CommandLine) -> None:
    ran = threadmesh("mcp", "--target", f"127.0.0.1:{free_port('127.0.0.1')}")

    assert ran.status == 3
    assert ran.out == ""
    assert ran.err.startswith("error: The tools service does not answer at 127.0.0.1:")
    assert len(ran.err.splitlines()) == 1


async def test_only_the_protocol_is_written_and_the_end_of_the_input_ends_it() -> None:
    async with serving(tools_service()) as target, _bridge(target) as process:
        hello = await _asked(process, INITIALIZE)
        listed = await _asked(
            process,
            {"jsonrpc": "2.0", "method": "notifications/initialized"},
            {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
        )
        left, _ = await process.communicate(b"")  # which closes the input

    assert hello["result"]["serverInfo"]["name"] == "threadmesh"
    assert hello["result"]["capabilities"]["tools"] == {"listChanged": True}
    assert listed["result"]["tools"][0]["name"] == "demo__echo"
    assert left == b""
    assert process.returncode == 0


async def test_what_is_no_message_is_passed_over() -> None:
    async with serving(tools_service()) as target, _bridge(target) as process:
        hello = await _asked(process, b"{", b"\xff\xfe", b"[" * 100_000, b"", b'{"id": 3}', INITIALIZE)

    assert hello["id"] == 1


async def test_a_service_that_goes_away_costs_its_calls_and_is_used_again_when_it_is_back() -> None:
    target = f"127.0.0.1:{free_port('127.0.0.1')}"
    async with AsyncExitStack() as stack:
        async with serving(tools_service(), address=target):
            process = await stack.enter_async_context(_bridge(target))
            await _asked(process, INITIALIZE)
            assert not await _failed(process, 1)
        while not await _failed(process, 2):  # the channel may not have noticed yet
            await asyncio.sleep(0.05)
        async with serving(tools_service(), address=target):
            while await _failed(process, 3):
                await asyncio.sleep(0.05)


async def _failed(process: Process, number: int) -> bool:
    params = {"name": "demo__echo", "arguments": {"text": "a"}}
    answer = await _asked(process, {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})
    return bool(answer["result"]["isError"])
