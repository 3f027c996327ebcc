"""Reads a run and a piece of its log as of one moment, in one round trip."""

from itertools import chain

from context_svc.adapters import rows
from context_svc.adapters.event_rows import batches_of
from context_svc.adapters.log_page import page_of
from context_svc.adapters.postgres_connections import Connection
from context_svc.domain.run import Log
from threadmesh.errors import RunNotFound

_PAGE = {"bytes": 1 << 20, "batches": 4_096}
# Of a batch that was partly read before, nobody knows here how much is left: it does not count.
BATCHES = """
    SELECT * FROM (
        SELECT *, coalesce(sum(size) OVER (ORDER BY last_seq ROWS UNBOUNDED PRECEDING EXCLUDE CURRENT ROW), 0) AS before
        FROM (
            SELECT *, CASE WHEN first_seq > %(after)s THEN octet_length(batch) ELSE 0 END AS size
            FROM events WHERE run_id = %(run_id)s AND last_seq > %(after)s ORDER BY last_seq LIMIT %(batches)s
        ) AS sized
    ) AS summed
    WHERE before < %(bytes)s ORDER BY last_seq
"""


async def read_log(run_id: str, after: int, connection: Connection) -> Log:
    """Give what `RunStore.log` promises; raises `RunNotFound`."""
    async with connection.pipeline():
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        found = await connection.execute("SELECT * FROM runs WHERE run_id = %s", [run_id])
        batches = await connection.execute(BATCHES, {"run_id": run_id, "after": after, **_PAGE})
        await connection.execute("COMMIT")
    for row in await found.fetchall():
        events = page_of(chain.from_iterable(map(batches_of, await batches.fetchall())), after=after)
        return Log(run=rows.run_of(row), events=events)
    raise RunNotFound
