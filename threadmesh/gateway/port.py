"""What a gateway needs of the tools service."""

from collections.abc import AsyncGenerator, Mapping
from typing import Protocol

from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.conversation import CallFinished, CallProgress, CallStarted, ToolCall


class ToolsService(Protocol):
    """The tools service, in this process or elsewhere. Every error is a `MeshError`."""

    async def catalogue(self) -> pb.Catalogue:
        """Give the present catalogue."""
        ...

    def changes(self) -> AsyncGenerator[pb.Catalogue, None]:
        """Give the present catalogue, then each later one, without end; an outage is waited out."""
        ...

    def execute(self, call: ToolCall) -> AsyncGenerator[CallStarted | CallProgress | CallFinished, None]:
        """Run a call of nobody's run to its end, which is the last event.

        Raises `Unreachable` only if nothing of it has reached the service; after any other `Unavailable` the call may
        have taken effect.
        """
        ...

    async def cancel(self, call_id: str) -> None:
        """Stop a call as well as its tool allows; one that has ended, or that nobody knows, is let be."""
        ...

    async def resources(self) -> pb.ListResourcesResponse:
        """List what can be read."""
        ...

    async def read(self, server: str, uri: str) -> pb.ReadResourceResponse:
        """Read a resource by its server's own URI."""
        ...

    def watch(self, server: str, uri: str) -> AsyncGenerator[str, None]:
        """Give the server's own URI of a resource once it is followed, then at each change; an outage is waited out."""
        ...

    async def prompts(self) -> pb.ListPromptsResponse:
        """List the prompts."""
        ...

    async def prompt(self, name: str, arguments: Mapping[str, str]) -> pb.GetPromptResponse:
        """Fill in a prompt."""
        ...
