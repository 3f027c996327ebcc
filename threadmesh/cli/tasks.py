"""`threadmesh tasks`: the calls of long tools, and a person's word to stop one."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC

from google.protobuf.timestamp_pb2 import Timestamp

from threadmesh.api.conversation.v1 import events_pb2
from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.api.tools.v1.tools_service_pb2_grpc import ToolsServiceStub
from threadmesh.cli.calls import SECONDS, reached
from threadmesh.cli.options import TaskState
from threadmesh.cli.output import one_line, print_json, print_table
from threadmesh.event_codec import decode_call_finished, decode_call_progress
from threadmesh.rpc.channel import MeshChannel

_PAGE = 100


_STATES = {
    TaskState.QUEUED: pb.TASK_STATE_QUEUED,
    TaskState.CLAIMED: pb.TASK_STATE_CLAIMED,
    TaskState.FINISHED: pb.TASK_STATE_FINISHED,
}
_STATES_BACK: dict[int, TaskState] = {wire: state for state, wire in _STATES.items()}


async def show_tasks(target: str, *, states: Sequence[TaskState], run_id: str, as_json: bool) -> None:
    """Write the tasks, the newest first."""
    request = pb.ListTasksRequest(states=[_STATES[each] for each in states], run_id=run_id, page_size=_PAGE)
    async with reached(target, peer="tools") as channel, aclosing(_tasks(channel, request)) as found:
        tasks = [_task(task) async for task in found]
    if as_json:
        print_json(tasks)
        return
    columns = ("run", "call", "tool", "state", "progress", "created", "owner")
    print_table(columns, [[one_line(task[column]) or "-" for column in columns] for task in tasks])


async def cancel_task(target: str, run_id: str, call_id: str) -> bool:
    """Stop a task; False when it had ended before. Raises `CallNotFound`."""
    async with reached(target, peer="tools") as channel:
        request = pb.CancelCallRequest(run_id=run_id, call_id=call_id)
        response = await ToolsServiceStub(channel).CancelCall(request, timeout=SECONDS)
    return bool(response.cancelled)


async def _tasks(channel: MeshChannel, request: pb.ListTasksRequest) -> AsyncGenerator[pb.Task, None]:
    while True:
        page = await ToolsServiceStub(channel).ListTasks(request, timeout=SECONDS)
        for task in page.tasks:
            yield task
        request.page_token = page.next_page_token
        if not request.page_token:
            return


def _task(task: pb.Task) -> dict[str, str]:
    return {
        "run": task.run_id,
        "call": task.call_id,
        "thread": task.thread_id,
        "tool": task.name,
        "server": task.server,
        "state": _state(task),
        "progress": _progress(task),
        "attempt": str(task.attempt),
        "owner": task.owner,
        "created": _moment(task.create_time) if task.HasField("create_time") else "",
        "claimed": _moment(task.claim_time) if task.HasField("claim_time") else "",
        "finished": _moment(task.finish_time) if task.HasField("finish_time") else "",
        "deadline": _moment(task.deadline_time) if task.HasField("deadline_time") else "",
    }


def _state(task: pb.Task) -> str:
    if task.state == pb.TASK_STATE_FINISHED:
        return decode_call_finished(events_pb2.CallFinished(outcome=task.outcome)).outcome.value
    state = _STATES_BACK.get(task.state, "unknown")
    return f"{state}, stopping" if task.cancel_requested else str(state)


def _progress(task: pb.Task) -> str:
    if not task.HasField("progress"):
        return ""
    progress = decode_call_progress(task.progress)
    share = f"{progress.progress:g}/{progress.total:g}" if progress.total else f"{progress.progress:g}"
    return f"{share} {progress.message}".rstrip()


def _moment(wire: Timestamp) -> str:
    return wire.ToDatetime(UTC).astimezone().isoformat(sep=" ", timespec="seconds")
