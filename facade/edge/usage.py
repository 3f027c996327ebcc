"""`/v1/usage`."""

from typing import Any

from fastapi import APIRouter, Request

from facade.domain.threads import Threads
from facade.edge.answers.usage import UsageAnswer
from facade.edge.keys import stored_limit
from facade.edge.openapi import answer


def router(threads: Threads) -> APIRouter:
    """Make the route."""
    routes = APIRouter(prefix="/v1/usage", tags=["usage"])

    @routes.get("", summary="Say how much is stored", responses=answer(UsageAnswer))
    async def usage(request: Request) -> dict[str, Any]:
        return {
            "object": "threadmesh.usage",
            "tenant": request.state.tenant,
            "stored_bytes": await threads.stored(tenant=request.state.tenant),
            "stored_bytes_limit": stored_limit(request) or None,
        }

    return routes
