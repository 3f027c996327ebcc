"""Responses that are stored, by their ids."""

from contextlib import aclosing
from dataclasses import dataclass

from fastapi import Request

from facade.domain.events import Run
from facade.domain.parameters import TurnParameters
from facade.domain.ports import Context
from facade.edge.invalid import SHOWN
from facade.edge.responses.names import FROM_THE_BEGINNING, Part, read_response_id
from facade.edge.responses.stored import Echo
from threadmesh.conversation import CallAwaiting
from threadmesh.errors import EventLogExpired, InvalidArgument, NotFound, RunNotFound


class ResponseNotFound(NotFound):
    """There is no such response, or it is another key's."""

    reason = "RESPONSE_NOT_FOUND"


@dataclass(frozen=True, slots=True)
class Shown:
    """What a response shows: a part of a run, and what is kept of its request."""

    run: Run
    echo: Echo
    part: Part


class Found:
    """Finds the responses that a request may see: those of its tenant, and those made over its own connection."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def response(self, response: str, request: Request) -> Shown:
        """Give the response of an id. Raises `ResponseNotFound`."""
        part = read_response_id(response)
        if part is None:
            raise ResponseNotFound
        run, echo = await self.run(part.run_id, request)
        if part.after != FROM_THE_BEGINNING and not await self._begins(run, part.after):
            raise ResponseNotFound
        return Shown(run, echo, part)

    async def _begins(self, run: Run, place: int) -> bool:
        """Say whether a response begins behind an event of a run: one from which on the run waited for a person.

        Where the log is forgotten, nobody knows any more, and every one is taken for it.
        """
        if not 0 < place < run.next_sequence:
            return False
        try:
            async with aclosing(self._context.watch(run.id, after=place - 1)) as log:
                async for events in log:
                    if events:
                        return isinstance(events[0].body, CallAwaiting) and events[0].body.last
        except EventLogExpired:
            return True
        return False

    async def run(self, run_id: str, request: Request) -> tuple[Run, Echo]:
        """Give a run that is a stored response, and what is kept with it. Raises `ResponseNotFound`."""
        try:
            run = await self._context.run(run_id, tenant=request.state.tenant)
        except RunNotFound as error:
            raise ResponseNotFound from error
        parameters = TurnParameters.from_json(run.parameters_json)
        if not parameters.response_json:
            raise ResponseNotFound
        echo = Echo.from_json(parameters.response_json)
        if not echo.stored and run.id not in getattr(request.state, "connection_runs", ()):
            raise ResponseNotFound
        return run, echo

    async def previous(self, response: str | None, request: Request) -> Run | None:
        """Give the run that a request goes on behind, if it names one. Raises `InvalidArgument`."""
        if response is None:
            return None
        try:
            return (await self.response(response, request)).run
        except NotFound as error:
            raise InvalidArgument(
                f"There is no response {response[:SHOWN]}.",
                field="previous_response_id",
                kind="previous_response_not_found",
            ) from error
