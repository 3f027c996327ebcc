"""The output of a response from the events of its run: the same log always gives the same items and events."""

from collections.abc import Iterator, Sequence
from typing import Any

from facade.domain.events import ModelFinished, ModelStarted, Run, RunEvent
from facade.edge.responses.names import FROM_THE_BEGINNING, answer_name, approval_id, item_id, listed_id
from facade.edge.responses.parts import (
    Event,
    FunctionCall,
    Item,
    McpApprovalRequest,
    McpCall,
    McpListTools,
    Spoken,
    answer,
    thinking,
)
from threadmesh.conversation import (
    CallAwaiting,
    CallFinished,
    CallProgress,
    CallStarted,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
)

CUT = (FinishReason.LENGTH, FinishReason.CONTENT_FILTER)
"""Why an answer has ended that is not whole."""


class Output:
    """Takes the events of a run in order and tells what becomes of the response's items.

    `listed` are the tools of servers that the model was told of, by the servers' names. The output is that of the part
    of the run behind the event `after`; what came before is `recall`ed.
    """

    def __init__(self, run: Run, listed: Sequence[dict[str, Any]] = (), *, after: int = FROM_THE_BEGINNING) -> None:
        self._run = run
        self._after = after
        self._approvals: dict[str, str] = {}
        self._listed = listed
        self._items: list[Item] = []
        self._open: Spoken | FunctionCall | None = None
        self._place: tuple[int, int] | None = None
        self._asked: dict[tuple[int, int], list[str]] = {}
        self._calls: dict[str, McpCall] = {}
        self._entries: dict[int, int] = {}
        self._names: set[str] = set()

    @property
    def items(self) -> list[dict[str, Any]]:
        """The items' bodies as they are now."""
        return [item.body for item in self._items]

    def begin(self) -> Iterator[Event]:
        """Tell of what is known before the run."""
        for each in self._listed if self._after == FROM_THE_BEGINNING else ():
            body = {"id": listed_id(self._run, len(self._items)), "type": "mcp_list_tools", "error": None, **each}
            yield from self._add(McpListTools(len(self._items), body))

    def take(self, event: RunEvent) -> Iterator[Event]:
        """Tell what an event changes."""
        match event.body:
            case ModelStarted():
                self._place_round(event.round, event.body)
            case TextDelta(text=text, logprobs=logprobs) if text or logprobs:
                yield from self._say(answer, "msg", event)
                yield from self._spoken().grow(text, logprobs)
            case ReasoningDelta(text=text) if text:
                yield from self._say(thinking, "rs", event)
                yield from self._spoken().grow(text)
            case ToolCallDelta() as delta:
                yield from self._ask(event, delta)
            case ModelFinished(reason=reason):
                yield from self._close("incomplete" if reason in CUT else "completed")
            case CallAwaiting() as awaiting:
                yield from self._close()
                yield from self._question(event, awaiting)
            case CallStarted(name=name, arguments_json=arguments):
                yield from self._close()
                if event.call_id not in self._calls:
                    yield from self._call(event, name, arguments)
            case CallProgress() as progress:
                yield from self._calls[event.call_id].progress(progress)
            case CallFinished() as finished:
                yield from self._finish(event, finished)
            case _:
                pass

    def recall(self, event: RunEvent) -> None:
        """Take in an event of an earlier part: which calls were asked for, and about which a person was."""
        if isinstance(event.body, ToolCallDelta) and event.hidden:
            self._note(event, event.body)
        elif isinstance(event.body, ModelStarted):
            self._place_round(event.round, event.body)
        elif isinstance(event.body, CallAwaiting):
            self._approvals[event.call_id] = self._approval(event)

    def end(self, status: str) -> Iterator[Event]:
        """Tell that nothing more comes: what is not whole was broken off with this status."""
        yield from self._close(status)
        for item in self._items:
            if item.body.get("status") == "in_progress":
                yield from item.end("incomplete")

    def _place_round(self, number: int, started: ModelStarted) -> None:
        """Note the entry of the thread that what is said in a round will be; old logs do not tell."""
        self._entries[number] = number if started.item is None else started.item

    def _say(self, begin: Any, kind: str, event: RunEvent) -> Iterator[Event]:
        """Let the open item be one of this kind."""
        place = (event.round, -1 if kind == "msg" else -2)
        if self._place != place:
            yield from self._close()
            self._open, self._place = begin(len(self._items), self._name(kind, event)), place
            yield from self._add(self._open)

    def _spoken(self) -> Spoken:
        if not isinstance(self._open, Spoken):
            raise TypeError("a text belongs to an item with text")
        return self._open

    def _ask(self, event: RunEvent, delta: ToolCallDelta) -> Iterator[Event]:
        """Take a piece of a call: the client's own is shown, the mesh's is told when it is made."""
        place = (event.round, delta.index)
        if event.hidden:
            self._note(event, delta)
            return
        if self._place != place:
            yield from self._close()
            call = FunctionCall(len(self._items), self._name("fc", event, delta.id), delta.id, delta.name)
            self._open, self._place = call, place
            yield from self._add(call)
        if isinstance(self._open, FunctionCall) and delta.arguments_json:
            yield from self._open.grow(delta.arguments_json)

    def _note(self, event: RunEvent, delta: ToolCallDelta) -> None:
        asked = self._asked.setdefault((event.round, delta.index), [delta.id, delta.name, ""])
        asked[2] += delta.arguments_json

    def _question(self, event: RunEvent, awaiting: CallAwaiting) -> Iterator[Event]:
        name = self._approval(event)
        yield from self._add(McpApprovalRequest(len(self._items), name, awaiting.name, awaiting.arguments_json))

    def _approval(self, event: RunEvent) -> str:
        return approval_id(self._entry(event), event.call_id)

    def _finish(self, event: RunEvent, finished: CallFinished) -> Iterator[Event]:
        call_id = event.call_id
        if call_id not in self._calls:  # it was never sent
            yield from self._close()
            arguments = next((asked[2] for asked in self._asked.values() if asked[0] == call_id), "")
            yield from self._call(event, finished.name, arguments)
        yield from self._calls[call_id].finish(finished)

    def _call(self, event: RunEvent, called: str, arguments: str) -> Iterator[Event]:
        name, approval = self._name("mcp", event, event.call_id), self._approvals.get(event.call_id)
        call = self._calls[event.call_id] = McpCall(len(self._items), name, called, arguments, approval=approval)
        yield from self._add(call)

    def _add(self, item: Item) -> Iterator[Event]:
        self._items.append(item)
        yield from item.begin()

    def _close(self, status: str = "completed") -> Iterator[Event]:
        if self._open is not None:
            yield from self._open.end(status)
        self._open, self._place = None, None

    def _name(self, kind: str, event: RunEvent, call_id: str = "") -> str:
        """Name an item as its thread will. What a round says in several pieces is one item there, with the first's."""
        name = item_id(kind, self._entry(event), call_id)
        if name in self._names:
            name = f"{name}-{len(self._items)}"
        self._names.add(name)
        return name

    def _entry(self, event: RunEvent) -> str:
        return answer_name(self._run, self._entries.get(event.round, event.round))
