"""The entries of a thread as items, with what is known of the calls in them."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from facade.domain.ports import Context
from facade.domain.records import CallRecord, CallState, Said
from facade.domain.threads import Thread, Threads
from facade.edge.responses.names import Place, mark, read_item_id, split_tool
from facade.edge.responses.said import items_of, without
from facade.edge.responses.told_calls import finished_of, is_of_mesh
from threadmesh.conversation import Role, ToolCall
from threadmesh.errors import NotFound, PreconditionFailed

_APPROVALS = ("mcpr", "mcpa")


class ItemNotFound(NotFound):
    """The conversation has no such item, or not any more."""

    reason = "ITEM_NOT_FOUND"


class Entries:
    """Gives the entries of a thread as items; one for each request, since it remembers what it has read."""

    def __init__(self, context: Context, threads: Threads, thread: Thread) -> None:
        self._context, self._threads, self._thread = context, threads, thread
        self._runs: dict[str, Mapping[str, CallRecord]] = {}

    async def items(self, entry: Said, behind: Sequence[Said] | None = None) -> list[dict[str, Any]]:
        """Give the items of an entry. The result of a call that the mesh ran is part of the call's item.

        What stands `behind` the entry is read unless it is given.
        """
        if entry.message.role is Role.TOOL:
            return [] if is_of_mesh(entry.message) else list(items_of(entry))
        return list(items_of(entry, await self._ran(entry, behind)))

    async def item(self, name: str) -> tuple[Said, dict[str, Any]]:
        """Give the item of an id, and the entry that it is a part of. Raises `ItemNotFound`."""
        place = read_item_id(name)
        if place is None:
            raise ItemNotFound
        number = await self.number(place)
        try:
            entry = await self._threads.entry(self._thread.id, number, tenant=self._thread.tenant)
        except NotFound as error:
            raise ItemNotFound from error
        for found in await self.items(entry):
            if found["id"] == name and not entry.summary:
                return entry, found
        raise ItemNotFound

    async def number(self, place: Place) -> int:
        """Number the entry of a place in the thread. Raises `ItemNotFound` for input that is not, or not yet, in it."""
        if not place.of_input:
            return place.number
        try:
            run = await self._context.run(place.run_id, tenant=self._thread.tenant)
        except NotFound as error:
            raise ItemNotFound from error
        number = run.first_input + place.number
        if run.thread_id != self._thread.id or not run.epoch or number >= run.first_answer:
            raise ItemNotFound
        return number

    async def delete(self, name: str) -> None:
        """Delete an item, and with a call of the mesh what came of it.

        Raises `ItemNotFound`, `ThreadBusy`, and `PreconditionFailed` for approvals, which are part of their call.
        """
        entry, _ = await self.item(name)
        place = read_item_id(name)
        if place is None or place.kind in _APPROVALS:
            raise PreconditionFailed("What was asked and said about a call goes with the call; delete that.")
        results = await self._results(entry, None) if place.kind == "mcp" else ()
        await self._delete(entry, keeping=without(entry.message, place))
        for result in results:
            if mark(result.message.tool_call_id) == place.call:
                await self._delete(result, keeping=None)

    async def _delete(self, entry: Said, *, keeping: Any) -> None:
        thread = self._thread
        await self._threads.delete_entry(thread.id, entry.sequence, remaining=keeping, tenant=thread.tenant)

    async def _ran(self, entry: Said, behind: Sequence[Said] | None) -> Sequence[CallRecord]:
        """Give what is known of those calls of an entry that the mesh has run, or that a client has told as such."""
        calls = entry.message.tool_calls
        if not calls:
            return ()
        known = await self._of_run(entry.run_id) if entry.run_id else {}
        told: Mapping[str, CallRecord] = {}
        if any(
            call.id not in known and split_tool(call.name)[1] for call in calls
        ):  # others have no results of the mesh
            told = {each.message.tool_call_id: _told(calls, each) for each in await self._results(entry, behind)}
        both = {**told, **known}
        return [both[call.id] for call in calls if call.id in both]

    async def _of_run(self, run_id: str) -> Mapping[str, CallRecord]:
        if run_id not in self._runs:
            self._runs[run_id] = {}
            with suppress(NotFound):  # the run may be forgotten; what was said stays
                self._runs[run_id] = {record.call.id: record for record in await self._context.calls(run_id)}
        return self._runs[run_id]

    async def _results(self, entry: Said, behind: Sequence[Said] | None) -> Sequence[Said]:
        """Give the results of the mesh's calls of an entry: they stand right behind it."""
        calls = {call.id for call in entry.message.tool_calls}
        thread, found = self._thread, behind
        if found is None:
            found, _ = await self._threads.said(
                thread.id, after=entry.sequence, limit=len(calls), descending=False, tenant=thread.tenant
            )
        results = found[: len(calls)]
        return [each for each in results if each.message.tool_call_id in calls and is_of_mesh(each.message)]


def _told(calls: Sequence[ToolCall], result: Said) -> CallRecord:
    """Make of a call and its result what a run would know of them."""
    call = next(call for call in calls if call.id == result.message.tool_call_id)
    ended = CallRecord(call=call, ordinal=0, state=CallState.FINISHED, finished=finished_of(result.message))
    asked = result.approval
    return replace(ended, hash_is_forgotten=True, approved=asked.approved, reason=asked.reason) if asked else ended
