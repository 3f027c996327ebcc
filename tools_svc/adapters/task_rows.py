"""Tasks as rows of a table."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    RowMapping,
    String,
    Table,
    Text,
    false,
)
from sqlalchemy.types import TypeDecorator

from threadmesh.api.conversation.v1 import events_pb2
from threadmesh.conversation import ToolCall
from threadmesh.event_codec import (
    decode_call_finished,
    decode_call_progress,
    encode_call_finished,
    encode_call_progress,
)
from tools_svc.domain.task import Task, TaskState
from tools_svc.domain.tool import Effect

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class _Moment(TypeDecorator[datetime]):
    """A moment in whole microseconds since 1970, the same in every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002  # SQLAlchemy's
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002  # SQLAlchemy's
        return None if value is None else _EPOCH + value * _MICROSECOND


# Pages are cut by the order of names, which must not depend on the database's language.
_NAME = String().with_variant(String(collation="C"), "postgresql")
SCHEMA = MetaData()
TASKS = Table(
    "tool_tasks",
    SCHEMA,
    Column("run_id", _NAME, primary_key=True),
    Column("call_id", _NAME, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("thread_id", String, nullable=False),
    Column("request_id", String, nullable=False),
    Column("tool", String, nullable=False),
    Column("arguments_json", Text, nullable=False),
    Column("server", String, nullable=False),
    Column("definition_hash", String, nullable=False),
    Column("idempotency_key", String, nullable=False),
    Column("effect", String, nullable=False),
    Column("created_at", _Moment, nullable=False),
    Column("deadline", _Moment, nullable=False),
    Column("due_at", _Moment, nullable=False),
    Column("version", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("owner", String, nullable=False),
    Column("claims", Integer, nullable=False),
    Column("sent", Boolean, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("cancelled", Boolean, nullable=False),
    Column("progress", LargeBinary),
    Column("finished", LargeBinary),
    Column("claimed_at", _Moment),
    Column("finished_at", _Moment),
    Column("handle", String, nullable=False, server_default=""),
    Column("verifiable", Boolean, nullable=False, server_default=false()),
    Index("tool_tasks_due", "due_at"),
    Index("tool_tasks_state", "state"),
    Index("tool_tasks_created", "created_at", "run_id", "call_id"),
)

_AS_THEY_ARE = (
    *("run_id", "epoch", "thread_id", "request_id", "server", "definition_hash", "idempotency_key", "created_at"),
    *("deadline", "due_at", "version", "owner", "claims", "sent", "attempt", "cancelled", "claimed_at", "finished_at"),
    *("verifiable", "handle"),
)


def row_of(task: Task) -> dict[str, Any]:
    """Give a task's row."""
    progress, finished = task.progress, task.finished
    return {name: getattr(task, name) for name in _AS_THEY_ARE} | {
        "call_id": task.call.id,
        "tool": task.call.name,
        "arguments_json": task.call.arguments_json,
        "effect": task.effect.value,
        "state": task.state.value,
        "progress": None if progress is None else encode_call_progress(progress).SerializeToString(),
        "finished": None if finished is None else encode_call_finished(finished).SerializeToString(),
    }


def changes_of(task: Task) -> dict[str, Any]:
    """Give what a change of a task may have changed in its row."""
    names = (
        "due_at",
        "owner",
        "claims",
        "sent",
        "attempt",
        "cancelled",
        "claimed_at",
        "finished_at",
        "state",
        "handle",
    )
    row = row_of(task)
    return {name: row[name] for name in (*names, "progress", "finished")}


def task_of(row: RowMapping) -> Task:
    """Give the task of a row."""
    progress, finished = row["progress"], row["finished"]
    return Task(
        **{name: row[name] for name in _AS_THEY_ARE},
        call=ToolCall(id=row["call_id"], name=row["tool"], arguments_json=row["arguments_json"]),
        effect=Effect(row["effect"]),
        state=TaskState(row["state"]),
        progress=None if progress is None else decode_call_progress(events_pb2.CallProgress.FromString(progress)),
        finished=None if finished is None else decode_call_finished(events_pb2.CallFinished.FromString(finished)),
    )
