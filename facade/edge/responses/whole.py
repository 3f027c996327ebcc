"""A response as one object, as far as its run has come."""

from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import orjson
from starlette.responses import Response

from facade.domain.events import Run
from facade.edge.answering import Log
from facade.edge.errors import response_of
from facade.edge.responses.names import Part
from facade.edge.responses.parts import Event
from facade.edge.responses.resource import open_status
from facade.edge.responses.stored import Echo
from facade.edge.responses.view import View
from threadmesh.errors import Internal


async def collected(run: Run, log: Log, echo: Echo, part: Part) -> Response:
    """Read a log to the end of the response and give it, or what went wrong."""
    view = await _read(run, log, echo, part, until=None)
    if view.finished is None:
        raise Internal("The run's log ended without an end.")
    if view.finished.failure is not None:
        failure = view.finished.failure.error()
        return response_of(failure, path="/v1/responses", tools_were_called=view.tools_were_called)
    return json_response(view.ending(view.finished))


async def present(run: Run, log: Log, echo: Echo, part: Part) -> dict[str, Any]:
    """Give the response as it is now, whether or not it has ended."""
    view = await _read(run, log, echo, part, until=run.next_sequence - 1)
    if view.finished is not None:
        return view.ending(view.finished)
    return view.resource.body(open_status(run), view.output.items)


def json_response(body: dict[str, Any]) -> Response:
    """Give a body as a response."""
    return Response(orjson.dumps(body), media_type="application/json")


async def _read(run: Run, log: Log, echo: Echo, part: Part, *, until: int | None) -> View:
    """Read a log to the end of the response, or to the event `until`; None reads on as it grows."""
    view = View(run, echo, part)
    _consume(view.begin())
    async with aclosing(log):
        if until is not None and until < 0:
            return view
        async for events in log:
            for event in events:
                _consume(view.take(event))
                if view.finished is not None or (until is not None and event.sequence >= until):
                    return view
    return view


def _consume(events: Iterator[Event]) -> None:
    for _ in events:
        pass
