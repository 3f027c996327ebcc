"""The time of the PostgreSQL store: the same for all processes, without jumps."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from context_svc.adapters.postgres_store import PostgresStore
from context_svc.adapters.postgres_time import ClockMoved, Reading, ServerTime
from context_svc.domain.change import NOTHING, Change, Moment, Scope, State
from context_svc.domain.claim import claim, renew
from context_svc.domain.lease import ABANDONED_SECONDS, LEASE_SECONDS
from tests.context_svc.given import patient_postgres, queued, schema_of
from tests.servers.postgres import PostgresServer
from threadmesh.clock import SystemClock
from threadmesh.errors import StoreUnavailable, ThreadBusy
from threadmesh.retry import persist
from threadmesh.retry_budget import unshared

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def reading(wall: float, mine: float, *, took: float = 0.0, correction: int = 0) -> Reading:
    """What the server says `wall` seconds after noon, asked at `mine` seconds of this machine."""
    return Reading(
        wall=NOON + timedelta(seconds=wall), correction=correction, restarted=False, asked=mine, answered=mine + took
    )


class SetTime(ServerTime):
    """The time of a server whose clock was set by `seconds`."""

    seconds = 0.0

    def moment(self, reading: Reading) -> Moment:
        return super().moment(replace(reading, wall=reading.wall + timedelta(seconds=self.seconds)))


async def now(store: PostgresStore) -> Moment:
    def told(state: State) -> tuple[Change, Moment]:
        return NOTHING, state.now

    return await store.change(Scope(), told)


@given(passed=st.floats(0, 1e6), took=st.floats(0, 1), drift=st.floats(-0.9, 0.9))
def test_time_that_passes_on_both_machines_is_no_jump(passed: float, took: float, drift: float) -> None:
    time = ServerTime()
    before = time.moment(reading(0, 100, took=took))

    after = time.moment(reading(passed + drift, 100 + passed, took=took))

    assert after.steady - before.steady == pytest.approx(passed + drift, abs=1e-5)


@given(jump=st.floats(1.1, 1e6) | st.floats(-1e6, -1.1), passed=st.floats(0, 100))
def test_a_jump_of_the_servers_clock_is_noticed(jump: float, passed: float) -> None:
    time = ServerTime()
    time.moment(reading(0, 100))

    with pytest.raises(ClockMoved):
        time.moment(reading(passed + jump, 100 + passed))


def test_a_correction_by_another_process_is_taken_over() -> None:
    time = ServerTime()
    time.moment(reading(0, 100))

    assert time.moment(reading(3601, 101, correction=3_600_000_000)).steady == reading(1, 101).steady


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
async def test_a_jump_of_the_servers_clock_moves_no_lease(url: str, jump: float) -> None:
    """A43, seen by two processes."""
    times = [SetTime(), SetTime()]
    async with (
        patient_postgres(url, times[0]) as one,
        patient_postgres(url, times[1]) as other,
    ):
        run = await queued(one, "k")
        run = await claim(run.id, owner="f", patience=0, store=one, clock=SystemClock())
        before = await now(other)
        for time in times:
            time.seconds = jump

        assert await other.overdue(abandoned_after=ABANDONED_SECONDS, limit=9) == ()
        with pytest.raises(ThreadBusy):
            await claim(run.id, owner="g", patience=0, store=other, clock=SystemClock())
        renewed = await renew(run.id, epoch=run.epoch, store=one)
        after = await now(one)

    assert 0 <= after.steady - before.steady < 2.0
    assert after.time - before.time > timedelta(seconds=jump)
    assert run.lease_until <= renewed.lease_until <= after.steady + LEASE_SECONDS
    assert renewed.expires == run.expires


async def test_an_outage_of_the_server_gives_writers_a_new_lease(url: str, server: PostgresServer) -> None:
    """F10: whoever could not renew a lease because the store hung has not abandoned the run."""
    async with patient_postgres(url) as store:
        run = await queued(store, "k")
        run = await claim(run.id, owner="f", patience=0, store=store, clock=SystemClock())
        age_leases(server, url)
        assert await store.overdue(abandoned_after=ABANDONED_SECONDS, limit=9) == (run.id,)
        with server.hanging():
            for _ in range(3):
                with pytest.raises(StoreUnavailable):
                    await store.ping()

        assert (
            await persist(
                partial(store.overdue, abandoned_after=ABANDONED_SECONDS, limit=9),
                seconds=30,
                budget=unshared(),
            )
            == ()
        )


def age_leases(server: PostgresServer, url: str) -> None:
    """Let ten minutes pass for the leases."""
    with server.connect() as connection:
        table = sql.Identifier(schema_of(url), "runs")
        connection.execute(sql.SQL("UPDATE {} SET lease_until = lease_until - 600").format(table))


async def test_a_restart_of_the_server_gives_writers_a_new_lease(url: str, server: PostgresServer) -> None:
    async with (
        patient_postgres(url) as one,
        patient_postgres(url) as other,
    ):
        run = await queued(one, "k")
        run = await claim(run.id, owner="f", patience=0, store=one, clock=SystemClock())
        age_leases(server, url)
        assert await other.overdue(abandoned_after=ABANDONED_SECONDS, limit=9) == (run.id,)
        server.stop()
        server.start()

        assert (
            await persist(
                partial(other.overdue, abandoned_after=ABANDONED_SECONDS, limit=9),
                seconds=30,
                budget=unshared(),
            )
            == ()
        )
        assert (await one.run(run.id)).lease_until > (await now(one)).steady
        assert (await renew(run.id, epoch=run.epoch, store=one)).expires == run.expires
