"""Follows the log of a run. The first delivery and every replay take this one path."""

from collections.abc import AsyncGenerator

from context_svc.domain.ports import RunStore
from context_svc.domain.run import Event, Log
from threadmesh.errors import EventLogExpired, InvalidArgument

HEARTBEAT_SECONDS = 1.0
"""How long a watcher hears nothing at most."""


async def watch(
    run_id: str, *, after: int, store: RunStore, heartbeat: float = HEARTBEAT_SECONDS
) -> AsyncGenerator[tuple[Event, ...], None]:
    """Stream the events numbered above `after` (-1 for all) in order, without gaps, until the terminal one.

    An empty piece is a sign of life, sent when `heartbeat` seconds brought nothing. Raises `RunNotFound`,
    `InvalidArgument` when the log has no event numbered `after`, and `EventLogExpired` when the next one was forgotten.
    """
    run = await store.run(run_id)
    if after >= run.next_sequence:
        raise InvalidArgument(
            "The log does not reach this event yet.", field="after_sequence", next_sequence=run.next_sequence
        )
    quiet = False
    with store.changes(run_id) as changes:
        while True:
            log = await store.log(run_id, after=after)
            if after + 1 < log.run.first_sequence:
                raise EventLogExpired(run_id=run_id, first_sequence=log.run.first_sequence)
            events = _entries(log, after=after)
            if not events and log.run.finished:
                return
            if events or quiet:
                yield events
            after = events[-1].sequence if events else after
            if quiet := not events:
                await changes.wait(heartbeat)


def _entries(log: Log, *, after: int) -> tuple[Event, ...]:
    """Give the events, with the terminal one when they reach it."""
    run = log.run
    last = log.events[-1].sequence if log.events else after
    if not run.finished or not run.finish_time or last != run.next_sequence - 2:
        return log.events
    return (*log.events, Event(sequence=run.next_sequence - 1, create_time=run.finish_time, body=run.finished))
