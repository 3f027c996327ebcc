"""A part of a run as a response: its items, its model, and how it ended."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from facade.domain.events import ModelFinished, ModelStarted, Run, RunEvent, RunFinished, RunState
from facade.edge.responses.names import FROM_THE_BEGINNING, Part
from facade.edge.responses.output import CUT, Output
from facade.edge.responses.parts import Event
from facade.edge.responses.resource import Resource
from facade.edge.responses.stored import Echo
from threadmesh.conversation import CallAwaiting, FinishReason, Usage


class View:
    """Takes the events of a run in order, from its first; what stands before the part is only remembered.

    A part ends with the run, or where the run waits for a person's approval: `finished` then says how.
    """

    def __init__(self, run: Run, echo: Echo, part: Part) -> None:
        self.output = Output(run, echo.listed, after=part.after)
        self.resource = Resource(run, echo.fields, part)
        self.finished: RunFinished | None = None
        self.end_time: datetime | None = None
        self.tools_were_called = False
        self._after = part.after
        self._usage = Usage()

    @property
    def ended(self) -> bool:
        """Whether nothing more comes."""
        return self.finished is not None

    def begin(self) -> Iterator[Event]:
        """Tell of what is known before the log."""
        yield from self.output.begin()

    def take(self, event: RunEvent) -> Iterator[Event]:
        """Tell what an event changes; nothing behind the part's end."""
        if self.finished is not None:
            return
        self.tools_were_called = self.tools_were_called or event.may_have_effects
        if event.sequence <= self._after:
            self.output.recall(event)
            return
        match event.body:
            case ModelStarted(model=model):
                self.resource.model = model
            case RunFinished() as finished:
                yield from self._end(finished, event)
                return
            case ModelFinished(usage=usage):
                self._usage += usage
            case _:
                pass
        yield from self.output.take(event)
        if isinstance(event.body, CallAwaiting) and event.body.last:
            yield from self._end(
                RunFinished(state=RunState.SUCCEEDED, reason=FinishReason.TOOL_CALLS, usage=self._usage), event
            )

    def ending(self, finished: RunFinished) -> dict[str, Any]:
        """Give the response object as it is since it has `finished`."""
        return self.resource.ended(self.output.items, finished, at=self.end_time)

    def _end(self, finished: RunFinished, event: RunEvent) -> Iterator[Event]:
        if self._after != FROM_THE_BEGINNING:
            finished = replace(finished, usage=self._usage)
        self.finished, self.end_time = finished, event.time
        whole = finished.failure is None and finished.reason not in CUT
        yield from self.output.end("completed" if whole else "incomplete")
