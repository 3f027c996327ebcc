"""What all requests that are answered by a run have in common: how it begins, how it is read, and who has left."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from fastapi import Request
from starlette.responses import Response

from facade.domain.events import Run, RunEvent, RunFinished
from facade.domain.foresight import with_window
from facade.domain.limits import Limits, Mesh
from facade.domain.metered import expected_tokens
from facade.domain.records import NewRun
from facade.domain.tokens import with_tokens
from facade.edge import sse
from facade.edge.admission import Admission
from facade.edge.attempt import attempted, may_be_answered_anew
from facade.edge.connection import was_cut
from facade.edge.errors import response_of
from facade.edge.executor import Executor
from facade.edge.keys import require, stored_limit
from facade.edge.leaving import LEFT, unless_gone
from facade.edge.metrics import FacadeMetrics
from facade.edge.readers import Reader, Readers, Seat
from threadmesh.crash_points import crash_point
from threadmesh.errors import ThreadChanged
from threadmesh.keys.key import Scope

Result = TypeVar("Result")
Log = AsyncGenerator[Sequence[RunEvent], None]

_PATIENCE = 2
"""Signs of life to wait for before a stream begins without knowing whether its run can succeed."""


class Answering:
    """Begins runs for requests and shows their logs; streams are never silent for longer than `keepalive_seconds`."""

    def __init__(
        self,
        mesh: Mesh,
        limits: Limits,
        executor: Executor,
        admission: Admission,
        metrics: FacadeMetrics,
        *,
        keepalive_seconds: float,
    ) -> None:
        self._context, self._inference = mesh.context, mesh.inference
        self._limits = limits
        self._executor, self._admission = executor, admission
        self._metrics = metrics
        self._keepalive_seconds = keepalive_seconds
        self._readers = Readers()

    async def start(
        self, new: NewRun, request: Request, *, elsewhere: Callable[[], Awaitable[NewRun]] | None = None
    ) -> tuple[Run, bool]:
        """Make the run of a request and begin it, or find the one that an earlier sending of it has made (then True).

        What came to nothing is tried anew, unless a tool was called: that could happen twice. Where another run has its
        number by now, the one `elsewhere` is made. Raises `InsufficientScope`, `RateLimitExceeded`, `Overloaded` and
        `InsufficientQuota` before anything is kept.
        """
        if new.parameters.server_tools:
            require(request, Scope.TOOLS)
        await self._admission.unless_refused(request, model=new.parameters.model, models=self._inference)
        with self._admission.admit(request, tokens=expected_tokens(new)) as held:
            try:
                run, replayed = await self._found(new, request)
            except ThreadChanged:
                if elsewhere is None:
                    raise
                run, replayed = await self._found(await elsewhere(), request)
            if not replayed:
                self._executor.start(run, on_end=held.pop_all().close)
        return run, replayed

    async def _found(self, asked: NewRun, request: Request) -> tuple[Run, bool]:
        parameters = replace(asked.parameters, caller=request.state.key)
        called = replace(asked, parameters=parameters, stored_limit=stored_limit(request))
        counted = await with_tokens(called, self._inference)
        new = attempted(await with_window(counted, self._inference, self._limits), request)
        run, replayed = await self._context.start(new, claim=True)
        if replayed and may_be_answered_anew(run, new, request) and not await self._context.calls(run.id):
            return await self._context.start(replace(new, instead_of=run.id), claim=True)
        return run, replayed

    async def stream(
        self,
        run: Run,
        log: Log,
        request: Request,
        shown: "Shows",
        *,
        reader: Reader,
        failures_inside: bool = False,
    ) -> Response:
        """Show a log as a stream; a run that fails before it says anything is a response of its own.

        `shown` turns the log into server-sent events. With `failures_inside`, these tell of every failure.
        """
        self._admission.hold(request)
        seat = self._seat(run, request, reader)
        first = await self._unless_left(seat, request, _first(log))
        if first is None:
            await log.aclose()
            return LEFT
        ended = first[0].body if first and isinstance(first[0].body, RunFinished) else None
        if ended is not None and ended.failure is not None and not failures_inside:
            seat.leave()
            await log.aclose()
            return response_of(ended.failure.error(), path=request.url.path)
        blocks = self._watched(seat, shown(_joined(first, log)), request)
        stream = sse.kept_alive(blocks, seconds=self._keepalive_seconds)
        return sse.EventStream(stream, headers=sse.HEADERS)

    async def unless_left(
        self, run: Run, request: Request, work: Coroutine[Any, Any, Result], *, reader: Reader
    ) -> Result | None:
        """Do what a response needs before it begins; None if the client leaves meanwhile: nothing else would tell."""
        seat = self._seat(run, request, reader)
        result = await self._unless_left(seat, request, work)
        seat.leave()
        return result

    def _seat(self, run: Run, request: Request, reader: Reader) -> Seat:
        """Count a reader, at the longest until the end of his request: a stream may end before it has begun."""
        seat = self._readers.seat(run, reader)
        request.state.until_its_end.callback(self._leave, seat)
        return seat

    async def _unless_left(self, seat: Seat, request: Request, work: Coroutine[Any, Any, Result]) -> Result | None:
        try:
            result = await unless_gone(request, work)
        except BaseException:
            seat.leave()  # the client is told what went wrong, and may ask for the run again
            raise
        if result is None:
            self._left(seat)
        return result

    async def _watched(
        self, seat: Seat, shown: AsyncGenerator[bytes, None], request: Request
    ) -> AsyncGenerator[bytes, None]:
        """Pass a stream on, and notice when its reader leaves before the end; one that was cut may come back."""
        ended = False
        with self._metrics.streams.track_inprogress():
            try:
                async with aclosing(shown):
                    async for block in shown:
                        crash_point("facade.before_flush")
                        yield block
                        crash_point("facade.after_flush")
                ended = True
            finally:
                if ended:
                    seat.leave()
                else:
                    self._left(seat, returns=was_cut(request.scope))

    def _left(self, seat: Seat, *, returns: bool = False) -> None:
        """Stop the run of a client that left, unless it is to go on without this reader."""
        stops = self._leave(seat, returns=returns)
        self._metrics.disconnects.labels("cancel" if stops else "continue").inc()

    def _leave(self, seat: Seat, *, returns: bool = False) -> bool:
        if stops := seat.leave(returns=returns):
            self._executor.cancel(seat.run)
        return stops


class Shows(Protocol):
    """Turns a log into server-sent events."""

    def __call__(self, log: Log, /) -> AsyncGenerator[bytes, None]:
        """Give the events as bytes; closing them closes the log."""
        ...


async def _first(log: Log) -> Sequence[RunEvent]:
    """Wait a moment for the first events, so that a refusal can still have a status of its own."""
    for _ in range(_PATIENCE):
        if events := await anext(log, ()):
            return events
    return ()


async def _joined(first: Sequence[RunEvent], rest: Log) -> Log:
    async with aclosing(rest):
        yield first
        async for events in rest:
            yield events
