"""Clients that leave before their response has begun."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.responses import Response

Result = TypeVar("Result")

LEFT = Response(status_code=499)
"""What nobody reads: the client has gone."""


async def unless_gone(request: Request, work: Coroutine[Any, Any, Result]) -> Result | None:
    """Do what a response needs before it begins; None if the client leaves meanwhile, for which the work is stopped."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
