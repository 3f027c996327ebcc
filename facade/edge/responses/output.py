"""The output of a response from the events of its run: the same log always gives the same items and events."""

from collections.abc import Iterator, Sequence
from typing import Any

from facade.domain.events import ModelFinished, Run, RunEvent
from facade.edge.responses.names import FROM_THE_BEGINNING, approval_id, item_id
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
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
)

_SEPARATOR = "__"
"""Stands between a server's name and its tool's."""


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

    @property
    def items(self) -> list[dict[str, Any]]:
        """The items' bodies as they are now."""
        return [item.body for item in self._items]

    def begin(self) -> Iterator[Event]:
        """Tell of what is known before the run."""
        for each in self._listed if self._after == FROM_THE_BEGINNING else ():
            body = {"id": self._name("mcpl"), "type": "mcp_list_tools", "error": None, **each}
            yield from self._add(McpListTools(len(self._items), body))

    def take(self, event: RunEvent) -> Iterator[Event]:
        """Tell what an event changes."""
        match event.body:
            case TextDelta(text=text, logprobs=logprobs) if text or logprobs:
                yield from self._say(answer, "msg", event.round)
                yield from self._spoken().grow(text, logprobs)
            case ReasoningDelta(text=text) if text:
                yield from self._say(thinking, "rs", event.round)
                yield from self._spoken().grow(text)
            case ToolCallDelta() as delta:
                yield from self._ask(event, delta)
            case ModelFinished():
                yield from self._close()
            case CallAwaiting() as awaiting:
                yield from self._close()
                yield from self._question(event.call_id, awaiting)
            case CallStarted(name=name, arguments_json=arguments):
                yield from self._close()
                if event.call_id not in self._calls:
                    yield from self._call(event.call_id, name, arguments)
            case CallProgress() as progress:
                yield from self._calls[event.call_id].progress(progress)
            case CallFinished() as finished:
                yield from self._finish(event.call_id, finished)
            case _:
                pass

    def recall(self, event: RunEvent) -> None:
        """Take in an event of an earlier part: which calls were asked for, and about which a person was."""
        if isinstance(event.body, ToolCallDelta) and event.hidden:
            self._note(event, event.body)
        elif isinstance(event.body, CallAwaiting):
            self._approvals[event.call_id] = approval_id(self._run, event.call_id)

    def end(self, status: str) -> Iterator[Event]:
        """Tell that nothing more comes: what is not whole was broken off with this status."""
        yield from self._close(status)
        for item in self._items:
            if item.body.get("status") == "in_progress":
                yield from item.end("incomplete")

    def _say(self, begin: Any, kind: str, in_round: int) -> Iterator[Event]:
        """Let the open item be one of this kind."""
        place = (in_round, -1 if kind == "msg" else -2)
        if self._place != place:
            yield from self._close()
            self._open, self._place = begin(len(self._items), self._name(kind)), place
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
            call = FunctionCall(len(self._items), self._name("fc"), delta.id, delta.name)
            self._open, self._place = call, place
            yield from self._add(call)
        if isinstance(self._open, FunctionCall) and delta.arguments_json:
            yield from self._open.grow(delta.arguments_json)

    def _note(self, event: RunEvent, delta: ToolCallDelta) -> None:
        asked = self._asked.setdefault((event.round, delta.index), [delta.id, delta.name, ""])
        asked[2] += delta.arguments_json

    def _question(self, call_id: str, awaiting: CallAwaiting) -> Iterator[Event]:
        server, _, tool = awaiting.name.partition(_SEPARATOR)
        body = {
            "id": approval_id(self._run, call_id),
            "type": "mcp_approval_request",
            "server_label": server,
            "name": tool,
            "arguments": awaiting.arguments_json,
        }
        yield from self._add(McpApprovalRequest(len(self._items), body))

    def _finish(self, call_id: str, finished: CallFinished) -> Iterator[Event]:
        if call_id not in self._calls:  # it was never sent
            yield from self._close()
            arguments = next((asked[2] for asked in self._asked.values() if asked[0] == call_id), "")
            yield from self._call(call_id, finished.name, arguments)
        yield from self._calls[call_id].finish(finished)

    def _call(self, call_id: str, name: str, arguments: str) -> Iterator[Event]:
        server, _, tool = name.partition(_SEPARATOR)
        approval = self._approvals.get(call_id)
        call = McpCall(len(self._items), self._name("mcp"), server, tool, arguments, approval=approval)
        self._calls[call_id] = call
        yield from self._add(call)

    def _add(self, item: Item) -> Iterator[Event]:
        self._items.append(item)
        yield from item.begin()

    def _close(self, status: str = "completed") -> Iterator[Event]:
        if self._open is not None:
            yield from self._open.end(status)
        self._open, self._place = None, None

    def _name(self, kind: str) -> str:
        return item_id(kind, self._run, len(self._items), self._after)
