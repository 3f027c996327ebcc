"""Items that a request names by their ids alone: found, and put in their place."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request
from pydantic import TypeAdapter

from facade.domain.events import Run
from facade.domain.parameters import TurnParameters
from facade.domain.ports import Context
from facade.domain.threads import Thread, Threads
from facade.edge.invalid import SHOWN
from facade.edge.responses.entries import Entries, ItemNotFound
from facade.edge.responses.input_items import FunctionOutputItem, InputItem, ItemReference
from facade.edge.responses.names import Place, is_listed_id, read_item_id
from facade.edge.responses.stored import Echo
from threadmesh.errors import NotFound

_ITEM: TypeAdapter[InputItem] = TypeAdapter(InputItem)


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """The thread that a request goes on with, by its id or its key: the model reads what stands there anyway."""

    thread_id: str = ""
    thread_key: str = ""

    def holds(self, thread: Thread) -> bool:
        """Say whether it is this one."""
        return thread.id == self.thread_id or bool(thread.key and thread.key == self.thread_key)


NOWHERE = Read()


class References:
    """Finds the items of a tenant's responses and conversations."""

    def __init__(self, context: Context, threads: Threads) -> None:
        self._context, self._threads = context, threads

    async def followed(
        self, given: Sequence[InputItem], request: Request, *, read: Read = NOWHERE, field: str = "input"
    ) -> list[InputItem]:
        """Give the items with those in place of references to them; what is `read` anyway is left out.

        Results of calls are told where they were written. Raises `ItemNotFound` for a reference to nothing that this
        tenant can see.
        """
        items: list[InputItem] = []
        for index, item in enumerate(given):
            if not isinstance(item, ItemReference):
                items.append(_written(item, f"{field}[{index}].call_id"))
            elif not is_listed_id(item.id):
                place = f"{field}[{index}].id"
                items += [_written(each, place) for each in await self._found(item.id, request, read, place)]
        return items

    async def _found(self, name: str, request: Request, read: Read, field: str) -> list[InputItem]:
        """Give the item of an id; nothing if it is read anyway."""
        try:
            place = read_item_id(name)
            if place is None:
                raise ItemNotFound
            thread = await self._threads.thread(await self._thread(place, request, read), tenant=request.state.tenant)
            _, body = await Entries(self._context, self._threads, thread).item(name)
        except NotFound as error:
            shown = name[:SHOWN]
            message = f"Item with id '{shown}' not found: it was never stored, is deleted, or is not whole yet."
            raise ItemNotFound(message, field=field) from error
        return [] if read.holds(thread) else [_ITEM.validate_python(body)]

    async def _thread(self, place: Place, request: Request, read: Read) -> str:
        """Name the thread of an item: its run knows; one without a run is only found where the request goes on."""
        try:
            run = await self._context.run(place.run_id, tenant=request.state.tenant)
        except NotFound:
            if not read.thread_id:
                raise
            return read.thread_id
        if not _stored(run) and run.id not in getattr(request.state, "connection_runs", ()):
            raise ItemNotFound
        return run.thread_id


def _written(item: InputItem, place: str) -> InputItem:
    return item.written_at(place) if isinstance(item, FunctionOutputItem) else item


def _stored(run: Run) -> bool:
    """Say whether a run is one of which its client wanted something kept."""
    shown = TurnParameters.from_json(run.parameters_json).response_json
    return not shown or Echo.from_json(shown).stored
