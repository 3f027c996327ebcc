"""What becomes of the calls of one round, written down as it happens."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from facade.domain.events import ToolEvent
from facade.domain.journal import Journal
from facade.domain.records import Answered, CallRecord, CallState, NewItem
from facade.domain.result_text import result_text
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
from threadmesh.errors import MeshError
from threadmesh.questions import InputRequired


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultShape:
    """How results stand in the thread: cut to `characters`, their tokens counted."""

    characters: int
    count: TokenCount


class CallLog:
    """Writes down what becomes of the calls of a round; `attempts` says which tries were written down before."""

    def __init__(
        self,
        records: Sequence[CallRecord],
        journal: Journal,
        *,
        in_round: int,
        shape: ResultShape,
        attempts: Mapping[str, int],
    ) -> None:
        self._records = {record.call.id: record for record in records}
        self._journal, self._round, self._shape = journal, in_round, shape
        self._attempts = dict(attempts)
        self.asking: dict[str, InputRequired] = {}
        """What the servers of calls ask that cannot go on without answers, by the calls' ids."""
        self.answered = {record.call.id: record.answered for record in records if record.answered is not None}
        """What calls go on with, by their ids."""
        self._finished = {record.call.id: record.finished for record in records if record.finished is not None}

    @property
    def open(self) -> list[ToolCall]:
        """The calls that have no end yet and can go on, in their order."""
        return [self._records[call_id].call for call_id in self.unfinished if call_id not in self.asking]

    @property
    def unfinished(self) -> list[str]:
        """The ids of the calls that have no end yet, in their order."""
        return [call_id for call_id in self._records if call_id not in self._finished]

    def record(self, call_id: str) -> CallRecord:
        """Give what stands in the journal of a call."""
        return self._records[call_id]

    def answer(self, call_id: str, required: InputRequired) -> None:
        """Let a call go on with the answers that are given, or ask for those that are not."""
        if required.open:
            self.asking[call_id] = required
        else:
            del self.asking[call_id]
            self.answered[call_id] = Answered(required=required, answers=required.given)

    async def take(self, call_id: str, event: ToolEvent) -> None:
        """Write down what happened to a call, once; after its end nothing more is heard of it."""
        if call_id not in self._records or call_id in self._finished or self._is_old(call_id, event):
            return
        if isinstance(event, InputRequired):
            self.asking[call_id] = event
            return
        if isinstance(event, CallFinished):
            event = replace(event, name=self._records[call_id].call.name)
        await self._journal.emit(event, in_round=self._round, call_id=call_id)
        match event:
            case CallStarted():
                self._attempts[call_id] = event.attempt
            case CallProgress():
                pass
            case CallFinished():
                await self._finish(call_id, event)
            case other:
                assert_never(other)

    async def end(self, calls: Iterable[str], error: MeshError, *, sent: bool) -> None:
        """Give an end to calls that have none, because of `error`; `sent` says that all may have been sent."""
        for call_id in calls:
            outcome = CallOutcome.UNKNOWN if sent or call_id in self._attempts else CallOutcome.FAILED
            await self.take(call_id, CallFinished(outcome=outcome, failure=Failure.of(error)))

    def _is_old(self, call_id: str, event: ToolEvent) -> bool:
        return isinstance(event, CallStarted) and event.attempt <= self._attempts.get(call_id, 0)

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
        told = zip(messages, tokens, self._records.values(), strict=True)
        return [NewItem(message=each, tokens=count, approval=record.approval) for each, count, record in told]


def result_message(call: ToolCall, finished: CallFinished, characters: int) -> Message:
    """Give a call's result as the model reads it, cut to `characters`."""
    return Message(role=Role.TOOL, tool_call_id=call.id, name=call.name, parts=_result_parts(finished, characters))


def _result_parts(finished: CallFinished, characters: int) -> tuple[Part, ...]:
    texts = "\n".join(part.text for part in finished.parts if isinstance(part, Text))
    others = tuple(part for part in finished.parts if not isinstance(part, Text))
    text = result_text(finished, texts)
    if len(text) > characters:
        text = f"{text[:characters]}\n[cut: {len(text) - characters} more characters]"
    return (Text(text=text), *others)
