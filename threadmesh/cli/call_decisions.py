"""`threadmesh calls`: tool calls that a person is asked about, and what the person says of them."""

import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from threadmesh.api.context.v1 import runs_service_pb2 as pb
from threadmesh.api.context.v1.runs_service_pb2_grpc import RunsServiceStub
from threadmesh.api.conversation.v1 import conversation_pb2
from threadmesh.api.conversation.v1.events_pb2 import CallOutcome
from threadmesh.cli.calls import SECONDS, reached
from threadmesh.cli.output import one_line, print_json, print_table, stdout, visible
from threadmesh.conversation import arguments_hash
from threadmesh.errors import CallNotFound
from threadmesh.rpc.channel import MeshChannel

NEWEST = 200
"""In so many of the newest runs calls of unknown outcome are looked for."""

RESOLUTIONS: dict[str, "pb.Resolution.ValueType"] = {
    "approved": pb.RESOLUTION_APPROVED,
    "denied": pb.RESOLUTION_DENIED,
    "succeeded": pb.RESOLUTION_SUCCEEDED,
    "failed": pb.RESOLUTION_FAILED,
}
"""What a person can say, in words."""

_WORDS = {resolution: word for word, resolution in RESOLUTIONS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    call: pb.Call
    run: pb.Run

    @property
    def waits(self) -> bool:
        if self.call.state == pb.CALL_STATE_AWAITING_INPUT:
            return not self.call.answers
        return self.call.state == pb.CALL_STATE_AWAITING_APPROVAL and not self.call.HasField("approval")

    @property
    def unsettled(self) -> bool:
        unknown = self.call.finished.outcome == CallOutcome.CALL_OUTCOME_UNKNOWN
        return unknown and not self.call.HasField("settlement")

    @property
    def state(self) -> str:
        call = self.call
        if call.HasField("settlement"):
            return f"unknown, then found {_WORDS.get(call.settlement.resolution, 'settled')}"
        if call.HasField("finished"):
            return _outcome(call.finished.outcome)
        if self.waits and call.state == pb.CALL_STATE_AWAITING_INPUT:
            return "asking"
        if call.state == pb.CALL_STATE_AWAITING_INPUT:
            return "answered"
        if call.HasField("approval"):
            return _WORDS.get(call.approval.resolution, "decided")
        return "waiting" if self.waits else _state_name(call.state)


async def show_calls(target: str, *, run_id: str, waiting: bool, as_json: bool) -> None:
    """Write the calls of a run or, without one, those about which a person can say something now.

    These are the calls that wait for approval or for an answer and, unless only `waiting` ones are wanted, those of the
    `NEWEST` runs whose outcome is unknown. Raises `RunNotFound`.
    """
    async with reached(target, peer="context") as channel:
        asked = await _of_run(channel, run_id) if run_id else await _open(channel, waiting=waiting)
    shown = [each for each in asked if each.waits or not waiting]
    if as_json:
        print_json(list(map(_call, shown)))
        return
    if not shown:
        stdout().print("No call waits for a person." if waiting or not run_id else "The run has no calls.")
        return
    rows = [
        [
            each.run.id,
            each.call.id,
            each.call.name,
            each.state,
            _until(each) or "-",
            one_line(each.call.arguments_json, limit=100),
        ]
        for each in shown
    ]
    print_table(["run", "call", "tool", "state", "until", "arguments"], rows)


async def find_call(target: str, run_id: str, call_id: str) -> pb.Call:
    """Give a call; raises `RunNotFound` and `CallNotFound`."""
    async with reached(target, peer="context") as channel:
        for each in await _of_run(channel, run_id):
            if each.call.id == call_id:
                return each.call
    raise CallNotFound(f"The run has no call {call_id!r}; see `threadmesh calls list --run {run_id}`.")


def show_call(call: pb.Call) -> None:
    """Write what would be called, exactly and with every character visible."""
    console = stdout()
    for line in [call.name, *call.arguments_json.split("\n"), f"definition {call.definition_hash}"]:
        console.print(visible(line), markup=False)


async def decide(
    target: str,
    run_id: str,
    call_id: str,
    said: str,
    *,
    reason: str = "",
    result: str = "",
    seen: pb.Call | None = None,
) -> None:
    """Say one of `RESOLUTIONS` of a call; `seen` is what was shown of it.

    Raises `CallNotWaiting`, `CallAlreadyDecided`, `DefinitionDiffers` and `ArgumentsDiffer`.
    """
    request = pb.ResolveCallRequest(
        run_id=run_id,
        call_id=call_id,
        resolution=RESOLUTIONS[said],
        parts=[conversation_pb2.Part(text=result)] if result else [],
        reason=reason,
        definition_hash=seen.definition_hash if seen else "",
        arguments_hash=arguments_hash(seen.arguments_json) if seen else "",
    )
    async with reached(target, peer="context") as channel:
        await RunsServiceStub(channel).ResolveCall(request, timeout=SECONDS)


async def _open(channel: MeshChannel, *, waiting: bool) -> list[_Asked]:
    runs = [run async for run in _runs_that_wait(channel)]
    if not waiting:
        newest = await RunsServiceStub(channel).ListRuns(pb.ListRunsRequest(page_size=NEWEST), timeout=SECONDS)
        seen = {run.id for run in runs}
        runs += [run for run in newest.runs if run.id not in seen]
    asked = [each for run in runs for each in await _calls(channel, run)]
    return [each for each in asked if each.waits or each.unsettled]


async def _runs_that_wait(channel: MeshChannel) -> AsyncIterator[pb.Run]:
    request = pb.ListRunsRequest(states=[pb.RUN_STATE_REQUIRES_ACTION])
    while True:
        page = await RunsServiceStub(channel).ListRuns(request, timeout=SECONDS)
        for run in page.runs:
            yield run
        request.page_token = page.next_page_token
        if not request.page_token:
            return


async def _of_run(channel: MeshChannel, run_id: str) -> Iterable[_Asked]:
    response = await RunsServiceStub(channel).GetRun(pb.GetRunRequest(run_id=run_id), timeout=SECONDS)
    return await _calls(channel, response.run)


async def _calls(channel: MeshChannel, run: pb.Run) -> list[_Asked]:
    response = await RunsServiceStub(channel).ListCalls(pb.ListCallsRequest(run_id=run.id), timeout=SECONDS)
    return [_Asked(call=call, run=run) for call in response.calls]


def _call(asked: _Asked) -> dict[str, Any]:
    call = asked.call
    said = call.settlement if call.HasField("settlement") else call.approval
    return {
        "run_id": asked.run.id,
        "thread_id": asked.run.thread_id,
        "call_id": call.id,
        "tool": call.name,
        "arguments": call.arguments_json,
        "state": asked.state,
        "definition_hash": call.definition_hash,
        "expire_time": asked.run.action_expire_time.ToJsonString() if _until(asked) else None,
        "questions": _questions(call),
        "decision": _WORDS.get(said.resolution),
        "reason": said.reason,
    }


def _questions(call: pb.Call) -> list[dict[str, Any]]:
    """Give what the call's server asks, by the questions' ids, and who asks."""
    server = call.input_required.server
    return [
        {"server": server, "id": each.id, "message": each.form.message, "schema": json.loads(each.form.schema_json)}
        for each in call.input_required.questions
    ]


def _until(asked: _Asked) -> str:
    """Give until when the call waits, by the person's own clock; empty if it does not."""
    if not asked.waits or not asked.run.HasField("action_expire_time"):
        return ""
    return asked.run.action_expire_time.ToDatetime(UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _outcome(outcome: "CallOutcome.ValueType") -> str:
    return CallOutcome.Name(outcome).removeprefix("CALL_OUTCOME_").lower()


def _state_name(state: "pb.CallState.ValueType") -> str:
    return pb.CallState.Name(state).removeprefix("CALL_STATE_").lower()
