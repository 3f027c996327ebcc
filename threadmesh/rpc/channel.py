"""A channel to another unit, as every caller opens one."""

import json
from collections.abc import Sequence
from typing import Any, Self

import grpc

from threadmesh.links.client import SecuredChannels
from threadmesh.links.link import PLAINTEXT, ClientLink
from threadmesh.rpc import deadline
from threadmesh.rpc.ids import as_metadata
from threadmesh.rpc.keepalive import KEEPALIVE, Keepalive
from threadmesh.rpc.server import MESSAGE_BYTES
from threadmesh.rpc.status import translated, translated_stream

_READS = {
    "threadmesh.api.inference.v1.InferenceService": ["CountTokens", "Detokenize", "Tokenize"],
    "threadmesh.api.tools.v1.ToolsService": ["ListResources", "ListPrompts"],
    "threadmesh.api.context.v1.ThreadsService": [
        "GetThread",
        "ListThreads",
        "ListItems",
        "GetRetention",
    ],
    "threadmesh.api.context.v1.RunsService": ["GetRun", "ListRuns", "ListWaitingInput", "ListCalls"],
    "grpc.health.v1.Health": ["Check"],
}
_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    # Only reads are repeated here, and of those only what no caller repeats itself (docs/overload.md); whoever writes
    # decides for himself what a lost answer means.
    "methodConfig": [
        {
            "name": [
                {"service": service, "method": method} for service, methods in _READS.items() for method in methods
            ],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
}
_OPTIONS = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    # A unit that restarts is back within seconds; the default of up to two minutes would outlast it.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Channels of one process would else share connections, and with them the pauses after each other's failures.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
]


def connect(
    target: str, link: ClientLink = PLAINTEXT, *, peer: str = "", keepalive: Keepalive = KEEPALIVE
) -> "MeshChannel":
    """Open a channel to `target` (`host:port`); use it as an async context manager.

    Each call carries the ids bound to the calling task and takes no longer than the running request has left. On
    loopback, where a host's name tells nothing, the server's certificate must be that of `peer`. Raises
    `ConfigurationError` where the link would leave this machine without protection, or its files cannot be used.
    """
    return MeshChannel(SecuredChannels(target, link, options=[*_OPTIONS, *keepalive.options], peer=peer))


class MeshChannel(grpc.aio.Channel):
    """A channel for the generated stubs.

    It wraps the calls themselves: interceptors of grpc.aio lose the cancellation of streams.
    """

    def __init__(self, channels: SecuredChannels) -> None:
        self._channels = channels

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Close the channel; running calls get `grace` seconds."""
        await self._channels.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002  # grpc's signature
        """Give the connection's state."""
        return self._channels.current().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the connection's state is another one."""
        await self._channels.current().wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the peer is connected."""
        await self._channels.current().channel_ready()

    def unary_unary(self, *arguments: Any, **options: Any) -> Any:
        """Make a callable of one request and one response."""
        return _Call(self._channels, "unary_unary", arguments, options)

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        """Make a callable of one request and many responses."""
        return _Call(self._channels, "unary_stream", arguments, options)

    def stream_unary(self, *arguments: Any, **options: Any) -> Any:
        """Make a callable of many requests and one response."""
        return _Call(self._channels, "stream_unary", arguments, options)

    def stream_stream(self, *arguments: Any, **options: Any) -> Any:
        """Make a callable of many requests and many responses."""
        return _Call(self._channels, "stream_stream", arguments, options)


class _Call:
    """A callable of whichever channel is the current one; made once for each."""

    def __init__(self, channels: SecuredChannels, kind: str, arguments: Any, options: Any) -> None:
        self._channels = channels
        self._recipe = (kind, arguments, options)
        self._channel = channels.current()
        self._call = self._made()

    def __call__(
        self,
        request: Any = None,
        *,
        timeout: float | None = None,
        metadata: Sequence[tuple[str, str]] | None = None,
        **options: Any,
    ) -> Any:
        if (channel := self._channels.current()) is not self._channel:
            self._channel = channel
            self._call = self._made()
        sent = [*(metadata or ()), *as_metadata(), *self._channels.authorization()]
        return self._call(request, timeout=deadline.budget(timeout), metadata=sent, **options)

    def _made(self) -> Any:
        kind, arguments, options = self._recipe
        return getattr(self._channel, kind)(*arguments, **options)


__all__ = ["MeshChannel", "connect", "translated", "translated_stream"]
