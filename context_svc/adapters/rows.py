"""Rows of the SQL stores to and from the domain's values."""

import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from context_svc.adapters import records
from context_svc.adapters.action_records import dump_actions, load_actions
from context_svc.domain.call import Call, CallState
from context_svc.domain.change import Receipt
from context_svc.domain.item import Item, ItemKind, ItemStatus, Provenance, Span
from context_svc.domain.run import Run, RunState
from context_svc.domain.thread import Thread
from threadmesh.conversation import Approval, Message
from threadmesh.errors import ThreadDamaged

Row = dict[str, Any]
Bodies = dict[str, tuple[bytes, tuple[Message, Span | None, Approval | None]]]
"""Items' bodies that were read: of each, the digest that it has, and what it says."""
ITEM_COLUMNS = (
    "items.thread_id, items.seq, items.item_id, items.run_id, items.create_time, items.kind, items.status, "
    "items.provenance, items.body, items.tokens, items.schema_v, items.digest"
)
INPUT_COLUMNS = (
    "runs.thread_id, inputs.ordinal, inputs.item_id, inputs.run_id, inputs.create_time, inputs.kind, inputs.status, "
    "inputs.provenance, inputs.body, inputs.tokens, inputs.schema_v, inputs.digest"
)
"""The same of input that waits, which is numbered by itself."""
_KINDS = {kind.value: kind for kind in ItemKind}
_STATUSES = {status.value: status for status in ItemStatus}
_PROVENANCES = {provenance.value: provenance for provenance in Provenance}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Columns(Protocol):
    """A row that was read: its values by the names of their columns."""

    def __getitem__(self, name: str, /) -> Any:
        """Give the value of a column."""
        ...


def microseconds(time: datetime) -> int:
    """Give a date as the store keeps it."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def date(value: int) -> datetime:
    """Give a date that the store kept."""
    return _EPOCH + timedelta(microseconds=value)


def dump_metadata(thread: Thread) -> str:
    """Write what describes a thread."""
    return json.dumps(dict(thread.metadata), ensure_ascii=False)


def thread_row(thread: Thread) -> Row:
    """Give a thread as a row of `threads`."""
    return {
        "thread_id": thread.id,
        "tenant": thread.tenant,
        "key": thread.key,
        "metadata": dump_metadata(thread),
        "create_time": microseconds(thread.create_time),
        "update_time": microseconds(thread.update_time),
        "first_item": thread.first_item,
        "next_item": thread.item_count,
        "next_run": thread.run_count,
        "active_run": thread.active_run_id,
        "ephemeral": thread.ephemeral,
        "pinned": json.dumps(thread.pinned),
        "summary": thread.summary,
    }


def thread_of(row: Columns) -> Thread:
    """Read a row of `threads`."""
    return Thread(
        id=row["thread_id"],
        tenant=row["tenant"],
        key=row["key"],
        metadata=json.loads(row["metadata"]),
        create_time=date(row["create_time"]),
        update_time=date(row["update_time"]),
        first_item=row["first_item"],
        item_count=row["next_item"],
        run_count=row["next_run"],
        active_run_id=row["active_run"],
        ephemeral=bool(row["ephemeral"]),
        pinned=tuple(json.loads(row["pinned"])),
        summary=row["summary"],
    )


def run_row(run: Run) -> Row:
    """Give a run as a row of `runs`."""
    return {
        "tenant": run.tenant,
        "thread_id": run.thread_id,
        "number": run.number,
        "create_time": microseconds(run.create_time),
        "input_count": run.input_count,
        "params": run.parameters_json,
        **run_changes(run),
    }


def run_changes(run: Run) -> Row:
    """Give what can change of a row of `runs`, and its key: large requests are not written again with every event."""
    return {
        "run_id": run.id,
        "state": run.state.value,
        "epoch": run.epoch,
        "owner": run.owner,
        "lease_until": run.lease_until,
        "expires": run.expires,
        "deadline": microseconds(run.deadline),
        "first_event": run.first_sequence,
        "next_event": run.next_sequence,
        "first_item": run.first_item,
        "cancel_requested": run.cancel_requested,
        "last_write": run.last_write,
        "finished": records.dump_run_finished(run.finished) if run.finished else None,
        "finish_time": microseconds(run.finish_time) if run.finish_time else None,
        "actions": dump_actions(run.actions),
        "wait_until": microseconds(run.wait_until) if run.wait_until else None,
        "waits": run.waits,
    }


def run_of(row: Columns) -> Run:
    """Read a row of `runs`."""
    return Run(
        id=row["run_id"],
        tenant=row["tenant"],
        thread_id=row["thread_id"],
        number=row["number"],
        state=RunState(row["state"]),
        epoch=row["epoch"],
        owner=row["owner"],
        lease_until=row["lease_until"],
        expires=row["expires"],
        create_time=date(row["create_time"]),
        deadline=date(row["deadline"]),
        first_sequence=row["first_event"],
        next_sequence=row["next_event"],
        input_count=row["input_count"],
        first_item=row["first_item"],
        cancel_requested=bool(row["cancel_requested"]),
        last_write=row["last_write"],
        parameters_json=row["params"],
        finished=records.load_run_finished(row["finished"]) if row["finished"] else None,
        finish_time=date(row["finish_time"]) if row["finish_time"] is not None else None,
        actions=load_actions(row["actions"]),
        wait_until=date(row["wait_until"]) if row["wait_until"] is not None else None,
        waits=row["waits"],
    )


def item_row(item: Item) -> Row:
    """Give an item as a row of `items`."""
    return {"thread_id": item.thread_id, "seq": item.sequence, **_content(item)}


def input_row(item: Item) -> Row:
    """Give an item that waits with its run as a row of `inputs`."""
    return {"ordinal": item.sequence, **_content(item)}


def items_of(found: Iterable[Iterable[Any]]) -> tuple[Item, ...]:
    """Read rows of the `ITEM_COLUMNS` or `INPUT_COLUMNS`.

    A body that is repeated word for word, as instructions are, is read once.
    """
    bodies: Bodies = {}
    return tuple([item_of(row, bodies) for row in found])


def item_of(row: Iterable[Any], bodies: Bodies | None = None) -> Item:
    """Read the `ITEM_COLUMNS` of a row of `items`; `bodies` were read before.

    A window holds hundreds, so this finds columns by their place.
    """
    thread_id, sequence, name, run_id, time, kind, status, provenance, body, tokens, version, digest = row
    known = bodies.get(body) if bodies else None
    if version > records.VERSION or (known[0] if known else _digest(body)) != digest:
        raise ThreadDamaged(thread_id=thread_id, sequence=sequence)
    message, covers, approval = known[1] if known else records.load_item(body)
    if bodies is not None:
        bodies[body] = (digest, (message, covers, approval))
    return Item(
        id=name,
        thread_id=thread_id,
        sequence=sequence,
        run_id=run_id,
        create_time=date(time),
        kind=_KINDS[kind],
        status=_STATUSES[status],
        provenance=_PROVENANCES[provenance],
        message=message,
        tokens=tokens,
        covers=covers,
        approval=approval,
    )


def call_row(call: Call) -> Row:
    """Give a call as a row of `calls`."""
    return {
        "run_id": call.run_id,
        "call_id": call.id,
        "ordinal": call.ordinal,
        "tool": call.name,
        "args": call.arguments_json,
        "state": call.state.value,
        "attempt": call.attempt,
        "result": records.dump_call_finished(call.finished) if call.finished else None,
        "schema_v": records.VERSION,
    }


def call_of(row: Columns) -> Call:
    """Read a row of `calls`."""
    return Call(
        id=row["call_id"],
        run_id=row["run_id"],
        ordinal=row["ordinal"],
        name=row["tool"],
        arguments_json=row["args"],
        state=CallState(row["state"]),
        finished=records.load_call_finished(row["result"]) if row["result"] else None,
        attempt=row["attempt"],
    )


def receipt_row(receipt: Receipt) -> Row:
    """Give a receipt as a row of `idem`."""
    return {
        "key": receipt.key,
        "fingerprint": receipt.fingerprint,
        "thread_id": receipt.thread_id,
        "run_id": receipt.run_id,
        "first_item": receipt.first_item,
        "item_count": receipt.item_count,
        "expires": microseconds(receipt.expire_time),
    }


def receipt_of(row: Columns) -> Receipt:
    """Read a row of `idem`."""
    return Receipt(
        key=row["key"],
        fingerprint=row["fingerprint"],
        thread_id=row["thread_id"],
        run_id=row["run_id"],
        first_item=row["first_item"],
        item_count=row["item_count"],
        expire_time=date(row["expires"]),
    )


def _content(item: Item) -> Row:
    body = records.dump_item(item.message, item.covers, item.approval)
    return {
        "item_id": item.id,
        "run_id": item.run_id,
        "create_time": microseconds(item.create_time),
        "kind": item.kind.value,
        "status": item.status.value,
        "provenance": item.provenance.value,
        "role": item.message.role.value,
        "body": body,
        "tokens": item.tokens,
        "schema_v": records.VERSION,
        "digest": _digest(body),
    }


def _digest(body: str) -> bytes:
    return hashlib.blake2b(body.encode(), digest_size=16).digest()
