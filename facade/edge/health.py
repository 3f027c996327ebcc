"""Whether the facade lives (`/healthz`) and whether it can answer (`/readyz`)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from facade.edge.answers.common import Health
from facade.edge.openapi import answer
from threadmesh.errors import MeshError

_SECONDS = 2.0


def router(pings: Mapping[str, Callable[[], Awaitable[None]]]) -> APIRouter:
    """Make the routes; `pings` holds a check for each unit that answers need. A dead tool server is not one."""
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz", summary="Is the process alive?", responses=answer(Health))
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @routes.get(
        "/readyz",
        summary="Can requests be answered?",
        responses=answer(Health) | {503: {"model": Health, "description": "No: a part is missing."}},
    )
    async def readyz() -> Response:
        states = dict(zip(pings, await asyncio.gather(*map(_state, pings.values())), strict=True))
        ready = all(state == "ok" for state in states.values())
        return JSONResponse({"status": "ok" if ready else "not ready", "units": states}, 200 if ready else 503)

    return routes


async def _state(ping: Callable[[], Awaitable[None]]) -> str:
    try:
        async with asyncio.timeout(_SECONDS):
            await ping()
    except MeshError as error:
        return error.message
    except TimeoutError:
        return "no answer in time"
    return "ok"
