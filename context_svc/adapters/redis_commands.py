"""The commands that store a change in Redis. The keys are described in `redis_store`."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TypeVar

from context_svc.adapters import redis_records as records
from context_svc.adapters import sizes
from context_svc.adapters.hints import topics
from context_svc.adapters.redis_server import Argument
from context_svc.adapters.rows import microseconds
from context_svc.domain.call import Call, CallState
from context_svc.domain.change import Change, Receipt
from context_svc.domain.item import Item
from context_svc.domain.run import Run, RunState
from context_svc.domain.thread import Thread
from threadmesh.errors import Internal

Each = TypeVar("Each")
Command = tuple[Argument, ...]
_MOST_ITEMS = 500


class Keys:
    """The names of keys."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def of(self, name: str) -> str:
        """Name a key that there is once."""
        return self.prefix + name

    def thread(self, thread_id: str, part: str = "") -> str:
        """Name a thread's key, or one of its parts: `:items`, `:instructions`, `:runs`, `:open`, `:receipts`."""
        return f"{self.prefix}thread:{thread_id}{part}"

    def run(self, run_id: str, part: str = "") -> str:
        """Name a run's key, or one of its parts: `:input`, `:events`, `:calls`, `:results`."""
        return f"{self.prefix}run:{run_id}{part}"


def publication(change: Change, *, writer: str, keys: Keys) -> Iterator[Command]:
    """Give the command that tells other processes of a change, if it concerns anybody; begins with who made it."""
    if concerned := list(topics(change)):
        yield ("PUBLISH", keys.of("hints"), " ".join((writer, *concerned)))


def first_item(change: Change) -> int | None:
    """Give the number of the first item that a change adds to its thread; None if it adds none."""
    if change.admitted:
        return next(run.first_item for run in change.runs if run.id == change.admitted)
    return change.items[0].sequence if change.items else None


def commands(change: Change, *, thread_id: str, new_thread: bool, known: set[str], keys: Keys) -> Iterator[Command]:
    """Give the commands that store a change of a thread; `known` names those of its runs that are stored already."""
    if change.deleted:
        yield ("FORGET", change.deleted)
        return
    if change.thread:
        yield from _thread(change.thread, new_thread, keys)
    for run in change.runs:
        yield from _run(run, run.id not in known, keys)
        yield ("COUNT", keys.run(run.id), run.tenant, sizes.run_bytes(run), sizes.logged_bytes(run, change))
    yield from (("PRUNE", thread_id, pruned.start, pruned.stop) for pruned in change.pruned)
    yield from (("REMOVE", thread_id, number) for number in change.removed)
    yield from _contents(change, thread_id, keys)
    if change.dropped and change.thread:
        yield ("DROP", change.dropped, thread_id, change.thread.tenant)
    for run in change.runs:
        yield from _forgotten(run, keys)
    yield ("HINCRBY", keys.thread(thread_id), "version", 1)


def _contents(change: Change, thread_id: str, keys: Keys) -> Iterator[Command]:
    waiting, items = list(map(records.dump_item, change.waiting)), list(map(records.dump_item, _ordered(change.items)))
    for chunk in _chunks(waiting):
        yield ("RPUSH", keys.run(change.waiting[0].run_id, ":input"), *(record for record, _ in chunk))
    if change.admitted:
        yield ("ADMIT", keys.run(change.admitted, ":input"), thread_id, first_item(change) or 0)
    for numbered in _chunks(list(zip(change.items, items, strict=True))):
        yield ("ITEMS", thread_id, *(word for item, (record, _) in numbered for word in (item.sequence, record)))
    if change.thread:
        added = sum(size for _, size in (*waiting, *items))
        yield ("COUNT", keys.thread(thread_id), change.thread.tenant, sizes.thread_bytes(change.thread), added)
    yield from (("AMEND", thread_id, item.sequence, records.dump_item(item)[0]) for item in change.amended)
    if change.events:
        about, bodies = records.dump_batch(change.events)
        # A stream's ids begin at 1.
        last = change.events.first_sequence + len(change.events.bodies)
        yield ("XADD", keys.run(change.events.run_id, ":events"), f"{last}-0", "about", about, "bodies", bodies)
    tenants = {run.id: run.tenant for run in change.runs}
    yield from (_call(call, tenants[call.run_id]) for call in change.calls)
    if change.receipt:
        yield from _receipt(change.receipt, keys)


def _thread(thread: Thread, new: bool, keys: Keys) -> Iterator[Command]:  # noqa: FBT001  # its only other argument
    index = "ephemeral" if thread.ephemeral else "threads"
    name = records.qualified(thread.tenant, thread.key)
    yield ("HSET", keys.thread(thread.id), "record", records.dump_thread(thread), "key", name)
    yield ("ZADD", keys.of(index), microseconds(thread.update_time), thread.id)
    if thread.tenant and not thread.ephemeral:
        yield ("ZADD", keys.of(f"threads@{thread.tenant}"), microseconds(thread.update_time), thread.id)
    if new and thread.key:
        yield ("HSET", keys.of("by-key"), name, thread.id)
        yield ("ZADD", keys.of("keys"), 0, name)


def _run(run: Run, new: bool, keys: Keys) -> Iterator[Command]:  # noqa: FBT001  # its only other argument
    opened = keys.thread(run.thread_id, ":open")
    changing = ("state", run.state.value, "changing", records.dump_changing(run), "lease", repr(run.lease_until))
    yield ("HSET", keys.run(run.id), *changing)
    if new or run.state is RunState.DELETED:
        yield ("HSET", keys.run(run.id), "thread", run.thread_id, "fixed", records.dump_fixed(run))
    if new:
        for index in (keys.of("runs"), keys.thread(run.thread_id, ":runs")):
            yield ("ZADD", index, microseconds(run.create_time), run.id)
        if run.tenant:
            yield ("HSET", keys.run(run.id), "tenant", run.tenant)
            yield ("ZADD", keys.of(f"runs@{run.tenant}"), microseconds(run.create_time), run.id)
    if run.finished:
        for index in (opened, keys.of("leases"), keys.of("deadlines")):
            yield ("ZREM", index, run.id)
        return
    yield ("ZADD", keys.of("leases"), repr(run.lease_until), run.id)
    if new:
        yield ("ZADD", opened, run.number, run.id)
    if new or run.waits:  # it moves when a run waits
        yield ("ZADD", keys.of("deadlines"), repr(run.expires), run.id)


def _forgotten(run: Run, keys: Keys) -> Iterator[Command]:
    """Give what takes away a log that is too old, and notes what of an ended run is to be forgotten one day."""
    if run.finish_time and not run.epoch:
        yield ("ZADD", keys.of("inputs"), microseconds(run.finish_time), run.id)
    if run.finish_time and run.first_sequence < run.next_sequence - 1:
        yield ("ZADD", keys.of("logs"), microseconds(run.finish_time), run.id)
    if run.first_sequence:
        yield ("CUT", run.id, run.tenant, run.first_sequence)
        yield ("ZREM", keys.of("logs"), run.id)


def _call(call: Call, tenant: str) -> Command:
    return ("CALL", call.run_id, tenant, call.id, int(call.state is CallState.FINISHED), records.dump_call(call))


def _receipt(receipt: Receipt, keys: Keys) -> Iterator[Command]:
    yield ("HSET", keys.of("receipts"), receipt.key, records.dump_receipt(receipt))
    yield ("ZADD", keys.of("receipts:expiry"), microseconds(receipt.expire_time), receipt.key)
    yield ("SADD", keys.thread(receipt.thread_id, ":receipts"), receipt.key)


def _ordered(items: Sequence[Item]) -> Sequence[Item]:
    """Refuse items of equal numbers: the server would keep both."""
    if any(later.sequence <= earlier.sequence for earlier, later in pairwise(items)):
        raise Internal("The items of a change are not ordered by their numbers.")
    return items


def _chunks(items: Sequence[Each]) -> Iterator[Sequence[Each]]:
    """A script cannot pass on more than some thousand words at once."""
    return (items[at : at + _MOST_ITEMS] for at in range(0, len(items), _MOST_ITEMS))
