"""A run's log as it is, for those who watch: every entry is one event, numbered as in the log."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, assert_never

from facade.domain.events import Delta, ModelFinished, ModelStarted, Run, RunEvent, RunFinished
from facade.edge import sse
from facade.edge.answering import Log
from facade.edge.chat.encode import call_event, usage_body
from facade.edge.chat.place import id_of
from facade.edge.errors import body_of, defect
from threadmesh.conversation import (
    CallAwaiting,
    CallFinished,
    CallProgress,
    CallStarted,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
)
from threadmesh.errors import Internal, MeshError
from threadmesh.questions import CallAwaitingInput


async def blocks(run: Run, log: Log) -> AsyncGenerator[bytes, None]:
    """Write a log as server-sent events, ending with `run.finished` or with `error`, never silently."""
    broken: MeshError = Internal("The run's log ended without an end.")
    try:
        async with aclosing(log):
            async for events in log:
                for event in events:
                    if not event.hidden:
                        told = event_body(event)
                        yield sse.block(told, id=id_of(run, event.sequence, 0, 1), event=told["event"])
                    if isinstance(event.body, RunFinished):
                        return
    except MeshError as error:
        broken = error
    except Exception as error:  # noqa: BLE001  # nobody behind this could tell the reader any more
        broken = defect(error)
    yield sse.block(body_of(broken), event="error")


def event_body(event: RunEvent) -> dict[str, Any]:
    """Give an entry of a log: what happened, in which round of the turn, to which of several answers."""
    told: dict[str, Any] = {"seq": event.sequence, "round": event.round, "choice": event.choice}
    match event.body:
        case ModelStarted(model=model, backend=backend, seed=seed):
            return {"event": "model.started", **told, "model": model, "backend": backend, "seed": seed}
        case TextDelta() | ReasoningDelta() | ToolCallDelta() as delta:
            return {**told, **_delta(delta)}
        case ModelFinished(reason=reason, usage=usage):
            return {"event": "model.finished", **told, "reason": reason.value, "usage": usage_body(usage)}
        case CallAwaiting() | CallAwaitingInput() | CallStarted() | CallProgress() | CallFinished():
            return {**told, **call_event(event)}
        case RunFinished() as finished:
            return {"event": "run.finished", **told, **_end(finished)}
        case other:
            assert_never(other)


def _delta(delta: Delta) -> dict[str, Any]:
    if isinstance(delta, ToolCallDelta):
        called = {"index": delta.index, "call_id": delta.id, "name": delta.name}
        return {"event": "tool_call", **called, "arguments": delta.arguments_json}
    return {"event": "text" if isinstance(delta, TextDelta) else "reasoning", "text": delta.text}


def _end(finished: RunFinished) -> dict[str, Any]:
    failure = finished.failure
    return {
        "status": finished.state.value,
        "reason": None if failure else finished.reason.value,
        "usage": usage_body(finished.usage),
        "error": {"code": failure.reason.lower(), "message": failure.message} if failure else None,
    }
