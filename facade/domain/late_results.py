"""Results that come after their turn: the thread is told how a call has ended of which the turn did not know it."""

from collections.abc import Mapping
from contextlib import aclosing, suppress

from facade.domain.call_log import result_message
from facade.domain.ports import Context, Tools
from facade.domain.records import CallRecord, Verdict
from threadmesh.conversation import CallFinished, CallOutcome
from threadmesh.errors import CallAlreadyDecided, CallNotWaiting, NotFound

_KNOWN = {CallOutcome.SUCCEEDED: "succeeded", CallOutcome.FAILED: "failed"}
_WORD = "result of the call"
"""Tells this word, said again, from that of a person."""


async def has_unknown(run_id: str, context: Context) -> bool:
    """Say whether a run has calls of which nobody has said how they ended."""
    return any(map(_is_unknown, (await _records(run_id, context)).values()))


async def take_late_results(run_id: str, *, tools: Tools, context: Context, characters: int) -> None:
    """Follow the calls of a run to their ends, and let its thread say what came of those whose outcome is unknown.

    Results are cut to `characters`. What a person has said before stays. Raises as `Tools.ends`.
    """
    async with aclosing(tools.ends(run_id)) as ends:
        async for call_id, finished in ends:
            record = (await _records(run_id, context)).get(call_id)
            if record is not None and _is_unknown(record) and (resolution := _KNOWN.get(finished.outcome)):
                verdict = Verdict(resolution=resolution, output=_told(record, finished, characters), request_id=_WORD)
                with suppress(CallAlreadyDecided, CallNotWaiting, NotFound):
                    await context.decide(run_id, call_id, verdict)


async def _records(run_id: str, context: Context) -> Mapping[str, CallRecord]:
    with suppress(NotFound):
        return {record.call.id: record for record in await context.calls(run_id)}
    return {}


def _is_unknown(record: CallRecord) -> bool:
    ended = record.finished
    return ended is not None and ended.outcome is CallOutcome.UNKNOWN and not record.settled


def _told(record: CallRecord, finished: CallFinished, characters: int) -> str:
    return result_message(record.call, finished, characters).text
