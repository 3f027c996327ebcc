"""What counts as stored: the same on every store, whatever its records take on the disk."""

from collections.abc import Iterable
from zlib import crc32

from context_svc.adapters import rows
from context_svc.adapters.action_records import dump_actions
from context_svc.adapters.records import dump_call_finished, dump_item, dump_run_finished
from context_svc.domain.call import Call
from context_svc.domain.change import Change
from context_svc.domain.item import Item
from context_svc.domain.run import Batch, Run
from context_svc.domain.thread import Thread

RECORD = 100
"""Bytes that a thread, run, item or call counts for itself, so that many small ones do not pass for nothing."""
EVENT = 4
"""Bytes that an event counts for itself."""
SHARDS = 16
"""Parts in which a tenant's total is kept where several can be written at once, so that threads seldom wait."""


def shard_of(thread_id: str) -> int:
    """Give the part of its tenant's total in which a thread counts."""
    return crc32(thread_id.encode()) % SHARDS


def octets(text: str) -> int:
    """Give the bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def thread_bytes(thread: Thread) -> int:
    """Give what a thread counts, without anything in it."""
    return RECORD + octets(thread.key) + octets(rows.dump_metadata(thread))


def item_bytes(item: Item) -> int:
    """Give what an item counts, in its thread or waiting with its run."""
    return RECORD + octets(dump_item(item.message, item.covers, item.approval))


def body_bytes(written: Iterable[rows.Row]) -> int:
    """Give what items count whose rows these are."""
    return sum(RECORD + octets(row["body"]) for row in written)


def run_bytes(run: Run) -> int:
    """Give what a run counts, without its log and its calls."""
    finished = dump_run_finished(run.finished) if run.finished else ""
    return begun_bytes(run) + octets(dump_actions(run.actions)) + octets(finished)


def begun_bytes(run: Run) -> int:
    """Give what never changes of what a run counts."""
    return RECORD + octets(run.parameters_json)


def batch_bytes(batch: Batch | None) -> int:
    """Give what the events of a write count."""
    return EVENT * len(batch.bodies) + sum(map(len, batch.bodies)) if batch else 0


def logged_bytes(run: Run, change: Change) -> int:
    """Give what the events count that a change adds to a run's log."""
    return batch_bytes(change.events) if change.events and change.events.run_id == run.id else 0


def call_bytes(call: Call) -> int:
    """Give what a call counts."""
    result = dump_call_finished(call.finished) if call.finished else ""
    return RECORD + octets(call.arguments_json) + octets(result)
