"""Runs and their calls in JSON."""

from collections.abc import Sequence
from typing import Any

from facade.domain.events import Run
from facade.domain.records import CallRecord, CallState
from facade.edge.chat.encode import question_body
from threadmesh.conversation import Text, arguments_hash
from threadmesh.questions import InputRequired


def run_body(run: Run) -> dict[str, Any]:
    """Give a run."""
    failure = run.finished.failure if run.finished else None
    return {
        "id": run.id,
        "object": "threadmesh.run",
        "thread_id": run.thread_id,
        "status": run.state.value,
        "created_at": int(run.create_time.timestamp()),
        "cancel_requested": run.cancel_requested,
        "required_action": None,
        "error": {"code": failure.reason.lower(), "message": failure.message} if failure else None,
    }


def waiting_run_body(run: Run, calls: Sequence[CallRecord]) -> dict[str, Any]:
    """Give a run, with the calls about which persons are asked now."""
    waiting = {CallState.AWAITING_APPROVAL, CallState.AWAITING_INPUT}
    asked = [call_body(call) for call in calls if call.state in waiting and call.approved is None and not call.answers]
    return run_body(run) | {"required_action": {"type": "calls", "calls": asked}}


def call_body(record: CallRecord) -> dict[str, Any]:
    """Give a tool call with how far it is, what persons have said about it, and how it ended."""
    return {
        "id": record.call.id,
        "object": "threadmesh.call",
        "name": record.call.name,
        "arguments": record.call.arguments_json,
        "arguments_hash": arguments_hash(record.call.arguments_json),
        "status": record.state.value,
        "definition_hash": record.definition_hash or None,
        "approved": record.approved,
        "reason": record.reason or None,
        "settled": record.settled,
        "input_required": _asked(record.asked) if record.asked else None,
        "answered": {answer.question_id: answer.action.value for answer in record.answers} or None,
        **_end(record),
    }


def _asked(required: InputRequired) -> dict[str, Any]:
    questions = list(map(question_body, required.open))
    return {"server": required.server, "round": required.round, "questions": questions}


def _end(record: CallRecord) -> dict[str, Any]:
    finished = record.finished
    if finished is None:
        return {"outcome": None, "output": None, "error": None}
    return {
        "outcome": finished.outcome.value,
        "output": "\n".join(part.text for part in finished.parts if isinstance(part, Text)),
        "error": finished.failure.message if finished.failure else None,
    }
