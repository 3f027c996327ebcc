"""Completions that are stored: each is a run in a thread of its own, which keeps it when the run's log is forgotten."""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from facade.domain.events import ModelEvent, ModelStarted, Run, RunEvent, RunState
from facade.domain.parameters import TurnParameters
from facade.domain.ports import Context
from facade.domain.records import Said
from facade.domain.threads import Thread, Threads, Wanted
from facade.edge.chat.completion import Completion
from facade.edge.chat.decode import STORED
from facade.edge.chat.encode import run_id
from facade.edge.paging import Order
from threadmesh.conversation import Reasoning, ReasoningDelta, Role, Text, TextDelta, ToolCallDelta
from threadmesh.errors import EventLogExpired, NotFound, RunNotFound


class CompletionNotFound(NotFound):
    """There is no such stored completion, or it is somebody else's."""

    reason = "COMPLETION_NOT_FOUND"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A stored completion: the run that made it, how that was asked for, and its thread with what describes it."""

    run: Run
    parameters: TurnParameters
    thread: Thread


class Shelf:
    """Finds stored completions."""

    def __init__(self, context: Context, threads: Threads) -> None:
        self._context = context
        self._threads = threads

    async def find(self, completion: str, *, tenant: str) -> Kept:
        """Give a completion that is stored and succeeded. Raises `CompletionNotFound`."""
        try:
            run = await self._context.run(run_id(completion), tenant=tenant)
        except RunNotFound as error:
            raise CompletionNotFound from error
        return _kept(run, await self._threads.thread(run.thread_id, tenant=tenant))

    def listed(
        self, metadata: Mapping[str, str], *, order: Order, after: str, tenant: str
    ) -> AsyncGenerator[Thread, None]:
        """Yield the threads of the stored completions that have these among their metadata, behind a thread's id."""
        wanted = Wanted(key_prefix=STORED, metadata=metadata, ascending=order == "asc", after=after)
        return self._threads.threads(wanted, tenant=tenant)

    async def of(self, thread: Thread) -> Kept | None:
        """Give the completion of a thread; None while there is none."""
        run = await self._context.earliest(thread.id)
        try:
            return _kept(run, thread) if run else None
        except CompletionNotFound:
            return None

    async def body(self, kept: Kept) -> dict[str, Any]:
        """Give the completion in OpenAI's words, with its metadata."""
        completion = Completion(kept.run)
        try:
            async with aclosing(self._context.watch(kept.run.id)) as log:
                async for events in log:
                    for event in events:
                        completion.add(event)
        except EventLogExpired:
            completion = Completion(kept.run)
            for body in _told_again(kept, await self._context.said_until(kept.run)):
                completion.add(RunEvent(sequence=0, body=body))
        if kept.run.finished is None:
            raise CompletionNotFound
        return {**completion.body(kept.run.finished), "metadata": dict(kept.thread.metadata)}

    async def messages(self, kept: Kept) -> Sequence[Said]:
        """Give the messages of the request, oldest first, without those that were deleted since."""
        said = await self._context.said_until(kept.run)
        return [entry for entry in said if entry.sequence < kept.parameters.stored_messages]


def _kept(run: Run, thread: Thread) -> Kept:
    parameters = TurnParameters.from_json(run.parameters_json)
    if not parameters.stored_messages or run.finished is None or run.finished.state is not RunState.SUCCEEDED:
        raise CompletionNotFound
    return Kept(run=run, parameters=parameters, thread=thread)


def _told_again(kept: Kept, said: Sequence[Said]) -> Iterator[ModelEvent]:
    """Give what stood in a log that was forgotten, as far as the thread knows them."""
    own = [entry for entry in said if entry.run_id == kept.run.id and entry.sequence >= kept.parameters.stored_messages]
    yield ModelStarted(model=kept.parameters.model, backend="")
    for place, entry in enumerate(own):
        if entry.message.role is not Role.ASSISTANT:
            continue
        for part in entry.message.parts:
            if isinstance(part, Reasoning):
                yield ReasoningDelta(text=part.text)
            elif isinstance(part, Text):
                yield TextDelta(text=part.text)
        if place == len(own) - 1:  # those before it were the mesh's to run
            for index, call in enumerate(entry.message.tool_calls):
                delta = ToolCallDelta(index=index, id=call.id, name=call.name, arguments_json=call.arguments_json)
                yield delta
