"""Where a run waited for a person: there one response ends, and behind the answer another begins."""

from contextlib import aclosing
from dataclasses import replace
from typing import Any

from facade.domain.events import Run
from facade.domain.ports import Context
from facade.edge.responses.mesh_calls import answer_item
from facade.edge.responses.names import FROM_THE_BEGINNING, Part, read_approval_id
from facade.edge.responses.stored import Echo
from facade.edge.responses.whole import present
from threadmesh.conversation import CallAwaiting
from threadmesh.errors import EventLogExpired


async def located(part: Part, run: Run, context: Context) -> Part | None:
    """Give a part that begins behind a wait with the one before it; None if the run did not wait there.

    Where the log is forgotten, nobody knows any more, and every place is taken for one.
    """
    if not 0 < part.after < run.next_sequence:
        return None
    try:
        places = await _waits(run, context, until=part.after)
    except EventLogExpired:
        return part
    return replace(part, behind=places[-2]) if places[-1] == part.after else None


async def told_before(part: Part, run: Run, echo: Echo, context: Context) -> list[dict[str, Any]]:
    """Give what the model had said, and what a person had answered, before a part of its run, as items.

    Where the log is forgotten, nobody knows that any more.
    """
    if part.after == FROM_THE_BEGINNING:
        return []
    try:
        places = await _waits(run, context, until=part.after)
    except EventLogExpired:
        return []
    records = {record.call.id: record for record in await context.calls(run.id)}
    items = []
    for place in places[:-1]:
        before = await present(run, context.watch(run.id), echo, Part(run_id=run.id, after=place))
        items += [item for item in before["output"] if item["type"] != "mcp_list_tools"]
        for item in before["output"]:
            named = read_approval_id(item["id"]) if item["type"] == "mcp_approval_request" else None
            record = records.get(named[1]) if named else None
            if record is not None and record.approved is not None:
                items.append(answer_item(item["id"], record))
    return items


async def _waits(run: Run, context: Context, *, until: int) -> list[int]:
    """Give the events behind which the responses of a run begin, up to the event `until`."""
    places = [FROM_THE_BEGINNING]
    async with aclosing(context.watch(run.id)) as log:
        async for events in log:
            before = (event for event in events if event.sequence <= until)
            places += [each.sequence for each in before if isinstance(each.body, CallAwaiting) and each.body.last]
            if events and events[-1].sequence >= until:
                break
    return places
