"""Runs and their calls in JSON."""

from typing import Any

from facade.domain.events import Run
from facade.domain.records import CallRecord
from threadmesh.conversation import Text, arguments_hash


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
        "error": {"code": failure.reason.lower(), "message": failure.message} if failure else None,
    }


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
        **_end(record),
    }


def _end(record: CallRecord) -> dict[str, Any]:
    finished = record.finished
    if finished is None:
        return {"outcome": None, "output": None, "error": None}
    return {
        "outcome": finished.outcome.value,
        "output": "\n".join(part.text for part in finished.parts if isinstance(part, Text)),
        "error": finished.failure.message if finished.failure else None,
    }
