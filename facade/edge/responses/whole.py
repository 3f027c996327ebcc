"""A response as one object, as far as its run has come."""

from contextlib import aclosing
from typing import Any

import orjson
from starlette.responses import Response

from facade.domain.events import ModelStarted, Run, RunEvent, RunFinished
from facade.edge.answering import Log
from facade.edge.errors import response_of
from facade.edge.responses.output import Output
from facade.edge.responses.resource import Resource, open_status
from facade.edge.responses.stored import Echo
from threadmesh.conversation import CallStarted
from threadmesh.errors import Internal


class Whole:
    """Collects the events of a run into its response."""

    def __init__(self, run: Run, echo: Echo) -> None:
        self._run = run
        self._output = Output(run, echo.listed)
        self._resource = Resource(run, echo.fields)
        self.tools_were_called = False
        self._consume(self._output.begin())

    def take(self, event: RunEvent) -> None:
        """Take in the next event but the last."""
        if isinstance(event.body, ModelStarted):
            self._resource.model = event.body.model
        self.tools_were_called |= isinstance(event.body, CallStarted)
        self._consume(self._output.take(event))

    def open(self) -> dict[str, Any]:
        """Give the response of a run that has not ended."""
        return self._resource.body(open_status(self._run), self._output.items)

    def ended(self, finished: RunFinished) -> dict[str, Any]:
        """Give the response of a run that has ended."""
        self._consume(self._output.end("incomplete" if finished.failure else "completed"))
        return self._resource.ended(self._output.items, finished)

    def _consume(self, events: Any) -> None:
        for _ in events:
            pass


async def collected(run: Run, log: Log, echo: Echo) -> Response:
    """Read a log to its end and give the response, or what went wrong."""
    whole = Whole(run, echo)
    async with aclosing(log):
        async for events in log:
            for event in events:
                if isinstance(event.body, RunFinished):
                    if event.body.failure is not None:
                        return response_of(event.body.failure.error(), tools_were_called=whole.tools_were_called)
                    return json_response(whole.ended(event.body))
                whole.take(event)
    raise Internal("The run's log ended without an end.")


async def present(run: Run, log: Log, echo: Echo) -> dict[str, Any]:
    """Give the response as it is now, whether or not its run has ended."""
    whole = Whole(run, echo)
    if run.next_sequence == 0:
        await log.aclose()
        return whole.open()
    async with aclosing(log):
        async for events in log:
            for event in events:
                if isinstance(event.body, RunFinished):
                    return whole.ended(event.body)
                whole.take(event)
                if event.sequence >= run.next_sequence - 1:
                    return whole.open()
    raise Internal("The run's log ended without an end.")


def json_response(body: dict[str, Any]) -> Response:
    """Give a body as a response."""
    return Response(orjson.dumps(body), media_type="application/json")
