"""A server's calls in line: so many at once, and so many a second."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager, nullcontext
from dataclasses import replace

from threadmesh.clock import Clock
from threadmesh.errors import DeadlineExceeded, ToolQueueFull
from tools_svc.domain.call import Invocation, Update, Waiting
from tools_svc.domain.library import FilledPrompt, ResourceContent
from tools_svc.domain.policy import ServerPolicy
from tools_svc.domain.ports import PolicyListener, ToolSource
from tools_svc.domain.token_bucket import Rate
from tools_svc.domain.turnstile import Gate, Pacer, Sleep, Turnstile
from tools_svc.domain.wrapped_source import WrappedSource


class QueuedSource(WrappedSource):
    """A `ToolSource` whose calls wait for their turn, first come, first served.

    A call passes first what limits its tool, so that calls that must wait for it leave their server to others. `check`
    is asked before a call gets in line, and raises if that is useless.
    """

    def __init__(
        self,
        inner: ToolSource,
        policy: ServerPolicy,
        *,
        clock: Clock,
        listener: PolicyListener,
        check: Callable[[], None],
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        super().__init__(inner)
        self._clock = clock
        self._listener = listener
        self._check = check
        self._sleep = sleep
        self._waiting = 0
        self._most_waiting = policy.max_waiting
        self._seconds = policy.timeout_seconds
        self._of_server = self._turnstiles(self.name, policy.max_parallel, policy.rate)
        self._of_tools = {
            tool: self._turnstiles(f"{self.name}'s tool {tool}", each.max_parallel, each.rate)
            for tool, each in policy.tools.items()
        }

    async def call(self, invocation: Invocation) -> AsyncGenerator[Update, None]:
        """Run one call when it is its turn.

        Raises `ToolRateLimited` if that would come too late, and `ToolQueueFull` if too many wait.
        """
        self._check()
        deadline = self._clock.monotonic() + invocation.timeout_seconds
        async with AsyncExitStack() as passed:
            for turnstile in self._of_tools.get(invocation.tool, []) + self._of_server:
                if turnstile.free:
                    await turnstile.enter(deadline)
                else:
                    self._check_room()
                    yield Waiting()
                    with self._counted():
                        await turnstile.enter(deadline)
                passed.callback(turnstile.leave)
            left = replace(invocation, timeout_seconds=max(0.0, deadline - self._clock.monotonic()))
            async with aclosing(self._inner.call(left)) as updates:
                async for update in updates:
                    yield update

    async def read(self, uri: str) -> tuple[ResourceContent, ...]:
        """Read a resource when it is its turn, in the time that a call may take."""
        async with self._turn():
            return await super().read(uri)

    async def prompt(self, name: str, arguments: Mapping[str, str]) -> FilledPrompt:
        """Fill in a prompt when it is its turn, in the time that a call may take."""
        async with self._turn():
            return await super().prompt(name, arguments)

    @asynccontextmanager
    async def _turn(self) -> AsyncGenerator[None, None]:
        self._check()
        deadline = self._clock.monotonic() + self._seconds
        try:
            async with asyncio.timeout(self._seconds), AsyncExitStack() as passed:
                for turnstile in self._of_server:
                    if not turnstile.free:
                        self._check_room()
                    with nullcontext() if turnstile.free else self._counted():
                        await turnstile.enter(deadline)
                    passed.callback(turnstile.leave)
                yield
        except TimeoutError as error:
            raise DeadlineExceeded(f"The server {self.name} did not answer within {self._seconds:g} s.") from error

    def _check_room(self) -> None:
        if self._waiting >= self._most_waiting:
            raise ToolQueueFull(f"{self._waiting} calls wait for {self.name} already; try again in a moment.")

    def _turnstiles(self, name: str, most: int | None, rate: Rate | None) -> list[Turnstile]:
        turnstiles: list[Turnstile] = []
        if most is not None:
            turnstiles.append(Gate(most))
        if rate is not None:
            turnstiles.append(Pacer(rate, name=name, clock=self._clock, sleep=self._sleep))
        return turnstiles

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        self._waiting += change
        self._listener.waiting(self.name, self._waiting)
