"""The items of a response while they come: each knows its body, and tells in events how it grows."""

from collections.abc import Iterator, Sequence
from typing import Any

from facade.edge.chat.encode import logprobs_body
from facade.edge.responses.names import split_tool
from threadmesh.conversation import CallFinished, CallOutcome, CallProgress, Text, TokenLogprob

Event = dict[str, Any]


class Item:
    """An item of the output, in its place `index`."""

    def __init__(self, index: int, body: dict[str, Any]) -> None:
        self.index = index
        self.body = body

    def begin(self) -> Iterator[Event]:
        """Tell that there is an item."""
        yield {"type": "response.output_item.added", "output_index": self.index, "item": _copy(self.body)}

    def end(self, status: str) -> Iterator[Event]:
        """Tell that the item is whole, or that it was broken off."""
        self.body["status"] = status
        yield {"type": "response.output_item.done", "output_index": self.index, "item": _copy(self.body)}

    def _of(self, kind: str, **fields: Any) -> Event:
        return {"type": f"response.{kind}", "item_id": self.body["id"], "output_index": self.index, **fields}


class Spoken(Item):
    """An item with one part of text: the answer, or the thinking."""

    def __init__(self, index: int, body: dict[str, Any], part: dict[str, Any], kind: str) -> None:
        super().__init__(index, {**body, "content": [], "status": "in_progress"})
        self._part = part
        self._kind = kind

    def begin(self) -> Iterator[Event]:
        """Tell that there is an item with a part."""
        yield from super().begin()
        self.body["content"] = [self._part]
        yield self._of("content_part.added", content_index=0, part=_copy(self._part))

    def grow(self, text: str, logprobs: Sequence[TokenLogprob] = ()) -> Iterator[Event]:
        """Tell of more text."""
        self._part["text"] += text
        more: dict[str, Any] = {}
        if "logprobs" in self._part:
            body = logprobs_body(logprobs)
            more["logprobs"] = body["content"] if body else []
            self._part["logprobs"] += more["logprobs"]
        yield self._of(f"{self._kind}.delta", content_index=0, delta=text, **more)

    def end(self, status: str) -> Iterator[Event]:
        """Tell the whole text, the part and the item."""
        told = {"text": self._part["text"]}
        if "logprobs" in self._part:
            told["logprobs"] = self._part["logprobs"]
        yield self._of(f"{self._kind}.done", content_index=0, **told)
        yield self._of("content_part.done", content_index=0, part=_copy(self._part))
        yield from super().end(status)


def answer(index: int, name: str) -> Spoken:
    """Begin a message of the assistant."""
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    return Spoken(index, {"id": name, "type": "message", "role": "assistant"}, part, "output_text")


def thinking(index: int, name: str) -> Spoken:
    """Begin the model's thinking."""
    part = {"type": "reasoning_text", "text": ""}
    return Spoken(index, {"id": name, "type": "reasoning", "summary": []}, part, "reasoning_text")


class FunctionCall(Item):
    """A call that the client is to run."""

    def __init__(self, index: int, name: str, call_id: str, function: str) -> None:
        body = {"id": name, "type": "function_call", "call_id": call_id, "name": function, "arguments": ""}
        super().__init__(index, {**body, "status": "in_progress"})

    def grow(self, arguments: str) -> Iterator[Event]:
        """Tell more of the arguments."""
        self.body["arguments"] += arguments
        yield self._of("function_call_arguments.delta", delta=arguments)

    def end(self, status: str) -> Iterator[Event]:
        """Tell the whole arguments, and the item."""
        told = {"name": self.body["name"], "arguments": self.body["arguments"]}
        yield self._of("function_call_arguments.done", **told)
        yield from super().end(status)


class McpCall(Item):
    """A call that the mesh runs."""

    def __init__(self, index: int, name: str, called: str, arguments: str, *, approval: str | None = None) -> None:
        server, tool = split_tool(called)
        body = {"id": name, "type": "mcp_call", "server_label": server, "name": tool, "arguments": ""}
        rest = {"output": None, "error": None, "approval_request_id": approval, "status": "in_progress"}
        super().__init__(index, {**body, **rest})
        self._arguments = arguments

    def begin(self) -> Iterator[Event]:
        """Tell of the call with its arguments."""
        yield from super().begin()
        yield self._of("mcp_call.in_progress")
        self.body["arguments"] = self._arguments
        yield self._of("mcp_call_arguments.delta", delta=self._arguments)
        yield self._of("mcp_call_arguments.done", arguments=self._arguments)

    def progress(self, progress: CallProgress) -> Iterator[Event]:
        """Tell how far it is, in fields that OpenAI does not have on an event that it has."""
        told = {"progress": progress.progress, "total": progress.total, "message": progress.message}
        yield self._of("mcp_call.in_progress", **told)

    def finish(self, finished: CallFinished) -> Iterator[Event]:
        """Tell how it ended."""
        output = "\n".join(part.text for part in finished.parts if isinstance(part, Text))
        if finished.outcome is CallOutcome.SUCCEEDED:
            self.body["output"] = output or finished.structured_json
            yield self._of("mcp_call.completed")
            yield from self.end("completed")
            return
        failure = finished.failure
        why = failure.message if failure else f"The call ended {finished.outcome.value}."
        self.body["error"] = {"type": "mcp_tool_execution_error", "content": [{"type": "text", "text": output or why}]}
        self.body["outcome"] = finished.outcome.value
        yield self._of("mcp_call.failed")
        yield from self.end("failed")


class McpApprovalRequest(Item):
    """The question whether a call may be made."""

    def __init__(self, index: int, name: str, called: str, arguments: str) -> None:
        server, tool = split_tool(called)
        body = {"id": name, "type": "mcp_approval_request", "server_label": server, "name": tool}
        super().__init__(index, {**body, "arguments": arguments})

    def begin(self) -> Iterator[Event]:
        """Tell all of it."""
        yield from super().begin()
        yield {"type": "response.output_item.done", "output_index": self.index, "item": _copy(self.body)}


class McpListTools(Item):
    """What tools of a server the model was told of."""

    def begin(self) -> Iterator[Event]:
        """Tell all of it: it is known before the run begins."""
        whole, self.body = self.body, {**self.body, "tools": []}
        yield from super().begin()
        yield self._of("mcp_list_tools.in_progress")
        self.body = whole
        yield self._of("mcp_list_tools.completed")
        yield {"type": "response.output_item.done", "output_index": self.index, "item": _copy(self.body)}


def _copy(body: dict[str, Any]) -> dict[str, Any]:
    """Give a body as it is now: what was told does not change when more comes."""
    return {key: [*value] if isinstance(value, list) else value for key, value in body.items()}
