"""Messages and tools to and from protobuf. Pure functions; `decode_*` raises `InvalidArgument` for unknown kinds."""

from typing import assert_never

from threadmesh.api.conversation.v1 import conversation_pb2 as pb
from threadmesh.conversation import (
    Approval,
    Media,
    Message,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
    ToolDefinition,
)
from threadmesh.errors import InvalidArgument

_ROLES = {
    Role.SYSTEM: pb.ROLE_SYSTEM,
    Role.DEVELOPER: pb.ROLE_DEVELOPER,
    Role.USER: pb.ROLE_USER,
    Role.ASSISTANT: pb.ROLE_ASSISTANT,
    Role.TOOL: pb.ROLE_TOOL,
}
_ROLES_BACK = {wire: role for role, wire in _ROLES.items()}
_MODES = {
    ToolChoiceMode.AUTO: pb.TOOL_CHOICE_MODE_AUTO,
    ToolChoiceMode.NONE: pb.TOOL_CHOICE_MODE_NONE,
    ToolChoiceMode.REQUIRED: pb.TOOL_CHOICE_MODE_REQUIRED,
}
_MODES_BACK = {wire: mode for mode, wire in _MODES.items()}


def encode_part(part: Part) -> pb.Part:
    """Encode one piece of a message."""
    match part:
        case Text(text=text):
            return pb.Part(text=text)
        case Refusal(text=text):
            return pb.Part(refusal=text)
        case Reasoning(text=text):
            return pb.Part(reasoning=text)
        case Media(mime_type=mime_type, data=data):
            return pb.Part(media=pb.Media(mime_type=mime_type, data=data))
        case other:
            assert_never(other)


def decode_part(part: pb.Part) -> Part:
    """Decode one piece of a message."""
    match part.WhichOneof("content"):
        case "text":
            return Text(text=part.text)
        case "refusal":
            return Refusal(text=part.refusal)
        case "reasoning":
            return Reasoning(text=part.reasoning)
        case "media":
            return Media(mime_type=part.media.mime_type, data=part.media.data)
        case None:
            raise InvalidArgument("A part of a message is empty or of a kind this server does not know.")
        case other:
            assert_never(other)


def encode_message(message: Message) -> pb.Message:
    """Encode a message."""
    return pb.Message(
        role=_ROLES[message.role],
        parts=map(encode_part, message.parts),
        tool_calls=map(encode_tool_call, message.tool_calls),
        tool_call_id=message.tool_call_id,
        name=message.name,
    )


def decode_message(message: pb.Message) -> Message:
    """Decode a message."""
    if message.role not in _ROLES_BACK:
        raise InvalidArgument("A message has a role that this server does not know.", role=message.role)
    return Message(
        role=_ROLES_BACK[message.role],
        parts=tuple(map(decode_part, message.parts)),
        tool_calls=tuple(map(decode_tool_call, message.tool_calls)),
        tool_call_id=message.tool_call_id,
        name=message.name,
    )


def encode_approval(approval: Approval | None) -> pb.Approval | None:
    """Encode what a person was asked about a call."""
    return pb.Approval(approved=approval.approved, reason=approval.reason) if approval else None


def decode_approval(approval: pb.Approval) -> Approval:
    """Decode what a person was asked about a call."""
    answer = approval.approved if approval.HasField("approved") else None
    return Approval(approved=answer, reason=approval.reason)


def encode_tool_call(call: ToolCall) -> pb.ToolCall:
    """Encode a tool call."""
    return pb.ToolCall(id=call.id, name=call.name, arguments_json=call.arguments_json)


def decode_tool_call(call: pb.ToolCall) -> ToolCall:
    """Decode a tool call."""
    return ToolCall(id=call.id, name=call.name, arguments_json=call.arguments_json)


def encode_tool_definition(tool: ToolDefinition) -> pb.ToolDefinition:
    """Encode a tool."""
    return pb.ToolDefinition(
        name=tool.name, description=tool.description, parameters_json=tool.parameters_json, strict=tool.strict
    )


def decode_tool_definition(tool: pb.ToolDefinition) -> ToolDefinition:
    """Decode a tool."""
    return ToolDefinition(
        name=tool.name, description=tool.description, parameters_json=tool.parameters_json, strict=tool.strict
    )


def encode_tool_choice(choice: ToolChoice) -> pb.ToolChoice:
    """Encode a rule on tool calls."""
    return pb.ToolChoice(name=choice.name) if choice.name else pb.ToolChoice(mode=_MODES[choice.mode])


def decode_tool_choice(choice: pb.ToolChoice) -> ToolChoice:
    """Decode a rule on tool calls; an unset one is AUTO."""
    if choice.WhichOneof("choice") == "name":
        return ToolChoice(mode=ToolChoiceMode.REQUIRED, name=choice.name)
    return ToolChoice(mode=_MODES_BACK.get(choice.mode, ToolChoiceMode.AUTO))
