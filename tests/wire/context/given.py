"""What tests of context_svc on the wire begin with: requests, runs and writes."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from threadmesh.api.context.v1 import runs_service_pb2 as pb
from threadmesh.api.context.v1 import threads_service_pb2 as threads_pb
from threadmesh.api.conversation.v1 import conversation_pb2 as conversation
from threadmesh.api.conversation.v1 import events_pb2 as events
from threadmesh.rpc.channel import translated

if TYPE_CHECKING:
    from threadmesh.api.context.v1.runs_service_pb2_grpc import RunsServiceAsyncStub as Runs

SECONDS = 30.0
SUCCEEDED = pb.RunFinished(state=pb.RUN_STATE_SUCCEEDED, reason=events.FINISH_REASON_STOP)


def said(text: str, role: "conversation.Role.ValueType" = conversation.ROLE_USER) -> threads_pb.NewItem:
    return threads_pb.NewItem(message=conversation.Message(role=role, parts=[conversation.Part(text=text)]))


def text(words: str) -> pb.RunEvent:
    return pb.RunEvent(text_delta=events.TextDelta(text=words))


async def started(
    runs: "Runs", *, thread_key: str = "", idempotency_key: str = "", fingerprint: str = ""
) -> pb.StartRunResponse:
    request = pb.StartRunRequest(
        input=[said("hello")],
        idempotency_key=idempotency_key,
        fingerprint=fingerprint,
        parameters_json='{"model":"small"}',
    )
    if thread_key:
        request.thread_key = thread_key
    return await runs.StartRun(request, timeout=SECONDS)


async def running(runs: "Runs", *, thread_key: str = "") -> pb.Run:
    return await claimed(runs, (await started(runs, thread_key=thread_key)).run)


async def claimed(runs: "Runs", run: pb.Run, *, seconds: float = SECONDS) -> pb.Run:
    request = pb.ClaimRunRequest(run_id=run.id, owner="facade-1")
    return (await runs.ClaimRun(request, timeout=seconds)).run


def writing(run: pb.Run, first: int, *written: pb.RunEvent) -> pb.AppendEventsRequest:
    return pb.AppendEventsRequest(run_id=run.id, epoch=run.epoch, first_sequence=first, events=written)


async def appended(runs: "Runs", requests: Iterable[pb.AppendEventsRequest]) -> list[pb.AppendEventsResponse]:
    async with translated("context"):
        return [each async for each in runs.AppendEvents(iter(requests), timeout=SECONDS)]


async def finished(runs: "Runs", run: pb.Run, first: int) -> pb.Run:
    request = pb.FinishRunRequest(run_id=run.id, epoch=run.epoch, first_sequence=first, finished=SUCCEEDED)
    return (await runs.FinishRun(request, timeout=SECONDS)).run


async def watched(runs: "Runs", run: pb.Run, after: int | None = None) -> list[pb.RunEvent]:
    async with translated("context"):
        call = runs.WatchRun(pb.WatchRunRequest(run_id=run.id, after_sequence=after), timeout=SECONDS)
        return [event async for response in call for event in response.events]
