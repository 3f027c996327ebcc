"""One round of tool calls: intents are durable before anything is sent, results before a model reads them."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import assert_never

from facade.domain.events import CallEvent
from facade.domain.journal import Journal
from facade.domain.ports import CallRecord, CallState, NewItem, Tools
from facade.domain.tokens import TokenCount
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
from threadmesh.errors import Aborted, Internal, MeshError, StaleEpoch, ToolServerUnavailable

_UNKNOWN = "The outcome of this call is unknown: it may or may not have taken effect. Do not repeat it on your own."


_LOST = "The process that made this call is gone and left no result."


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultShape:
    """How results stand in the thread: cut to `characters`, their tokens counted."""

    characters: int
    count: TokenCount


def intents(calls: Sequence[ToolCall], *, first_ordinal: int) -> list[CallRecord]:
    """Give the records of calls that are about to be made."""
    return [
        CallRecord(call=call, ordinal=first_ordinal + index, state=CallState.INTENT) for index, call in enumerate(calls)
    ]


async def run_calls(
    records: Sequence[CallRecord],
    tools: Tools,
    journal: Journal,
    *,
    in_round: int,
    shape: "ResultShape",
) -> None:
    """Make calls in parallel; their results become items of the thread, in the order of the calls.

    Their intents are durable already. What happens is written to the journal as it happens, and the results become
    items together with the last of them. A call whose stream broke after it was sent has the outcome UNKNOWN; one that
    was never sent has failed.
    """
    log = _CallLog(records, journal, in_round=in_round, shape=shape)
    broken: MeshError = Internal("The tools service ended its stream without a result.")
    try:
        async with aclosing(tools.execute([record.call for record in records], run=journal.run)) as events:
            async for call_id, event in events:
                await log.take(call_id, event)
    except StaleEpoch:
        raise
    except MeshError as error:
        broken = ToolServerUnavailable(error.message, **error.facts) if error.retryable else error
    await log.end(broken)


async def settle_calls(begun: Sequence[CallRecord], journal: Journal, *, in_round: int, shape: "ResultShape") -> None:
    """End the calls that another process had begun: what has no result may have been sent, so it is UNKNOWN."""
    log = _CallLog(begun, journal, in_round=in_round, shape=shape)
    await log.end(Aborted(_LOST), sent=True)


class _CallLog:
    """Writes down what becomes of the calls of a round."""

    def __init__(self, records: Sequence[CallRecord], journal: Journal, *, in_round: int, shape: "ResultShape") -> None:
        self._records = {record.call.id: record for record in records}
        self._journal, self._round, self._shape = journal, in_round, shape
        self._sent: set[str] = set()
        self._finished = {record.call.id: record.finished for record in records if record.finished is not None}

    async def take(self, call_id: str, event: CallEvent) -> None:
        """Write down what happened to a call; after its end nothing more is heard of it."""
        if call_id not in self._records or call_id in self._finished:
            return
        if isinstance(event, CallFinished):
            event = replace(event, name=self._records[call_id].call.name)
        await self._journal.emit(event, in_round=self._round, call_id=call_id)
        match event:
            case CallStarted():
                self._sent.add(call_id)
            case CallProgress():
                pass
            case CallFinished():
                await self._finish(call_id, event)
            case other:
                assert_never(other)

    async def end(self, error: MeshError, *, sent: bool = False) -> None:
        """Give an end to every call that has none, because of `error`; `sent` says that all may have been sent."""
        for call_id in self._records:
            outcome = CallOutcome.UNKNOWN if sent or call_id in self._sent else CallOutcome.FAILED
            await self.take(call_id, CallFinished(outcome=outcome, failure=Failure.of(error)))

    async def _finish(self, call_id: str, finished: CallFinished) -> None:
        self._finished[call_id] = finished
        record = replace(self._records[call_id], state=CallState.FINISHED, finished=finished)
        await self._journal.commit(items=await self._results(), calls=[record])

    async def _results(self) -> list[NewItem]:
        """Give the results as items once all are there."""
        if len(self._finished) < len(self._records):
            return []
        messages = [
            result_message(record.call, self._finished[call_id], self._shape.characters)
            for call_id, record in self._records.items()
        ]
        tokens = await self._shape.count.of(messages)
        return [NewItem(message=each, tokens=count) for each, count in zip(messages, tokens, strict=True)]


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
