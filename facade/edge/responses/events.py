"""A run's log as the events of a response: the same log always gives the same bytes."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

from facade.domain.events import Run, RunEvent
from facade.edge import sse
from facade.edge.answering import Log
from facade.edge.errors import body_of, defect
from facade.edge.responses.names import Part
from facade.edge.responses.parts import Event
from facade.edge.responses.resource import status_of
from facade.edge.responses.stored import Echo
from facade.edge.responses.view import View
from threadmesh.errors import Internal, MeshError

_TERMINAL = {"completed": "completed", "incomplete": "incomplete", "failed": "failed", "cancelled": "failed"}


class Events:
    """Encodes the events of one response, in order, numbered from 0."""

    def __init__(self, run: Run, echo: Echo, part: Part) -> None:
        self.view = View(run, echo, part)
        self._background = echo.background
        self._next = 0

    def begin(self) -> Iterator[Event]:
        """Give the events before the log's."""
        status = "queued" if self._background else "in_progress"
        yield from self._lifecycle("created", status)
        if self._background:
            yield from self._lifecycle("queued", "queued")
        yield from self._lifecycle("in_progress", "in_progress")
        yield from self._numbered(self.view.begin())

    def take(self, event: RunEvent) -> Iterator[Event]:
        """Give the events that an entry of the log becomes."""
        if self.view.ended:
            return
        yield from self._numbered(self.view.take(event))
        if self.view.finished is not None:
            response = self.view.ending(self.view.finished)
            kind = _TERMINAL[status_of(self.view.finished)]
            yield from self._numbered(iter([{"type": f"response.{kind}", "response": response}]))

    def error(self, error: MeshError) -> Event:
        """Give the event for what keeps the log from being read."""
        told = body_of(error, path="/v1/responses")["error"]
        event = {"type": "error", "code": told["code"], "message": told["message"], "param": told["param"]}
        return next(self._numbered(iter([event])))

    def _lifecycle(self, kind: str, status: str) -> Iterator[Event]:
        response = self.view.resource.body(status, [])
        yield from self._numbered(iter([{"type": f"response.{kind}", "response": response}]))

    def _numbered(self, events: Iterator[Event]) -> Iterator[Event]:
        for event in events:
            yield {**event, "sequence_number": self._next}
            self._next += 1


async def blocks(run: Run, log: Log, echo: Echo, part: Part, *, after: int = -1) -> AsyncGenerator[bytes, None]:
    """Write a log as server-sent events, ending with a terminal event or an error, never silently.

    Events up to the number `after` are left out; the rest is the same to the byte.
    """
    encoder = Events(run, echo, part)
    broken: MeshError = Internal("The run's log ended without an end.")
    for event in encoder.begin():
        if event["sequence_number"] > after:
            yield _block(event)
    try:
        async with aclosing(log):
            async for entries in log:
                for entry in entries:
                    for event in encoder.take(entry):
                        if event["sequence_number"] > after:
                            yield _block(event)
                    if encoder.view.ended:
                        yield sse.DONE
                        return
    except MeshError as error:
        broken = error
    except Exception as error:  # noqa: BLE001  # nobody behind this could tell the reader any more
        broken = defect(error)
    yield _block(encoder.error(broken))


async def last_number(run: Run, log: Log, echo: Echo, part: Part) -> int:
    """Give the number of the last event that a log has become so far."""
    encoder = Events(run, echo, part)
    events = len(list(encoder.begin()))
    async with aclosing(log):
        while run.next_sequence and (entries := await anext(log, None)) is not None:
            for entry in entries:
                events += len(list(encoder.take(entry)))
                if encoder.view.ended or entry.sequence >= run.next_sequence - 1:
                    return events - 1
    return events - 1


def _block(event: dict[str, Any]) -> bytes:
    return sse.block(event, event=event["type"])
