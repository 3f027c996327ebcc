"""An answer that is given as a whole."""

import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.responses import Response

from facade.domain.events import ModelFinished, ModelStarted, Run, RunEvent, RunFinished
from facade.edge.answering import Log
from facade.edge.chat.completion import Completion
from facade.edge.chat.decode import Presentation
from facade.edge.chat.place import Place
from facade.edge.errors import response_of
from facade.edge.readers import Reader
from threadmesh.errors import Internal


@dataclass(frozen=True, slots=True)
class Answer:
    """A run that a request is answered with, from its log; `after` is what its reader has seen already.

    `began` is when the request came, in seconds of `time.monotonic`.
    """

    run: Run
    log: Log
    shown: Presentation
    reader: Reader
    began: float
    after: Place | None = None


async def collected(answer: Answer, *, orchestrator_fields: bool) -> Response:
    """Read a log to its end and give the completion, or what went wrong."""
    completion = Completion(answer.run)
    clock = _GenerationClock()
    async with aclosing(answer.log) as log:
        async for events in log:
            for event in events:
                clock.tick(event)
                completion.add(event)
                if isinstance(event.body, RunFinished):
                    return _response(answer, completion, event.body, clock, orchestrator_fields=orchestrator_fields)
    raise Internal("The run's log ended without an end.")


def _response(
    answer: Answer,
    completion: Completion,
    finished: RunFinished,
    clock: "_GenerationClock",
    *,
    orchestrator_fields: bool,
) -> Response:
    if finished.failure is not None:
        return response_of(finished.failure.error(), tools_were_called=completion.tools_were_called)
    timing = {
        "processing_ms": round(clock.seconds * 1000),
        "total_ms": round((time.monotonic() - answer.began) * 1000),
        "prompt_bytes": answer.shown.prompt_bytes,
    }
    body: dict[str, Any] = completion.body(finished)
    if orchestrator_fields:
        body |= timing
    headers = {
        "x-processing-time-ms": str(timing["processing_ms"]),
        "x-total-time-ms": str(timing["total_ms"]),
    }
    return Response(orjson.dumps(body), headers=headers, media_type="application/json")


class _GenerationClock:
    """Adds up the time in which a model was at work."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0
        self._working: set[int] = set()

    def tick(self, event: RunEvent) -> None:
        match event.body:
            case ModelStarted():
                if not self._working:
                    self._began = time.monotonic()
                self._working.add(event.choice)
            case ModelFinished():
                self._working.discard(event.choice)
                if not self._working:
                    self.seconds += time.monotonic() - self._began
            case _:
                pass
