"""Tasks to protobuf, and what is asked about them from it."""

import base64
import binascii
import json
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from threadmesh.api.conversation.v1.events_pb2 import CALL_OUTCOME_UNSPECIFIED
from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.errors import InvalidArgument
from threadmesh.event_codec import encode_call_finished, encode_call_progress
from tools_svc.domain.task import Task, TaskCursor, TaskFilter, TaskKey, TaskState

_STATES = {
    TaskState.QUEUED: pb.TASK_STATE_QUEUED,
    TaskState.CLAIMED: pb.TASK_STATE_CLAIMED,
    TaskState.FINISHED: pb.TASK_STATE_FINISHED,
}
_STATES_BACK: dict[int, TaskState] = {wire: state for state, wire in _STATES.items()}


def decode_filter(request: pb.ListTasksRequest) -> TaskFilter:
    """Decode which tasks are wanted."""
    states = frozenset(_STATES_BACK[state] for state in request.states if state in _STATES_BACK)
    return TaskFilter(states=states, run_id=request.run_id)


def encode_task(task: Task) -> pb.Task:
    """Encode a task."""
    return pb.Task(
        run_id=task.run_id,
        call_id=task.call.id,
        epoch=task.epoch,
        thread_id=task.thread_id,
        name=task.call.name,
        server=task.server,
        state=_STATES[task.state],
        owner=task.owner,
        attempt=task.attempt,
        progress=encode_call_progress(task.progress) if task.progress else None,
        outcome=encode_call_finished(task.finished).outcome if task.finished else CALL_OUTCOME_UNSPECIFIED,
        cancel_requested=task.cancelled,
        create_time=_timestamp(task.created_at),
        claim_time=_timestamp(task.claimed_at),
        finish_time=_timestamp(task.finished_at),
        deadline_time=_timestamp(task.deadline),
    )


def encode_page_token(task: Task) -> str:
    """Encode where a page ended."""
    place = [task.created_at.isoformat(), task.run_id, task.call.id]
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def decode_page_token(token: str) -> TaskCursor | None:
    """Decode where a page ended; None for the first. Raises `InvalidArgument` for what is no token."""
    if not token:
        return None
    try:
        time, run_id, call_id = json.loads(base64.urlsafe_b64decode(token))
        key = TaskKey(run_id=str(run_id), call_id=str(call_id))
        return TaskCursor(created_at=datetime.fromisoformat(time).astimezone(UTC), key=key)
    except (ValueError, TypeError, binascii.Error) as error:
        raise InvalidArgument("This page token was not given by this service.", field="page_token") from error


def _timestamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    wire = Timestamp()
    wire.FromDatetime(moment)
    return wire
