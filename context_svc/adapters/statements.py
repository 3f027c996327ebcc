"""What the SQL stores write, as statements whose values are named in the way of SQLite: `:name`."""

from functools import cache

from context_svc.adapters.rows import INPUT_COLUMNS
from context_svc.adapters.sizes import RECORD

ADMIT = """
    INSERT INTO items (
        thread_id, seq,
        item_id, run_id, create_time, kind, status, provenance, role, body, tokens, schema_v, digest
    )
    SELECT
        :thread_id, :first_item + ordinal,
        item_id, run_id, create_time, kind, status, provenance, role, body, tokens, schema_v, digest
    FROM inputs WHERE run_id = :run_id ORDER BY ordinal
"""
UPDATE_RUN = f"""
    UPDATE runs SET
        state = :state, epoch = :epoch, owner = :owner, lease_until = :lease_until, expires = :expires,
        deadline = :deadline, next_event = :next_event, first_event = :first_event, first_item = :first_item,
        cancel_requested = :cancel_requested, last_write = :last_write,
        bytes = CASE WHEN :first_event = 0 THEN bytes + :added ELSE octet_length(params) + {RECORD} END,
        finished = :finished, finish_time = :finish_time,
        actions = :actions, wait_until = :wait_until, waits = :waits
    WHERE run_id = :run_id
"""  # noqa: S608  # our own words
ERASE_RUN = "UPDATE runs SET bytes = bytes - octet_length(params), params = '' WHERE run_id = :run_id"
AMEND = """
    UPDATE items SET kind = :kind, body = :body, tokens = :tokens, schema_v = :schema_v, digest = :digest
    WHERE thread_id = :thread_id AND seq = :seq
"""
DELETE_INPUTS = "DELETE FROM inputs WHERE run_id = :run_id"
DELETE_EVENTS = "DELETE FROM events WHERE run_id = :run_id AND last_seq < :first_event"
DELETE_CALLS = "DELETE FROM calls WHERE run_id = :run_id"
DELETE_THREAD = "DELETE FROM threads WHERE thread_id = :thread_id"

PRUNED = """
    thread_id = :thread_id AND seq >= :first AND seq < :end
        AND role NOT IN ('system', 'developer') AND kind <> 'summary'
"""
PRUNE = f"DELETE FROM items WHERE {PRUNED}"  # noqa: S608  # our own words
THIS_ITEM = "thread_id = :thread_id AND seq = :seq"
REMOVE = f"DELETE FROM items WHERE {THIS_ITEM}"  # noqa: S608  # our own words

_FIXED = {"tenant", "create_time", "key", "ephemeral", "thread_id"}
"""What never changes after the row was made."""
_KEYS = {"threads": "thread_id", "calls": "run_id, call_id", "idem": "tenant, key"}
_KEPT = {"calls": "calls.state = 'finished'"}
"""Rows that are never replaced."""


@cache
def insert(table: str, columns: tuple[str, ...]) -> str:
    """Give the statement that adds a row."""
    places = ", ".join(f":{column}" for column in columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608  # our own names, values as parameters


@cache
def put(table: str, columns: tuple[str, ...]) -> str:
    """Give the statement that adds a row, or replaces the changeable columns of the one with the same key."""
    key = _KEYS[table]
    changeable = [column for column in columns if column not in _FIXED and column not in key.split(", ")]
    values = ", ".join(f"{column} = excluded.{column}" for column in changeable)
    kept = _KEPT.get(table, "FALSE")
    return f"{insert(table, columns)} ON CONFLICT ({key}) DO UPDATE SET {values} WHERE NOT ({kept})"


def narrowed(mark: str, **wanted: str | None) -> tuple[str, tuple[str, ...]]:
    """Give the condition for rows whose columns have the wanted values, and these values; None wants nothing.

    `mark` is where the store's library puts values. What is not wanted does not stand there, so that an index serves.
    """
    named = {column: value for column, value in wanted.items() if value is not None}
    return " AND ".join(["TRUE", *(f"{column} = {mark}" for column in named)]), tuple(named.values())


def beyond(mark: str, *, ascending: bool) -> str:
    """Give the rest of the condition for threads behind a place in a list by use, and their order."""
    if ascending:
        return f"> ({mark}, {mark}) ORDER BY update_time, thread_id"
    return f"< ({mark}, {mark}) ORDER BY update_time DESC, thread_id DESC"


def list_input(mark: str) -> str:
    """Give the statement that reads the input that waits with a run."""
    joined = "inputs JOIN runs ON runs.run_id = inputs.run_id"
    return f"SELECT {INPUT_COLUMNS} FROM {joined} WHERE inputs.run_id = {mark} ORDER BY inputs.ordinal"  # noqa: S608  # our own words


def ended_inputs(mark: str) -> str:
    """Give the statement that names ended runs whose input still waits. That is little, so they are found by it."""
    return f"""
        SELECT run_id FROM runs WHERE run_id IN (SELECT run_id FROM inputs) AND finish_time < {mark}
        ORDER BY finish_time LIMIT {mark}
    """  # noqa: S608  # our own words


def pruning(thread_id: str, pruned: range) -> dict[str, object]:
    """Give the values of `PRUNE`."""
    return {"thread_id": thread_id, "first": pruned.start, "end": pruned.stop}
