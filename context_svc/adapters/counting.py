"""How the SQL stores count what tenants have stored, as statements in the way of `statements`.

A thread's row tells the `bytes` of its items and of input that has not become items, a run's those of its parameters
and events. What else counts stands in the row itself or, of a run, in those of its calls. `stored` sums up, in parts,
what the rows say in `counted`: a thread's is brought up to date by every change of it, a run's when it has ended. So a
write of events touches no row but its run's, and that once; and open runs, which are few, are looked through when
somebody asks.
"""

from collections.abc import Iterator
from typing import Literal

from context_svc.adapters import sizes, statements
from context_svc.adapters.rows import Row, item_row
from context_svc.adapters.sizes import RECORD
from context_svc.domain.change import Change
from context_svc.domain.run import RunState
from context_svc.domain.thread import Thread

Write = tuple[str, Row]

_ADD = "ON CONFLICT (tenant, shard) DO UPDATE SET bytes = stored.bytes + excluded.bytes"
_THREAD = f"bytes + {RECORD} + octet_length(key) + octet_length(metadata)"
_CALLS = f"SELECT sum(octet_length(args) + coalesce(octet_length(result), 0) + {RECORD}) FROM calls"  # noqa: S608
_RUN = f"""
    bytes + octet_length(actions) + coalesce(octet_length(finished), 0)
    + coalesce(({_CALLS} WHERE calls.run_id = runs.run_id), 0)
"""
_ITEM = f"octet_length(body) + {RECORD}"

_COUNT_THREAD = f"""
    INSERT INTO stored (tenant, shard, bytes)
    SELECT tenant, :shard, {_THREAD} + :added - counted FROM threads WHERE thread_id = :thread_id
    {_ADD}
"""  # noqa: S608  # our own words
_THREAD_COUNTED = f"""
    UPDATE threads SET bytes = bytes + :added, counted = {_THREAD} + :added
    WHERE thread_id = :thread_id
"""  # noqa: S608  # our own words
_COUNT_RUN = f"""
    INSERT INTO stored (tenant, shard, bytes)
    SELECT tenant, :shard, {_RUN} - counted FROM runs WHERE run_id = :run_id
    {_ADD}
"""  # noqa: S608  # our own words
_RUN_COUNTED = f"UPDATE runs SET counted = {_RUN} WHERE run_id = :run_id"  # noqa: S608  # our own words
_THREAD_FORGOTTEN = f"""
    INSERT INTO stored (tenant, shard, bytes)
    SELECT tenant, :shard, -counted - coalesce(
        (SELECT sum(runs.counted) FROM runs WHERE runs.thread_id = threads.thread_id), 0
    )
    FROM threads WHERE thread_id = :thread_id
    {_ADD}
"""  # noqa: S608  # our own words

_INPUT_FORGOTTEN = f"""
    UPDATE threads SET bytes = bytes - coalesce((SELECT sum({_ITEM}) FROM inputs WHERE run_id = :run_id), 0)
    WHERE thread_id = :thread_id
"""  # noqa: S608  # our own words


def items_counted(condition: str, values: Row, *, sign: Literal["+", "-"]) -> Write:
    """Give what adds to a thread, or takes from it, what those of its items count for which a condition holds."""
    statement = f"""
        UPDATE threads SET bytes = bytes {sign} coalesce((SELECT sum({_ITEM}) FROM items WHERE {condition}), 0)
        WHERE thread_id = :thread_id
    """  # noqa: S608  # our own words
    return statement, values


def stored_by(condition: str) -> str:
    """Give the statement that sums up what tenants have stored for whom a condition holds, which stands in it twice.

    It gives a row for each of them who has stored anything.
    """
    return f"""
        SELECT tenant, CAST(sum(bytes) AS BIGINT) AS bytes FROM (
            SELECT tenant, bytes FROM stored WHERE {condition}
            UNION ALL SELECT tenant, {_RUN} - counted FROM runs WHERE finish_time IS NULL AND {condition}
        ) AS parts GROUP BY tenant
    """  # noqa: S608  # our own words


def removals(thread_id: str, change: Change) -> Iterator[Write]:
    """Give what removes items from their thread, and stops counting them."""
    for pruned in change.pruned:
        values = statements.pruning(thread_id, pruned)
        yield items_counted(statements.PRUNED, values, sign="-")
        yield statements.PRUNE, values
    for number in change.removed:
        this = {"thread_id": thread_id, "seq": number}
        yield items_counted(statements.THIS_ITEM, this, sign="-")
        yield statements.REMOVE, this


def amendments(change: Change) -> Iterator[Write]:
    """Give what lets items say something else, as far as they are still there, and counts them anew."""
    for item in change.amended:
        row = item_row(item)
        this = {"thread_id": item.thread_id, "seq": item.sequence}
        yield items_counted(statements.THIS_ITEM, this, sign="-")
        yield statements.AMEND, row
        yield items_counted(statements.THIS_ITEM, this, sign="+")


def dropped(change: Change) -> Iterator[Write]:
    """Give what forgets input that is never admitted, and stops counting it."""
    if change.dropped and change.thread:
        yield _INPUT_FORGOTTEN, {"run_id": change.dropped, "thread_id": change.thread.id}
        yield statements.DELETE_INPUTS, {"run_id": change.dropped}


def erased(change: Change) -> Iterator[Write]:
    """Give what forgets the requests of runs that are deleted, before what is left of these is written and counted."""
    for run in change.runs:
        if run.state is RunState.DELETED:
            yield statements.ERASE_RUN, {"run_id": run.id}


def thread_forgotten(thread_id: str) -> Write:
    """Give what stops counting a thread with everything in it, before it goes."""
    return _THREAD_FORGOTTEN, {"thread_id": thread_id, "shard": sizes.shard_of(thread_id)}


def counted(change: Change, *, before: Thread | None, added: int) -> Iterator[Write]:
    """Give what brings the tenant's total up to date, after all else was written.

    The change's thread was stored as `before`, if it was there; `added` are the bytes of items that it gains.
    """
    if change.thread and (added or _matters(change, before)):
        values = {"thread_id": change.thread.id, "added": added}
        yield _COUNT_THREAD, {**values, "shard": sizes.shard_of(change.thread.id)}
        yield _THREAD_COUNTED, values
    for run in change.runs:
        if run.finished:
            yield _COUNT_RUN, {"run_id": run.id, "shard": sizes.shard_of(run.thread_id)}
            yield _RUN_COUNTED, {"run_id": run.id}


def _matters(change: Change, before: Thread | None) -> bool:
    """Say whether anything else may have changed that counts of a thread. Mostly it is only used."""
    gone = change.pruned or change.removed or change.amended or change.dropped
    described = change.thread.metadata if change.thread else {}
    return bool(gone) or before is None or before.metadata != described


def place_of(change: Change) -> tuple[str, int]:
    """Say where a change counts: the tenant, and the part of his total."""
    if change.thread:
        return change.thread.tenant, sizes.shard_of(change.thread.id)
    return next(((run.tenant, sizes.shard_of(run.thread_id)) for run in change.runs), ("", 0))
