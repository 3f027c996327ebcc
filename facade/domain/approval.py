"""Calls that a person must approve: a round with one of them waits as a whole, and then runs as a whole."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from facade.domain.call_log import CallLog
from facade.domain.journal import Journal
from facade.domain.offer import Catalogue, server_of
from facade.domain.records import CallRecord, CallState, NewItem
from facade.domain.result_text import not_offered
from threadmesh.conversation import CallAwaiting, CallFinished, CallOutcome, Failure, ToolCall
from threadmesh.errors import CallDenied

_TOO_LATE = "Nobody approved this call in time; it was not made."


def planned(
    calls: Sequence[ToolCall],
    catalogue: Catalogue,
    *,
    first_ordinal: int,
    trusted_context: bool,
    asking: Collection[str] = (),
) -> list[CallRecord]:
    """Give the records of a round's calls: about to be made, or, if one needs approval, none before that.

    Approval is needed where a tool requires it, which may depend on whether the model had a `trusted_context`, or the
    request wants it: for the tools `asking`.
    """
    requiring = {name for name, tool in catalogue.items() if tool.needs_approval(trusted_context=trusted_context)}
    needing = {call.id for call in calls if call.name in asking or call.name in requiring}
    others = CallState.PLANNED if needing else CallState.INTENT
    return [
        CallRecord(
            call=call,
            ordinal=first_ordinal + index,
            state=CallState.AWAITING_APPROVAL if call.id in needing else others,
            definition_hash=_hash_of(call, catalogue) if call.id in needing else "",
        )
        for index, call in enumerate(calls)
    ]


def _hash_of(call: ToolCall, catalogue: Catalogue) -> str:
    tool = catalogue.get(call.name)  # none while the server is on its way, in a run that was taken over
    return tool.definition_hash if tool else ""


def awaiting(records: Sequence[CallRecord]) -> list[CallRecord]:
    """Give those about which a person is to be asked."""
    return [record for record in records if record.state is CallState.AWAITING_APPROVAL]


async def ask(
    records: Sequence[CallRecord],
    journal: Journal,
    *,
    in_round: int,
    items: Sequence[NewItem],
    seconds: float,
) -> None:
    """Ask about the calls that need it, and give the run up to whoever goes on with it when that is decided."""
    asked = awaiting(records)
    for record in asked:
        question = CallAwaiting(
            name=record.call.name,
            server=server_of(record.call.name),
            arguments_json=record.call.arguments_json,
            definition_hash=record.definition_hash,
            seconds=seconds,
            last=record is asked[-1],
        )
        await journal.emit(question, in_round=in_round, call_id=record.call.id)
    await journal.require_action(asked, items=items, calls=records, seconds=seconds)


async def heed(records: Sequence[CallRecord], log: CallLog, journal: Journal, *, wanted: Callable[[str], bool]) -> None:
    """End the calls that may not be made, and make the others durable as about to be made.

    Whatever a model may have been talked into, only tools that are `wanted` are called.
    """
    for record in records:
        if not wanted(record.call.name):
            await log.take(record.call.id, not_offered(record.call.name))
    records = [record for record in records if wanted(record.call.name)]
    for record in awaiting(records):
        if not record.approved:
            await log.take(record.call.id, _denied(record))
    allowed = [record for record in records if record.state is not CallState.FINISHED and _may_go(record)]
    await journal.commit(calls=[replace(record, state=CallState.INTENT) for record in allowed])


def approvals(records: Sequence[CallRecord]) -> dict[str, str]:
    """Give what persons have approved: the hashes of definitions by the calls' ids."""
    return {record.call.id: record.definition_hash for record in records if record.approved}


def _may_go(record: CallRecord) -> bool:
    return bool(record.approved) or record.state in {CallState.PLANNED, CallState.AWAITING_INPUT}


def _denied(record: CallRecord) -> CallFinished:
    why = _TOO_LATE if record.approved is None else f"{CallDenied().message} {record.reason}".strip()
    return CallFinished(outcome=CallOutcome.DENIED, failure=Failure.of(CallDenied(why)))
