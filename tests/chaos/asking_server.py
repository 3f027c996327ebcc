"""A tool server that asks a person or a model and then takes effect: `asking_server held|stateless LEDGER WORDS`.

Each effect leaves a line in the ledger, and another one, with the word that it was told, among the words.
"""

import asyncio
import os
import sys
from typing import Annotated

from mcp.server.mcpserver import (
    AcceptedElicitation,
    Elicit,
    ElicitationResult,
    MCPServer,
    RequestStateSecurity,
    Resolve,
    Sample,
)
from mcp.types import CreateMessageResult, SamplingMessage, TextContent
from pydantic import BaseModel

from tests.servers.questioner import serve

# A key of its own lets the server read its state after a restart.
server = MCPServer("asking", request_state_security=RequestStateSecurity(keys=[b"a key of the tests" * 2]))


class Consent(BaseModel):
    """What a person fills in."""

    word: str


async def consent() -> Elicit[Consent]:
    """Ask a person."""
    return Elicit("What is your word?", Consent)


async def advice() -> Sample:
    """Ask a model."""
    said = SamplingMessage(role="user", content=TextContent(text="What is your word?"))
    return Sample([said], max_tokens=20)


@server.tool()
async def act(name: str, said: Annotated[ElicitationResult[Consent], Resolve(consent)]) -> str:
    """Take effect once a person agrees."""
    return _done(name, said.data.word) if isinstance(said, AcceptedElicitation) else f"nobody wants {name}"


@server.tool()
async def act_on_advice(name: str, said: Annotated[CreateMessageResult, Resolve(advice)]) -> str:
    """Take effect in a model's words."""
    return _done(name, getattr(said.content, "text", "").replace(" ", "-"))


def _done(name: str, word: str) -> str:
    for place, line in zip(sys.argv[2:4], (name, f"{name}={word}"), strict=True):
        with open(place, "a") as file:  # noqa: PTH123  # what counts is that it is there
            file.write(f"{line}\n")
            file.flush()
            os.fsync(file.fileno())
    return f"did {name}"


if __name__ == "__main__":
    asyncio.run(serve(server, held=sys.argv[1] == "held"))
