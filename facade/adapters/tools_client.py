"""The mesh's own tools as tools_svc runs them."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress

from facade.adapters.offer_codec import decode_offer
from facade.domain.events import Run, ToolEvent
from facade.domain.offer import Offer
from facade.domain.ports import NO_ANSWERS, NO_APPROVALS
from facade.domain.records import Answered
from threadmesh import event_codec as events
from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.api.tools.v1 import tools_service_pb2_grpc as rpc
from threadmesh.codec import encode_tool_call
from threadmesh.conversation import CallFinished, ToolCall
from threadmesh.crash_points import crash_point
from threadmesh.errors import MeshError
from threadmesh.question_codec import decode_input_required, encode_answer
from threadmesh.rpc.channel import MeshChannel, translated, translated_stream

_PEER = "tools"
_SECONDS = 5.0
_MOST_NAMES = 512
"""What a request may name; one that wants more is given everything."""
_NOBODYS = "nobody's"
"""The name of no tool: whoever asks for it hears only whether there is an answer."""
_TASKS, _MOST_PAGES = 100, 10
_MOMENT_SECONDS = 1.0
_SILENCE_SECONDS = 10.0
"""A server that sends nothing for so long, not even a sign of life, is taken for dead."""


class ToolsClient:
    """The `Tools` port over gRPC."""

    def __init__(self, channel: MeshChannel) -> None:
        self._stub = rpc.ToolsServiceStub(channel)

    async def ping(self) -> None:
        """Raise `Unavailable` unless tools_svc answers."""
        await self.offer([_NOBODYS])

    async def offer(self, names: Collection[str] = ()) -> Offer:
        """Tell what the servers of tools offer now: the tools of these names, or all of them."""
        request = pb.ListToolsRequest(names=names if len(names) <= _MOST_NAMES else (), brief=True)
        async with translated(_PEER):
            response = await self._stub.ListTools(request, timeout=_SECONDS)
        return decode_offer(response)

    async def execute(
        self,
        calls: Sequence[ToolCall],
        *,
        run: Run,
        resumed: bool = False,
        approvals: Mapping[str, str] = NO_APPROVALS,
        answered: Mapping[str, Answered] = NO_ANSWERS,
        trusted_context: bool = False,
    ) -> AsyncGenerator[tuple[str, ToolEvent], None]:
        """Run calls in parallel and stream what happens, each event with its call's id."""
        request = pb.ExecuteToolsRequest(
            run_id=run.id,
            thread_id=run.thread_id,
            epoch=run.epoch,
            calls=map(encode_tool_call, calls),
            resumed=resumed,
            approvals=(pb.Approval(call_id=call_id, definition_hash=seen) for call_id, seen in approvals.items()),
            answers_questions=True,
            continuations=(encode_continuation(call.id, answered[call.id]) for call in calls if call.id in answered),
            trusted_context=trusted_context,
        )
        crash_point("run.before_send")
        if request.continuations:
            crash_point("run.before_continuation")
        call = self._stub.ExecuteTools(request)
        async with aclosing(translated_stream(call, peer=_PEER, silence_seconds=_SILENCE_SECONDS)) as responses:
            async for response in responses:
                crash_point("run.after_send")
                if request.continuations:
                    crash_point("run.after_continuation")
                if (event := decode_response(response)) is not None:
                    yield response.call_id, event

    async def forsake(self, run: Run, calls: Iterable[str], *, stop: bool = False) -> None:
        """Say that nobody answers what these calls ask, or that they are to stop."""
        await asyncio.gather(*(self._forsake(run.id, call_id, stop=stop) for call_id in calls))

    async def ends(self, run_id: str) -> AsyncGenerator[tuple[str, CallFinished], None]:
        """Give how the calls of a run have ended, or do."""
        call = self._stub.WatchCalls(pb.WatchCallsRequest(run_id=run_id))
        async with aclosing(translated_stream(call, peer=_PEER, silence_seconds=_SILENCE_SECONDS)) as responses:
            async for response in responses:
                if response.HasField("finished"):
                    yield response.call_id, events.decode_call_finished(response.finished)

    async def runs_of_tasks(self) -> Collection[str]:
        """Name the runs whose calls have become tasks, the latest first."""
        found: dict[str, None] = {}
        request = pb.ListTasksRequest(page_size=_TASKS)
        for _ in range(_MOST_PAGES):
            async with translated(_PEER):
                page = await self._stub.ListTasks(request, timeout=_SECONDS)
            found |= dict.fromkeys(task.run_id for task in page.tasks)
            request.page_token = page.next_page_token
            if not request.page_token:
                break
        return tuple(found)

    async def _forsake(self, run_id: str, call_id: str, *, stop: bool) -> None:
        request = pb.CancelCallRequest(run_id=run_id, call_id=call_id, if_asking=not stop)
        with suppress(MeshError):
            async with translated(_PEER):
                await self._stub.CancelCall(request, timeout=_MOMENT_SECONDS)


def encode_continuation(call_id: str, answered: Answered) -> pb.Continuation:
    """Encode the answers with which a call goes on."""
    return pb.Continuation(
        call_id=call_id,
        round=answered.required.round,
        answers=map(encode_answer, answered.answers),
        request_state=answered.required.request_state,
        held=answered.required.held,
    )


def decode_response(response: pb.ExecuteToolsResponse) -> ToolEvent | None:
    """Decode an event of a batch; None for signs of life."""
    match response.WhichOneof("event"):
        case "started":
            return events.decode_call_started(response.started)
        case "progress":
            return events.decode_call_progress(response.progress)
        case "finished":
            return events.decode_call_finished(response.finished)
        case "input_required":
            return decode_input_required(response.input_required)
        case _:
            return None
