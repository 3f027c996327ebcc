"""What the servers of tools offer, from protobuf."""

from facade.domain.offer import ApprovalRule, Held, Offer, ServerState, Tool, ToolServer
from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.codec import decode_tool_definition

_EFFECTS = {
    pb.EFFECT_READ_ONLY: "read_only",
    pb.EFFECT_IDEMPOTENT: "idempotent",
    pb.EFFECT_KEYED: "keyed",
}
_APPROVAL = {
    pb.APPROVAL_RULE_NEVER: ApprovalRule.NEVER,
    pb.APPROVAL_RULE_AFTER_UNTRUSTED: ApprovalRule.AFTER_UNTRUSTED,
}
_STATES = {
    pb.SERVER_STATE_CONNECTING: ServerState.CONNECTING,
    pb.SERVER_STATE_READY: ServerState.READY,
}


def decode_offer(response: pb.ListToolsResponse) -> Offer:
    """Decode a catalogue."""
    return Offer(
        tools=tuple(map(_decode_tool, response.tools)),
        away=tuple(map(_decode_tool, response.away_tools)),
        held=tuple(Held(name=each.name, server=each.server) for each in response.quarantined),
        servers=tuple(map(_decode_server, response.servers)),
    )


def _decode_tool(tool: pb.Tool) -> Tool:
    return Tool(
        definition=decode_tool_definition(tool.definition),
        server=tool.server,
        title=tool.title,
        definition_hash=tool.definition_hash,
        approval=_decode_approval(tool),
        untrusted=tool.untrusted,
        effect=_EFFECTS.get(tool.effect, "unsafe"),
        queued=tool.queued,
    )


def _decode_approval(tool: pb.Tool) -> ApprovalRule:
    """Decode the rule; one that only a newer service knows is read as the strictest."""
    if tool.approval == pb.APPROVAL_RULE_UNSPECIFIED:
        return ApprovalRule.ALWAYS if tool.requires_approval else ApprovalRule.NEVER
    return _APPROVAL.get(tool.approval, ApprovalRule.ALWAYS)


def _decode_server(server: pb.Server) -> ToolServer:
    return ToolServer(
        name=server.name,
        state=_STATES.get(server.state, ServerState.UNAVAILABLE),
        resting=server.HasField("breaker"),
        listed=server.listed,
    )
