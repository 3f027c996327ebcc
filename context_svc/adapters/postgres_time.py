"""The time of a PostgreSQL store: one for all processes that share it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import psycopg
from psycopg.rows import DictRow

from context_svc.adapters.rows import microseconds
from context_svc.domain.change import Moment
from context_svc.domain.lease import LEASE_SECONDS

READ_TIME = """
    SELECT
        clock_timestamp() AS wall, correction,
        server_start IS DISTINCT FROM pg_postmaster_start_time() AS restarted
    FROM steady_clock
"""
_CORRECT = "UPDATE steady_clock SET correction = correction + %(jump)s WHERE correction = %(seen)s"
# Runs are locked in the order in which changes lock them.
_RESTART_LEASES = """
    WITH started AS (
        UPDATE steady_clock SET server_start = pg_postmaster_start_time()
        RETURNING extract(epoch FROM clock_timestamp())::float8 - correction / 1e6 AS steady
    ), unfinished AS (
        SELECT run_id FROM runs WHERE finish_time IS NULL ORDER BY run_id FOR UPDATE
    )
    UPDATE runs SET lease_until = steady + %(lease)s
    FROM started, unfinished WHERE runs.run_id = unfinished.run_id AND lease_until < steady + %(lease)s
"""
_OUTAGE_SECONDS = 2.0
_TOLERANCE_SECONDS = 1.0
_MICRO = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the server said of its time, and between which seconds of this machine's own clock it was said.

    Before that, it had not answered this process for `away` seconds.
    """

    wall: datetime
    correction: int
    restarted: bool
    asked: float
    answered: float
    away: float = 0.0

    @property
    def steady(self) -> float:
        """Seconds of the store's steady clock."""
        return (microseconds(self.wall) - self.correction) / _MICRO


class Timekeeper(Protocol):
    """Makes a moment of a reading."""

    def moment(self, reading: Reading) -> Moment:
        """Give the moment; raises `ClockMoved` when the store's clock must be set first."""
        ...


class ClockMoved(Exception):
    """The store's clock must be set before it is read again."""

    def __init__(self, statement: str, values: Mapping[str, Any]) -> None:
        self._statement = statement
        self._values = values

    async def amend(self, connection: psycopg.AsyncConnection[DictRow]) -> None:
        """Set the clock; of several who notice at once one does it."""
        await connection.execute(self._statement, self._values)


class ServerTime:
    """Takes the time from the database's server, so that it is the same for every process.

    PostgreSQL tells only its wall clock. The steady clock is that clock without its jumps: each process compares what
    passed on the server with what passed on its own machine since it last looked. Where the two differ by more than a
    second, the server's clock was set; the difference goes into the table `steady_clock`, from where all processes
    take it. So:

    - a jump of the server's clock by more than a second moves no lease and no deadline, if some process has looked
      at it before and after; a smaller one moves them by that much. Dates of records follow the wall clock;
    - a restart of the server, the change to another one, or an outage of more than two seconds gives every open run
      a new lease, for its writer could not renew it meanwhile; deadlines go on. A jump meanwhile is noticed as usual;
    - a jump while no process is running counts as time that passed;
    - a process whose whole machine was paused, unnoticed by its own clock, may set the steady clock back by the
      length of the pause: leases then last that much longer. Nothing makes them shorter.
    """

    def __init__(self) -> None:
        self._last: Reading | None = None

    def moment(self, reading: Reading) -> Moment:
        """See `Timekeeper.moment`."""
        if reading.restarted or reading.away > _OUTAGE_SECONDS:
            raise ClockMoved(_RESTART_LEASES, {"lease": LEASE_SECONDS})
        last = self._last
        if last and last.correction == reading.correction and (jump := _jump(last, reading)):
            raise ClockMoved(_CORRECT, {"jump": round(jump * _MICRO), "seen": reading.correction})
        self._last = reading
        return Moment(time=reading.wall, steady=reading.steady)


def boot_seconds() -> float:
    """Give seconds since this machine was started, those it slept included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _jump(last: Reading, now: Reading) -> float:
    """Give by how many seconds the server's clock was set between two readings; 0 if it need not have been."""
    passed = now.steady - last.steady
    least, most = now.asked - last.answered, now.answered - last.asked
    if least - _TOLERANCE_SECONDS <= passed <= most + _TOLERANCE_SECONDS:
        return 0.0
    return passed - (least + most) / 2
