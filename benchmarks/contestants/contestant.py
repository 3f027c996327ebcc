"""A server that is measured, and how it is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.failures import RequestFailed
from benchmarks.load.clients import Batch, Body, send
from benchmarks.load.http import Endpoint
from benchmarks.processes import pause, resume
from benchmarks.prompts import Message, user

MESH = "mesh"
FORGETFUL_MESH = "mesh-in-memory"
LLAMA_SERVER = "llama-server"
PYTHON_SERVER = "llama-cpp-python"
_TRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A running server.

    `root` is the process whose descendants are all of it, `engine` the one that computes. `full_length` holds the
    fields by which it is told to go on past the end of an answer. `settings` says for the report how it was started.
    """

    name: str
    endpoint: Endpoint
    root: int
    engine: int
    settings: str
    full_length: Mapping[str, Any] = field(default_factory=dict)

    def ask(self, messages: Sequence[Message], *, tokens: int, full_length: bool = True, **fields: Any) -> Body:
        """Write the body of a request for so many tokens, drawn greedily and without penalties."""
        return {
            "messages": list(messages),
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": tokens,
            "temperature": 0,
            "repeat_penalty": 1.0,
            **(self.full_length if full_length else {}),
            **fields,
        }

    async def send(self, bodies: Sequence[Body], *, clients: int = 1) -> Batch:
        """Send the bodies with so many clients at once. Raises `RequestFailed`."""
        try:
            return await send(self.endpoint, bodies, clients=clients)
        except RequestFailed as error:
            raise RequestFailed(f"{self.name}: {error}") from error

    async def wake(self) -> None:
        """Let it go on and answer something that is not measured. Raises `RequestFailed` if it never does."""
        resume(self.root)
        for _ in range(_TRIES - 1):
            try:
                await self._greet()
            except RequestFailed:  # its connections may have timed out while it was stopped
                continue
            return
        await self._greet()

    def sleep(self) -> None:
        """Stop all its processes where they are."""
        pause(self.root)

    async def _greet(self) -> None:
        await self.send([self.ask([user("Hello")], tokens=4)])
