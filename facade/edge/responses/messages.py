"""The items of a request as messages: calls and thinking belong to the assistant's message that they came with."""

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from facade.edge.chat.media import decode_base64, split_data_url
from facade.edge.responses import input_items as items
from facade.edge.responses.compaction import opened
from facade.edge.responses.names import joined_tool
from facade.edge.responses.told_calls import told_result
from threadmesh.conversation import Media, Message, Part, Reasoning, Refusal, Role, Text, ToolCall, message


def messages_of(given: str | Sequence[items.InputItem]) -> tuple[Message, ...]:
    """Give the messages, oldest first."""
    if isinstance(given, str):
        return (message(Role.USER, given),)
    said: list[Message] = []
    for item in given:
        _add(said, item)
    return tuple(said)


def _add(said: list[Message], item: items.InputItem) -> None:
    match item:
        case items.MessageItem(role="assistant"):
            _join(said, Message(role=Role.ASSISTANT, parts=parts_of(item.content)))
        case items.MessageItem():
            said.append(Message(role=Role(item.role), parts=parts_of(item.content)))
        case items.ReasoningItem():
            texts = [part.text for part in item.content or item.summary]
            if texts:
                said.append(Message(role=Role.ASSISTANT, parts=(Reasoning(text="\n".join(texts)),)))
        case items.FunctionCallItem():
            call = ToolCall(id=item.call_id, name=item.name, arguments_json=item.arguments)
            _join(said, Message(role=Role.ASSISTANT, tool_calls=(call,)))
        case items.FunctionOutputItem():
            said.append(Message(role=Role.TOOL, tool_call_id=item.call_id, parts=parts_of(item.output)))
        case items.McpCallItem():
            name = joined_tool(item.server_label, item.name)
            call = ToolCall(id=item.id, name=name, arguments_json=item.arguments)
            _join(said, Message(role=Role.ASSISTANT, tool_calls=(call,)))
            result = told_result(item.output, item.error)
            said.append(Message(role=Role.TOOL, tool_call_id=item.id, name=name, parts=(Text(text=result),)))
        case items.CompactionItem():
            said += opened(item.encrypted_content).messages()
        case items.McpListToolsItem() | items.McpApprovalRequestItem() | items.McpApprovalItem():
            pass
        case items.ItemReference():
            raise TypeError("a reference is followed before it is read")
        case other:
            assert_never(other)


def _join(said: list[Message], more: Message) -> None:
    """Let it be part of the assistant's message before it, unless tools have answered since, or it begins a text."""
    last = said[-1] if said else None
    thinks = last is not None and all(isinstance(part, Reasoning) for part in last.parts) and not last.tool_calls
    if last is not None and last.role is Role.ASSISTANT and (thinks or not more.parts):
        said[-1] = replace(last, parts=(*last.parts, *more.parts), tool_calls=(*last.tool_calls, *more.tool_calls))
    else:
        said.append(more)


def parts_of(content: items.Content) -> tuple[Part, ...]:
    """Give what a content consists of."""
    if isinstance(content, str):
        return (Text(text=content),) if content else ()
    return tuple(map(_part, content))


def _part(part: items.Part) -> Part:
    match part:
        case items.TextContent():
            return Text(text=part.text)
        case items.RefusalContent():
            return Refusal(text=part.refusal)
        case items.ImageContent():
            media_type, data = split_data_url(part.image_url or "")
            return Media(mime_type=media_type, data=data)
        case items.AudioContent():
            data = decode_base64(part.input_audio.data)
            return Media(mime_type=f"audio/{part.input_audio.format}", data=data)
        case other:
            assert_never(other)
