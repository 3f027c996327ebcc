"""The MCP transport over a child process's standard streams.

Ours instead of the SDK's because messages must be bounded (the SDK's reader takes any length, in quadratic time), the
child must die with us and gets a smaller environment, and its end must be noticed while nobody waits for an answer.
"""

import asyncio
import re
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Self

import anyio
from mcp.client import Transport
from mcp.shared.message import SessionMessage

from threadmesh.errors import ToolConnectionLost
from tools_svc.adapters import child_process, json_rpc
from tools_svc.adapters.framing import LARGEST_MESSAGE_BYTES, Framer, Oversized
from tools_svc.adapters.lifeline import Lifeline
from tools_svc.adapters.newest_progress import newest_progress
from tools_svc.adapters.pace import Restraint
from tools_svc.adapters.server_config import StdioServer

_LARGEST_DISCARDED_BYTES = 64 * 1024 * 1024
_CHUNK_BYTES = 256 * 1024
_EXIT_SECONDS = 0.05
_OBJECT = re.compile(rb'\s*\{\s*["}]')
"""How an object of JSON begins; what other programs print as objects does not."""


def stdio_transport(name: str, server: StdioServer, lifeline: Lifeline) -> Transport:
    """Make a transport that starts the server when it is entered and ends it when it is left."""
    return _transport(name, server, lifeline)


@asynccontextmanager
async def _transport(name: str, server: StdioServer, lifeline: Lifeline) -> AsyncGenerator[Any]:
    process = await child_process.start(server)
    incoming, outgoing = _Incoming(_messages(name, process, lifeline)), _Outgoing(process, lifeline)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child_process.log_errors, name, process)
            try:
                yield incoming, outgoing
            finally:
                tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await child_process.stop(process)


class _Stream:
    """What the SDK wants of a stream besides its messages."""

    async def aclose(self) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class _Incoming(_Stream):
    """The SDK's `ReadStream` of what the server says. The SDK's task reads the pipe itself: each task more costs."""

    def __init__(self, messages: AsyncGenerator[SessionMessage | Exception]) -> None:
        self._messages = messages

    async def receive(self) -> SessionMessage | Exception:
        try:
            return await anext(self._messages)
        except StopAsyncIteration as error:
            raise anyio.EndOfStream from error

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        return await anext(self._messages)

    async def aclose(self) -> None:
        await self._messages.aclose()


class _Outgoing(_Stream):
    """The SDK's `WriteStream` to the server. While that does not read, one message waits in the pipe, no more."""

    def __init__(self, process: Process, lifeline: Lifeline) -> None:
        assert process.stdin is not None
        self._pipe = process.stdin
        self._lifeline = lifeline
        self._turn = asyncio.Lock()

    async def send(self, item: SessionMessage) -> None:
        try:
            async with self._turn:
                text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
                self._pipe.write(text.encode() + b"\n")
                await self._pipe.drain()
        except OSError as error:
            self._lifeline.cut(ToolConnectionLost())
            raise anyio.BrokenResourceError from error


async def _messages(name: str, process: Process, lifeline: Lifeline) -> AsyncGenerator[SessionMessage | Exception]:
    """Give what the server says until it ends, and then say why."""
    assert process.stdout is not None
    framer, restraint = Framer(LARGEST_MESSAGE_BYTES), Restraint()
    try:
        while chunk := await process.stdout.read(_CHUNK_BYTES):
            for line in newest_progress(framer.feed(chunk)):
                if (message := _message(name, line)) is not None:
                    await restraint.pass_on(message.message)
                    yield message
                    await asyncio.sleep(0)  # others go on, however much came at once
            await restraint.read(len(chunk), lost=framer.pending > LARGEST_MESSAGE_BYTES)
            if framer.pending > _LARGEST_DISCARDED_BYTES:
                if (message := json_rpc.message(name, framer.abandoned())) is not None:
                    yield message
                raise ToolConnectionLost("The tool's server sent a message without end.")
        await child_process.exited(process, _EXIT_SECONDS)
        raise ToolConnectionLost(f"The tool's server ended{_status(process)}.")
    except ToolConnectionLost as error:
        lifeline.cut(error)


def _message(name: str, line: bytes | Oversized) -> SessionMessage | None:
    if isinstance(line, bytes) and _OBJECT.match(line) is None:
        json_rpc.overlooked(name, line)
        return None
    return json_rpc.message(name, line)


def _status(process: Process) -> str:
    code = process.returncode
    if code is None:
        return ""
    return f" by signal {-code}" if code < 0 else f" with status {code}"
