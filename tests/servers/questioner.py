"""A tool server by the SDK whose tools ask a person, a model, or both: `questioner.py stateless|held`.

The SDK asks as the connection has it: in the place of an answer (MCP 2026-07-28), or beside the call (before).
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import anyio
from mcp.server.mcpserver import (
    AcceptedElicitation,
    Context,
    Elicit,
    ElicitationResult,
    MCPServer,
    RequestStateSecurity,
    Resolve,
    Sample,
)
from mcp.server.stdio import stdio_server
from mcp.types import CreateMessageResult, SamplingMessage, TextContent
from pydantic import BaseModel

# A key of its own lets the server read its state after a restart.
server = MCPServer("questioner", request_state_security=RequestStateSecurity(keys=[b"a key of the tests" * 2]))


class Booking(BaseModel):
    """What a person fills in."""

    seats: int
    room: Literal["red", "blue"] = "red"


class Agreement(BaseModel):
    """What a person is asked besides."""

    agreed: bool


async def booking() -> Elicit[Booking]:
    """Ask a person."""
    return Elicit("How many seats?", Booking)


async def agreement() -> Elicit[Agreement]:
    """Ask a person something else."""
    return Elicit("Do you agree?", Agreement)


async def greeting() -> Sample:
    """Ask a model."""
    said = SamplingMessage(role="user", content=TextContent(text="Say hello."))
    return Sample([said], max_tokens=20, system_prompt="Be brief.")


@server.tool()
async def book(title: str, booked: Annotated[ElicitationResult[Booking], Resolve(booking)]) -> str:
    """Book a room for which a person says how many seats there must be."""
    if isinstance(booked, AcceptedElicitation):
        return f"{title}: {booked.data.seats} in {booked.data.room}"
    return f"{title}: {booked.action}"


@server.tool()
async def sign(
    booked: Annotated[Booking, Resolve(booking)],
    agreed: Annotated[Agreement, Resolve(agreement)],
    said: Annotated[CreateMessageResult, Resolve(greeting)],
) -> str:
    """Ask a person twice and a model once."""
    return f"{booked.seats} {agreed.agreed} {getattr(said.content, 'text', '')}"


@server.tool()
async def greet(said: Annotated[CreateMessageResult, Resolve(greeting)]) -> str:
    """Greet in a model's words."""
    return f"{said.model} says {getattr(said.content, 'text', '')}"


@server.tool()
async def declared(ctx: Context[Any, Any]) -> str:
    """Tell what the client lets a server ask."""
    params = ctx.session.client_params
    return params.capabilities.model_dump_json(exclude_none=True) if params else ""


class Older:
    """Standard input without what servers of older revisions know nothing of, so that a client speaks one of these."""

    def __init__(self) -> None:
        self._lines = anyio.wrap_file(sys.stdin)

    async def __aiter__(self) -> AsyncIterator[str]:
        async for line in self._lines:
            message = json.loads(line)
            discovers = message.get("method") == "server/discover"
            yield json.dumps({"jsonrpc": "2.0", "id": message["id"], "method": "made/up"}) if discovers else line


async def serve(served: MCPServer[Any], *, held: bool) -> None:
    """Serve over standard input and output, in an older revision if calls are to be held while they ask."""
    lowlevel = served._lowlevel_server
    stdin: Any = Older() if held else None
    async with stdio_server(stdin=stdin) as (incoming, outgoing):
        await lowlevel.run(incoming, outgoing, lowlevel.create_initialization_options())


if __name__ == "__main__":
    asyncio.run(serve(server, held=sys.argv[1] == "held"))
