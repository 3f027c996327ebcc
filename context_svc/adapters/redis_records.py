"""What stands in the keys of the Redis store: rows as JSON, and bytes as they are."""

import json
from collections.abc import Sequence
from typing import Any

from context_svc.adapters import rows
from context_svc.domain.assemble import INSTRUCTIONS
from context_svc.domain.call import Call
from context_svc.domain.change import Receipt
from context_svc.domain.item import Item
from context_svc.domain.run import Batch, Run
from context_svc.domain.thread import Thread
from threadmesh.errors import ThreadDamaged

_DIGEST_BYTES = 16


def dump_thread(thread: Thread) -> str:
    """Write a thread."""
    return _dump(rows.thread_row(thread))


def load_thread(record: bytes) -> Thread:
    """Read a thread."""
    return rows.thread_of(json.loads(record))


def dump_fixed(run: Run) -> str:
    """Write what never changes of a run: large requests are not written again with every event."""
    return _dump({name: value for name, value in rows.run_row(run).items() if name not in rows.run_changes(run)})


def dump_changing(run: Run) -> str:
    """Write what changes of a run, but for its lease, which stands by itself."""
    return _dump({name: value for name, value in rows.run_changes(run).items() if name != "lease_until"})


def load_run(fixed: bytes, changing: bytes, lease: bytes) -> Run:
    """Read a run."""
    return rows.run_of({**json.loads(fixed), **json.loads(changing), "lease_until": float(lease)})


def dump_item(item: Item) -> bytes:
    """Write an item, wherever it stands: whether it is an instruction, the message's digest, and JSON."""
    row = rows.input_row(item)
    del row["ordinal"]
    kind = b"I" if item.message.role in INSTRUCTIONS else b"-"
    return b"".join((kind, row.pop("digest"), _dump(row).encode()))


def load_items(thread_id: str, first: int, records: Sequence[bytes]) -> tuple[Item, ...]:
    """Read the items that stand one after the other in a thread, the first of them in place `first`."""
    return tuple(load_item(thread_id, place, record) for place, record in enumerate(records, start=first))


def load_item(thread_id: str, place: int, record: bytes) -> Item:
    """Read an item; raises `ThreadDamaged` when it is not what was written."""
    try:
        row = json.loads(record[1 + _DIGEST_BYTES :])
    except ValueError:
        raise ThreadDamaged(thread_id=thread_id, sequence=place) from None
    return rows.item_of({**row, "digest": record[1 : 1 + _DIGEST_BYTES], "thread_id": thread_id, "seq": place})


def dump_batch(batch: Batch) -> tuple[str, bytes]:
    """Write the events of one write: what is said of them, and their bodies."""
    row = rows.batch_row(batch)
    bodies = row.pop("batch")
    return _dump(row), bodies


def load_batch(about: bytes, bodies: bytes) -> Batch:
    """Read the events of one write."""
    return rows.batch_of({**json.loads(about), "batch": bodies})


def dump_call(call: Call) -> str:
    """Write a call."""
    return _dump(rows.call_row(call))


def load_call(record: bytes) -> Call:
    """Read a call."""
    return rows.call_of(json.loads(record))


def dump_receipt(receipt: Receipt) -> str:
    """Write a receipt."""
    return _dump(rows.receipt_row(receipt))


def load_receipt(record: bytes) -> Receipt:
    """Read a receipt."""
    return rows.receipt_of(json.loads(record))


def _dump(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"))
