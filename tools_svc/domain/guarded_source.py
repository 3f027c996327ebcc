"""A server that fails too often is left alone for a while."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

from threadmesh.breaker import Breaker, BreakerState, Permit
from threadmesh.clock import Clock
from threadmesh.errors import (
    DeadlineExceeded,
    MeshError,
    ToolDefinitionChanged,
    ToolServerResting,
    ToolServerUnavailable,
    Unavailable,
)
from tools_svc.domain.call import Asked, Invocation, Sent, ToolOutput, Update
from tools_svc.domain.library import FilledPrompt, ResourceContent
from tools_svc.domain.ports import PolicyListener, ToolSource
from tools_svc.domain.tool import ServerState
from tools_svc.domain.wrapped_source import WrappedSource

_PROBE_SECONDS = 1.0
"""What callers are told to wait while a probe is under way, of which nobody knows how long it takes."""

_ALL_OF_ITS_TIME = 0.95
"""The share of its time after which a call that is given up counts as one that ran out of it."""


class GuardedSource(WrappedSource):
    """A `ToolSource` behind a breaker; raises `ToolServerResting` while that is open.

    Lost connections, servers that cannot be reached and calls that got no sign of life in all of their time are
    failures. Whatever a server answers, errors included, is none, and neither is a call that its caller gave up or one
    that a source refuses which says itself that it is not ready.
    """

    def __init__(self, inner: ToolSource, breaker: Breaker, *, clock: Clock, listener: PolicyListener) -> None:
        super().__init__(inner)
        self._breaker = breaker
        self._clock = clock
        self._listener = listener
        self._told = breaker.state

    async def read(self, uri: str) -> tuple[ResourceContent, ...]:
        """Read a resource. How that ends says nothing about the server's calls."""
        self.check()
        return await super().read(uri)

    async def prompt(self, name: str, arguments: Mapping[str, str]) -> FilledPrompt:
        """Fill in a prompt. How that ends says nothing about the server's calls."""
        self.check()
        return await super().prompt(name, arguments)

    def check(self) -> None:
        """Raise `ToolServerResting` if no call may pass now."""
        if self._breaker.wait_seconds != 0:
            raise self._resting()

    async def call(self, invocation: Invocation) -> AsyncGenerator[Update, None]:
        """Run one call."""
        permit = self._enter()
        verdict: Callable[[Permit], None] = self._breaker.dropped
        silent, began = True, self._clock.monotonic()
        try:
            async with aclosing(self._inner.call(invocation)) as updates:
                async for update in updates:
                    silent = silent and isinstance(update, Sent)
                    if isinstance(update, ToolOutput | Asked):
                        verdict = self._breaker.succeeded
                    yield update
        except MeshError as error:
            verdict = self._verdict(error)
            raise
        except (asyncio.CancelledError, GeneratorExit):
            if silent and self._clock.monotonic() - began >= _ALL_OF_ITS_TIME * invocation.timeout_seconds:
                verdict = self._breaker.failed
            raise
        finally:
            verdict(permit)
            self._tell()

    def _verdict(self, error: MeshError) -> Callable[[Permit], None]:
        if isinstance(error, ToolServerUnavailable) and self.status.state is not ServerState.READY:
            return self._breaker.dropped
        if isinstance(error, ToolDefinitionChanged):
            return self._breaker.dropped
        return self._breaker.failed if isinstance(error, (Unavailable, DeadlineExceeded)) else self._breaker.succeeded

    def _enter(self) -> Permit:
        permit = self._breaker.enter()
        if permit is None:
            raise self._resting()
        self._tell()
        return permit

    def _resting(self) -> ToolServerResting:
        seconds = self._breaker.wait_seconds
        if seconds is None:
            seconds = _PROBE_SECONDS
        message = f"The tool server {self.name} failed too often and is left alone; try again in {seconds:.1f} s."
        return ToolServerResting(message, server=self.name, retry_after_seconds=f"{seconds:.3f}").after(seconds)

    def _tell(self) -> None:
        state: BreakerState = self._breaker.state
        if state is not self._told:
            self._told = state
            self._listener.breaker(self.name, state, self._breaker.wait_seconds or 0.0)
