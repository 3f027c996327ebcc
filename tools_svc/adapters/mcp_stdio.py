"""The MCP transport over a child process's standard streams.

Ours instead of the SDK's because messages must be bounded (the SDK's reader takes any length, in quadratic time), the
child must die with us and gets a smaller environment, and its end must be noticed while nobody waits for an answer.
"""

from asyncio.subprocess import Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import structlog
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client import Transport
from mcp.shared.message import SessionMessage

from threadmesh.errors import ToolConnectionLost
from tools_svc.adapters import child_process, json_rpc
from tools_svc.adapters.framing import LARGEST_MESSAGE_BYTES, Framer, Oversized
from tools_svc.adapters.lifeline import Lifeline
from tools_svc.adapters.newest_progress import newest_progress
from tools_svc.adapters.pace import Restraint
from tools_svc.adapters.server_config import StdioServer

log = structlog.get_logger()

_LARGEST_DISCARDED_BYTES = 64 * 1024 * 1024
_CHUNK_BYTES = 256 * 1024
_EXIT_SECONDS = 0.05

Incoming = MemoryObjectSendStream[SessionMessage | Exception]
Outgoing = MemoryObjectReceiveStream[SessionMessage]


def stdio_transport(name: str, server: StdioServer, lifeline: Lifeline) -> Transport:
    """Make a transport that starts the server when it is entered and ends it when it is left."""
    return _transport(name, server, lifeline)


@asynccontextmanager
async def _transport(name: str, server: StdioServer, lifeline: Lifeline) -> AsyncGenerator[Any]:
    process = await child_process.start(server)
    incoming, session_reads = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    session_writes, outgoing = anyio.create_memory_object_stream[SessionMessage](0)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_read, name, process, incoming, lifeline)
            tasks.start_soon(_write, process, outgoing, lifeline)
            tasks.start_soon(child_process.log_errors, name, process)
            try:
                yield session_reads, session_writes
            finally:
                tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await child_process.stop(process)
        for stream in (incoming, session_reads, session_writes, outgoing):
            stream.close()


async def _read(name: str, process: Process, incoming: Incoming, lifeline: Lifeline) -> None:
    assert process.stdout is not None
    framer, restraint = Framer(LARGEST_MESSAGE_BYTES), Restraint()
    with incoming:
        try:
            while chunk := await process.stdout.read(_CHUNK_BYTES):
                for line in newest_progress(framer.feed(chunk)):
                    if (message := _message(name, line)) is not None:
                        await restraint.pass_on(message.message)
                        await incoming.send(message)
                await restraint.read(len(chunk), lost=framer.pending > LARGEST_MESSAGE_BYTES)
                if framer.pending > _LARGEST_DISCARDED_BYTES:
                    if (message := json_rpc.message(name, framer.abandoned())) is not None:
                        await incoming.send(message)
                    raise ToolConnectionLost("The tool's server sent a message without end.")
            await child_process.exited(process, _EXIT_SECONDS)
            raise ToolConnectionLost(f"The tool's server ended{_status(process)}.")
        except ToolConnectionLost as error:
            lifeline.cut(error)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            lifeline.cut(ToolConnectionLost())


def _message(name: str, line: bytes | Oversized) -> SessionMessage | None:
    if isinstance(line, bytes) and not line.lstrip().startswith(b"{"):
        if line.strip():
            log.warning("tool_server.noise", server=name, line=line[:200].decode(errors="replace"))
        return None
    return json_rpc.message(name, line)


async def _write(process: Process, outgoing: Outgoing, lifeline: Lifeline) -> None:
    assert process.stdin is not None
    with outgoing:
        try:
            async for item in outgoing:
                text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
                process.stdin.write(text.encode() + b"\n")
                await process.stdin.drain()
        except (OSError, anyio.ClosedResourceError):
            lifeline.cut(ToolConnectionLost())


def _status(process: Process) -> str:
    code = process.returncode
    if code is None:
        return ""
    return f" by signal {-code}" if code < 0 else f" with status {code}"
