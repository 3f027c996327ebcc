"""A run's log as chat completion chunks: the same log always gives the same bytes."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Any

from facade.domain.events import Delta, ModelFinished, ModelStarted, Run, RunEvent, RunFinished
from facade.edge import sse
from facade.edge.answering import Log
from facade.edge.chat.decode import Presentation
from facade.edge.chat.encode import SERVICE_TIER, call_event, call_piece, completion_id, logprobs_body, usage_body
from facade.edge.chat.place import Place, id_of
from facade.edge.chat.shown import Shown
from facade.edge.errors import body_of, defect
from threadmesh.conversation import (
    CallAwaiting,
    CallFinished,
    CallProgress,
    CallStarted,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
)
from threadmesh.errors import Internal, MeshError
from threadmesh.questions import CallAwaitingInput


async def blocks(run: Run, log: Log, shown: Presentation, *, after: Place | None = None) -> AsyncGenerator[bytes, None]:
    """Write a log as server-sent events, ending with `[DONE]` or with an error event, never silently.

    What a reader who has come to `after` has seen is left out; the rest is the same to the byte.
    """
    encoder = Chunks(run, shown)
    broken: MeshError = Internal("The run's log ended without an end.")
    try:
        async with aclosing(log):
            async for events in log:
                for event in events:
                    chunks = list(encoder.encode(event))
                    for part, chunk in enumerate(chunks):
                        if after is None or not after.holds(event.sequence, part):
                            yield sse.block(chunk, id=id_of(run, event.sequence, part, len(chunks)))
                    if isinstance(event.body, RunFinished):
                        if event.body.failure is None:
                            yield sse.DONE
                        return
    except MeshError as error:
        broken = error
    except Exception as error:  # noqa: BLE001  # nobody behind this could tell the reader any more
        broken = defect(error)
    yield sse.block(body_of(broken))


class Chunks:
    """Encodes the events of one run, in order."""

    def __init__(self, run: Run, shown: Presentation) -> None:
        self._run = run
        self._shown = shown
        self._model = ""
        self._fingerprint: str | None = None
        self._begun: set[int] = set()
        self._visible = Shown()

    def encode(self, written: RunEvent) -> Iterator[dict[str, Any]]:
        """Give the chunks of an event: often one, sometimes none."""
        if (event := self._visible.of(written)) is not None:
            yield from self._encode(event)

    def _encode(self, event: RunEvent) -> Iterator[dict[str, Any]]:
        match event.body:
            case ModelStarted(model=model, fingerprint=fingerprint):
                self._model, self._fingerprint = model, fingerprint or None
                if event.choice not in self._begun:
                    self._begun.add(event.choice)
                    yield self._chunk({"role": "assistant", "content": ""}, choice=event.choice)
            case TextDelta() | ReasoningDelta() | ToolCallDelta() as delta:
                yield from self._say(delta, event.choice)
            case ModelFinished(reason=reason):
                # A single answer may go on with another round; of several, each ends where its model does.
                if self._shown.choices > 1:
                    yield self._chunk({}, choice=event.choice, finish_reason=reason.value)
            case RunFinished() as finished:
                yield from self._end(finished)
            case CallAwaiting() | CallAwaitingInput() | CallStarted() | CallProgress() | CallFinished():
                if self._shown.events:
                    yield {**self._chunk({}), "threadmesh": call_event(event)}

    def _say(self, delta: Delta, choice: int) -> Iterator[dict[str, Any]]:
        match delta:
            case TextDelta(text=text, logprobs=logprobs):
                if text or logprobs:
                    yield self._chunk({"content": text}, choice=choice, logprobs=logprobs)
            case ReasoningDelta(text=text):
                if text:
                    yield self._chunk({"reasoning_content": text}, choice=choice)
            case ToolCallDelta():
                yield self._chunk({"tool_calls": [call_piece(delta)]}, choice=choice)

    def _end(self, finished: RunFinished) -> Iterator[dict[str, Any]]:
        if finished.failure is not None:
            yield body_of(finished.failure.error())
            return
        if self._shown.choices == 1:
            yield self._chunk({}, finish_reason=finished.reason.value)
        if self._shown.include_usage:
            yield {**self._envelope(), "choices": [], "usage": usage_body(finished.usage)}

    def _chunk(
        self,
        delta: dict[str, Any],
        *,
        choice: int = 0,
        finish_reason: str | None = None,
        logprobs: Sequence[TokenLogprob] = (),
    ) -> dict[str, Any]:
        told = {"index": choice, "delta": delta, "finish_reason": finish_reason, "logprobs": logprobs_body(logprobs)}
        chunk = {**self._envelope(), "choices": [told]}
        if self._shown.include_usage:
            chunk["usage"] = None
        return chunk

    def _envelope(self) -> dict[str, Any]:
        return {
            "id": completion_id(self._run),
            "object": "chat.completion.chunk",
            "created": int(self._run.create_time.timestamp()),
            "model": self._model,
            "service_tier": SERVICE_TIER,
            "system_fingerprint": self._fingerprint,
        }
