"""Responses that are stored, by their ids."""

from dataclasses import dataclass

from fastapi import Request

from facade.domain.events import Run
from facade.domain.parameters import TurnParameters
from facade.domain.ports import Context
from facade.edge.invalid import SHOWN
from facade.edge.responses.names import FROM_THE_BEGINNING, Part, read_response_id
from facade.edge.responses.stored import Echo
from facade.edge.responses.waits import located
from threadmesh.errors import InvalidArgument, NotFound, RunNotFound


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
        if part.after != FROM_THE_BEGINNING:
            part = await located(part, run, self._context)
        if part is None:
            raise ResponseNotFound
        return Shown(run, echo, part)

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
