"""What stands in the keys of the Redis store: rows as JSON, and bytes as they are."""

import json
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

from context_svc.adapters import rows, sizes
from context_svc.adapters.event_rows import batch_row, batches_of
from context_svc.domain.call import Call
from context_svc.domain.change import Receipt
from context_svc.domain.item import Item, ItemKind
from context_svc.domain.run import Batch, Run
from context_svc.domain.thread import Thread
from context_svc.domain.told import INSTRUCTIONS
from threadmesh.errors import ThreadDamaged

_DIGEST_BYTES = 16
_CONTENT = itemgetter("item_id", "run_id", "create_time", "kind", "status", "provenance", "body", "tokens", "schema_v")

_ADDED = {"tenant": "", "actions": "", "wait_until": None, "waits": 0}
"""What runs that earlier versions wrote do not say."""


def qualified(tenant: str, key: str) -> str:
    """Name a thread's key among those of all tenants; a key holds no control characters."""
    return f"\x1f{tenant}\x1f{key}" if tenant else key


def dump_thread(thread: Thread) -> str:
    """Write a thread."""
    return _dump(rows.thread_row(thread))


def load_thread(record: bytes) -> Thread:
    """Read a thread."""
    return rows.thread_of({"tenant": "", **json.loads(record)})


def dump_fixed(run: Run) -> str:
    """Write what never changes of a run until it is deleted: large requests are not written again with every event."""
    return _dump({name: value for name, value in rows.run_row(run).items() if name not in rows.run_changes(run)})


def dump_changing(run: Run) -> str:
    """Write what changes of a run, but for its lease, which stands by itself."""
    return _dump({name: value for name, value in rows.run_changes(run).items() if name != "lease_until"})


def load_run(fixed: bytes, changing: bytes, lease: bytes) -> Run:
    """Read a run."""
    return rows.run_of({**_ADDED, **json.loads(fixed), **json.loads(changing), "lease_until": float(lease)})


def dump_item(item: Item) -> tuple[bytes, int]:
    """Write an item, wherever it stands, and say how many bytes it counts.

    It is written as whether it is an instruction or a summary, the message's digest, and JSON.
    """
    row = rows.input_row(item)
    del row["ordinal"]
    return b"".join((_kind(item), row.pop("digest"), _dump(row).encode())), sizes.body_bytes((row,))


def load_items(thread_id: str, found: Sequence[bytes]) -> tuple[Item, ...]:
    """Read items of a thread, each record followed by its number; raises `ThreadDamaged` for what was not written."""
    numbered = zip(found[::2], found[1::2], strict=True)
    return tuple(_load_item(thread_id, int(float(number)), record) for record, number in numbered)


def load_input(thread_id: str, found: Sequence[bytes]) -> tuple[Item, ...]:
    """Read input that waits, all of a run's; raises as `load_items`."""
    return tuple(_load_item(thread_id, place, record) for place, record in enumerate(found))


def dump_batch(batch: Batch) -> tuple[str, bytes]:
    """Write the events of one write: what is said of them, and their bodies."""
    row = batch_row(batch)
    bodies = row.pop("batch")
    return _dump(row), bodies


def load_batches(about: bytes, bodies: bytes) -> Iterable[Batch]:
    """Read the events of one write."""
    return batches_of({**json.loads(about), "batch": bodies})


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


def _kind(item: Item) -> bytes:
    """The scripts go by this letter."""
    if item.message.role in INSTRUCTIONS:
        return b"I"
    return b"S" if item.kind is ItemKind.SUMMARY else b"-"


def _load_item(thread_id: str, number: int, record: bytes) -> Item:
    start = 1 + _DIGEST_BYTES
    try:
        content = _CONTENT(json.loads(record[start:]))
    except (ValueError, KeyError, TypeError):
        raise ThreadDamaged(thread_id=thread_id, sequence=number) from None
    return rows.item_of((thread_id, number, *content, record[1:start]))


def _dump(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"))
