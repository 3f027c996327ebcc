"""One round of tool calls: intents are durable before anything is sent, results before a model reads them."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import assert_never

from facade.domain.events import CallEvent
from facade.domain.journal import Journal
from facade.domain.ports import CallRecord, CallState, NewItem, Tools
from threadmesh.conversation import (
    CallFinished,
    CallOutcome,
    CallProgress,
    CallStarted,
    Failure,
    Message,
    Part,
    Role,
    Text,
    ToolCall,
)
from threadmesh.errors import Internal, MeshError, StaleEpoch, ToolServerUnavailable

_UNKNOWN = "The outcome of this call is unknown: it may or may not have taken effect. Do not repeat it on your own."


async def run_calls(
    calls: Sequence[ToolCall],
    tools: Tools,
    journal: Journal,
    *,
    first_ordinal: int,
    in_round: int,
    result_characters: int,
) -> list[Message]:
    """Run the calls in parallel and give their results as messages, in the order of the calls.

    What happens is written to the journal as it happens. A call whose stream broke after it was sent has the outcome
    UNKNOWN; one that was never sent has failed.
    """
    records = [
        CallRecord(call=call, ordinal=first_ordinal + index, state=CallState.INTENT) for index, call in enumerate(calls)
    ]
    await journal.commit(calls=records)
    progress = _Progress(records)
    await _follow(calls, tools, journal, progress, in_round=in_round)
    messages = [result_message(call, progress.finished[call.id], result_characters) for call in calls]
    await journal.commit(items=[NewItem(message=message) for message in messages])
    return messages


class _Progress:
    """What is known of each call of a batch."""

    def __init__(self, records: Sequence[CallRecord]) -> None:
        self.records = {record.call.id: record for record in records}
        self.sent: set[str] = set()
        self.finished: dict[str, CallFinished] = {}

    def missing(self, error: MeshError) -> list[tuple[str, CallFinished]]:
        """Give an end to every call that has none, after the stream broke with `error`."""
        return [(call_id, self._end(call_id, error)) for call_id in self.records if call_id not in self.finished]

    def _end(self, call_id: str, error: MeshError) -> CallFinished:
        outcome = CallOutcome.UNKNOWN if call_id in self.sent else CallOutcome.FAILED
        return CallFinished(outcome=outcome, failure=Failure.of(error))


async def _follow(
    calls: Sequence[ToolCall],
    tools: Tools,
    journal: Journal,
    progress: _Progress,
    *,
    in_round: int,
) -> None:
    broken: MeshError = Internal("The tools service ended its stream without a result.")
    try:
        async with aclosing(tools.execute(calls, run=journal.run)) as events:
            async for call_id, event in events:
                if call_id in progress.records and call_id not in progress.finished:
                    await _record(call_id, event, journal, progress, in_round=in_round)
    except StaleEpoch:
        raise
    except MeshError as error:
        broken = ToolServerUnavailable(error.message, **error.facts) if error.retryable else error
    for call_id, finished in progress.missing(broken):
        await _record(call_id, finished, journal, progress, in_round=in_round)


async def _record(
    call_id: str,
    event: CallEvent,
    journal: Journal,
    progress: _Progress,
    *,
    in_round: int,
) -> None:
    if isinstance(event, CallFinished):
        event = replace(event, name=progress.records[call_id].call.name)
    await journal.emit(event, in_round=in_round, call_id=call_id)
    match event:
        case CallStarted():
            progress.sent.add(call_id)
        case CallProgress():
            pass
        case CallFinished():
            progress.finished[call_id] = event
            record = progress.records[call_id]
            ended = CallRecord(call=record.call, ordinal=record.ordinal, state=CallState.FINISHED, finished=event)
            await journal.commit(calls=[ended])
        case other:
            assert_never(other)


def result_message(call: ToolCall, finished: CallFinished, characters: int) -> Message:
    """Give a call's result as the model reads it, cut to `characters`."""
    return Message(role=Role.TOOL, tool_call_id=call.id, name=call.name, parts=_result_parts(finished, characters))


def _result_parts(finished: CallFinished, characters: int) -> tuple[Part, ...]:
    texts = "\n".join(part.text for part in finished.parts if isinstance(part, Text))
    others = tuple(part for part in finished.parts if not isinstance(part, Text))
    text = _result_text(finished, texts)
    if len(text) > characters:
        text = f"{text[:characters]}\n[cut: {len(text) - characters} more characters]"
    return (Text(text=text), *others)


def _result_text(finished: CallFinished, text: str) -> str:
    if finished.outcome is CallOutcome.SUCCEEDED:
        return text or finished.structured_json or "The tool gave no output."
    if finished.outcome is CallOutcome.UNKNOWN:
        return _UNKNOWN
    why = finished.failure.message if finished.failure else ""
    return f"The call {finished.outcome.value}. {text or why}".strip()
