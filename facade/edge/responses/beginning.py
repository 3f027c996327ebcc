"""The beginning of a response: the run that answers a request, in the thread that it goes on with."""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace

from fastapi import Request

from facade.domain.events import Run
from facade.domain.limits import Mesh
from facade.domain.offer import Offer
from facade.domain.ports import Model
from facade.domain.records import NewRun
from facade.domain.threads import Threads
from facade.domain.written import Written
from facade.edge.controls import Controls
from facade.edge.conversations.names import find
from facade.edge.ignored import name_also
from facade.edge.responses.decode import Asked, new_run, unasked_results
from facade.edge.responses.found import Found
from facade.edge.responses.offered import needs_catalogue
from facade.edge.responses.references import Read, References
from facade.edge.responses.schemas import ResponseRequest
from facade.edge.tool_results import refuse, require_calls
from threadmesh.errors import InvalidArgument, MeshError


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseOptions:
    """How responses behave here."""

    default_tools: str
    run_seconds: float
    share_prompts: bool


class Beginning:
    """Finds what requests for responses name, and makes runs of them."""

    def __init__(self, mesh: Mesh, threads: Threads, options: ResponseOptions) -> None:
        self._context, self._tools, self._inference = mesh.context, mesh.tools, mesh.inference
        self._threads, self._options = threads, options
        self._found = Found(mesh.context)
        self._references = References(mesh.context, threads)

    async def conversation(self, asked: ResponseRequest, request: Request) -> str:
        """Give the id of the thread that the request goes on with as a conversation; empty if with none."""
        named = asked.conversation_named()
        return (await find(self._threads, named["id"], tenant=request.state.tenant)).id if named else ""

    async def previous(self, asked: ResponseRequest, request: Request) -> Run | None:
        """Give the run behind which the request goes on, if it does. Raises `InvalidArgument`."""
        return await self._found.previous(asked.previous_response_id, request)

    async def whole(
        self, asked: ResponseRequest, control: Controls, previous: Run | None, request: Request
    ) -> ResponseRequest:
        """Give the request with the items that it only names.

        Raises `ItemNotFound`, and `InvalidArgument` if nothing is left that the thread does not hold already.
        """
        if isinstance(asked.input, str):
            return asked
        read = Read(thread_id=previous.thread_id if previous else control.thread_id, thread_key=control.thread_key)
        items = await self._references.followed(asked.input, request, read=read)
        if asked.input and not items:
            raise InvalidArgument("input names only what the model reads anyway; say something new.", field="input")
        return asked.model_copy(update={"input": items})

    async def run(
        self, asked: ResponseRequest, control: Controls, previous: Run | None, request: Request, *, written: Written
    ) -> NewRun:
        """Give the run that answers the request, behind `previous` if that is one: directly, or it is refused.

        Raises `InvalidArgument` for results of calls that nobody has made.
        """
        offer = await self._tools.offer() if needs_catalogue(asked) else Offer()
        new = new_run(
            Asked(request=asked, control=control, offer=offer, model=await self._model(asked), written=written),
            tenant=request.state.tenant,
            cache_scope="" if self._options.share_prompts else request.state.key,
            timeout_seconds=self._options.run_seconds,
        )
        if previous is not None:
            name_also(request.state.headers, await self._elsewhere(new, asked, previous))
            new = replace(new, thread_id=previous.thread_id, thread_key="", number=previous.number + 1)
        place = {"thread_id": new.thread_id, "thread_key": new.thread_key}
        await require_calls(unasked_results(asked.input), self._threads, tenant=new.tenant, **place)
        return new

    async def _elsewhere(self, new: NewRun, asked: ResponseRequest, previous: Run) -> Collection[str]:
        """Name what says that the run is to be in another thread than the one that it goes on with."""
        thread = await self._threads.of_key(new.thread_key, tenant=new.tenant) if new.thread_key else None
        named = new.thread_id or (thread.id if thread else new.thread_key)
        if named in {"", previous.thread_id}:
            return ()
        field = "thread_id" if new.thread_id else "thread_key"
        return (f"metadata.{field}" if field in (asked.metadata or {}) else f"x-{field.replace('_', '-')}",)

    async def _model(self, asked: ResponseRequest) -> Model | None:
        """Give the model that will answer; None if that is not known now, which is told where it is asked."""
        with suppress(MeshError):
            return await self._inference.model(asked.model or "")
        return None

    async def apart(self, new: NewRun, asked: ResponseRequest, previous: Run) -> NewRun:
        """Let a run go on behind a copy of what was said up to the end of `previous`, in a thread of its own.

        Raises `InvalidArgument` for results of calls that nobody has made there.
        """
        before = [each.message for each in await self._context.said_until(previous)]
        refuse(unasked_results(asked.input), calls={call.id for message in before for call in message.tool_calls})
        return replace(new, input=(*before, *new.input), thread_id="", number=None)
