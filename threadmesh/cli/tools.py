"""`threadmesh tools`: the catalogue, and a person's own call of a tool."""

import difflib
import json
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import typer
from google.protobuf.duration_pb2 import Duration

from threadmesh.api.conversation.v1 import conversation_pb2, questions_pb2
from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.cli.arguments import parse_arguments
from threadmesh.cli.call_answers import asked_at_terminal
from threadmesh.cli.calls import execute_tools, list_tools, reached
from threadmesh.cli.output import one_line, print_json, print_table, printable, stderr
from threadmesh.cli.status import SERVER_STATES
from threadmesh.conversation import CallFinished, CallOutcome, Part, Text
from threadmesh.errors import MeshError, ToolNotFound, Unavailable
from threadmesh.event_codec import decode_call_finished, decode_call_progress, decode_failure
from threadmesh.rpc.channel import MeshChannel

_EFFECTS = {1: "read only", 2: "idempotent", 3: "keyed", 4: "unsafe"}
_APPROVAL = {1: "never", 2: "always", 3: "after_untrusted"}
_RULES = {"never": "", "always": "by approval", "after_untrusted": "by approval after untrusted"}


async def show_tools(target: str, *, as_json: bool) -> None:
    """Write the catalogue."""
    async with reached(target, peer="tools") as channel:
        catalogue = await list_tools(channel)
    if as_json:
        print_json(
            {
                "tools": [_tool(each) for each in catalogue.tools],
                "away_tools": [_tool(each) for each in catalogue.away_tools],
                "servers": list(map(_server, catalogue.servers)),
                "quarantined": list(map(_quarantined, catalogue.quarantined)),
                "capabilities": {
                    each.name: [member.tool for member in each.members] for each in catalogue.capabilities
                },
            }
        )
        return
    rows = [
        [each.definition.name, each.server, _rules(each), one_line(each.definition.description, limit=100)]
        for each in catalogue.tools
    ]
    print_table(["tool", "server", "effect", "description"], rows)
    for problem in catalogue.servers_file_problems:
        stderr().print(f"The servers file is not followed: {problem}", markup=False)
    for tool in catalogue.tools:
        for warning in tool.warnings:
            stderr().print(f"Look at {tool.definition.name}: {warning}.", markup=False)
    for capability in catalogue.capabilities:
        stderr().print(_ranks(capability), markup=False)
    for server in catalogue.servers:
        if server.state != pb.SERVER_STATE_READY:
            told = _server(server)
            why = f": {told['failure']}" if told["failure"] else ""
            stderr().print(f"{told['name']} is {told['state']}{why}", markup=False)
        elif server.HasField("breaker"):
            rest = f"{server.name} failed too often and is left alone until {server.breaker.retry_time.ToJsonString()}"
            stderr().print(rest, markup=False)
    for held in catalogue.quarantined:
        changed = held.pinned.hash != held.present.hash
        why = "; ".join([*(["its definition has changed"] if changed else []), *held.warnings])
        notice = f"{held.name} is held back: {why}; see `threadmesh tools approve {held.name}`."
        stderr().print(notice, markup=False)


async def call_tool(
    target: str, name: str, words: Sequence[str], *, seconds: float | None, interactive: bool = False
) -> None:
    """Call a tool, show its progress, and write its result; raises a `MeshError` when it gives none.

    With `interactive`, whoever sits at the terminal answers what the tool's server asks.
    """
    async with reached(target, peer="tools") as channel:
        catalogue = await list_tools(channel)
        tool = _named([*catalogue.tools, *catalogue.away_tools], name)
        arguments = parse_arguments(words, schema_json=tool.definition.parameters_json)
        call = conversation_pb2.ToolCall(id=f"cli-{uuid4().hex}", name=name, arguments_json=arguments)
        # Whoever types the command approves the call.
        approval = pb.Approval(call_id=call.id, definition_hash=tool.definition_hash)
        request = pb.ExecuteToolsRequest(
            # A call that may ask is found again by its run.
            run_id=call.id if interactive else "",
            calls=[call],
            approvals=[approval] if tool.requires_approval else [],
            answers_questions=interactive,
        )
        if seconds is not None:
            request.timeout.CopyFrom(_duration(seconds))
        ended = await _carried(channel, request, name)
        while isinstance(ended, questions_pb2.CallInputRequired):
            continuation = pb.Continuation(
                call_id=call.id,
                round=ended.round,
                answers=asked_at_terminal(ended),
                request_state=ended.request_state,
                held=ended.held,
            )
            request.ClearField("continuations")
            request.continuations.append(continuation)
            ended = await _carried(channel, request, name)
    _write_result(ended, name)


def result_text(parts: Sequence[Part]) -> str:
    """Give the text of a tool's result; what is no text is named."""
    return "\n".join(part.text if isinstance(part, Text) else f"[{type(part).__name__.lower()}]" for part in parts)


async def _carried(
    channel: MeshChannel, request: pb.ExecuteToolsRequest, name: str
) -> CallFinished | questions_pb2.CallInputRequired:
    async with aclosing(execute_tools(channel, request)) as events:
        return await _followed(events, name)


async def _followed(events: Any, name: str) -> CallFinished | questions_pb2.CallInputRequired:
    finished: CallFinished | questions_pb2.CallInputRequired | None = None
    notices = stderr()
    async for event in events:
        match event.WhichOneof("event"):
            case "started":
                notices.print(
                    f"→ {name} {one_line(event.started.arguments_json, limit=200)}", style="dim", markup=False
                )
            case "progress":
                notices.print(_progress_line(event.progress), style="dim", markup=False)
            case "finished":
                finished = decode_call_finished(event.finished)
            case "input_required":
                finished = event.input_required
            case _:
                pass
    if finished is None:
        raise Unavailable("The tools service ended the call without a result; whether it took effect is unknown.")
    return finished


def _progress_line(wire: Any) -> str:
    progress = decode_call_progress(wire)
    share = f"{progress.progress:g}/{progress.total:g}" if progress.total else f"{progress.progress:g}"
    return f"… {share} {one_line(progress.message, limit=120)}".rstrip()


def _write_result(finished: CallFinished, name: str) -> None:
    text = printable(result_text(finished.parts)) or finished.structured_json
    if finished.outcome is CallOutcome.SUCCEEDED:
        typer.echo(text)
        return
    why = " ".join(each for each in (finished.failure.message if finished.failure else "", text) if each)
    raise MeshError(f"{name} {finished.outcome} after {finished.seconds:.2f} s: {one_line(why) or 'no reason given'}")


def _named(tools: Sequence[pb.Tool], name: str) -> pb.Tool:
    names = [tool.definition.name for tool in tools]
    if name in names:
        return tools[names.index(name)]
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(close)}?" if close else "see `threadmesh tools list`."
    raise ToolNotFound(f"There is no tool {name!r}; {hint}")


def _tool(tool: pb.Tool) -> dict[str, object]:
    return {
        "name": tool.definition.name,
        "server": tool.server,
        "effect": _effect(tool),
        "queued": tool.queued,
        "requires_approval": tool.requires_approval,
        "approval": _approval(tool),
        "untrusted": tool.untrusted,
        "warnings": list(tool.warnings),
        "description": tool.definition.description,
        "parameters": json.loads(tool.definition.parameters_json or "{}"),
    }


def _quarantined(held: pb.QuarantinedTool) -> dict[str, object]:
    definitions = {"pinned": held.pinned, "present": held.present}
    return {"name": held.name, "server": held.server, "warnings": list(held.warnings)} | {
        name: {"hash": each.hash, "definition": json.loads(each.definition_json or "{}")}
        for name, each in definitions.items()
    }


def _ranks(capability: pb.Capability) -> str:
    members = (f"{each.tool} ({each.hindrance})" if each.hindrance else each.tool for each in capability.members)
    return f"any__{capability.name} is done by the first of: {', '.join(members)}"


def _server(server: pb.Server) -> dict[str, object]:
    failure = decode_failure(server.failure).message if server.HasField("failure") else ""
    state = SERVER_STATES.get(server.state, "unknown")
    return {"name": server.name, "state": state, "tools": server.tool_count, "failure": failure} | (
        {"left_alone_until": server.breaker.retry_time.ToJsonString()} if server.HasField("breaker") else {}
    )


def _rules(tool: pb.Tool) -> str:
    approval = _RULES[_approval(tool)]
    return ", ".join([_effect(tool), *([approval] if approval else []), *(["untrusted"] if tool.untrusted else [])])


def _approval(tool: pb.Tool) -> str:
    said = "always" if tool.requires_approval else "never"
    return _APPROVAL.get(tool.approval, said)


def _effect(tool: pb.Tool) -> str:
    return _EFFECTS.get(tool.effect, "unsafe")


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(int(seconds * 1e9))
    return duration
