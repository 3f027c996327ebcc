"""How often a job is attempted, and what is no failure of it."""

from collections.abc import Awaitable, Callable

import psycopg
import pytest

from context_svc.adapters.postgres_address import parse_address
from context_svc.adapters.postgres_connections import Connection, Connections
from context_svc.adapters.postgres_time import ClockMoved
from threadmesh.errors import StoreUnavailable


def lost() -> Exception:
    return psycopg.OperationalError("the connection is lost")


def moved() -> Exception:
    return ClockMoved("SELECT 1", {})


def failing(*errors: Exception) -> Callable[[Connection], Awaitable[str]]:
    """Make a job that fails so and is done then."""
    left = list(errors)

    async def job(connection: Connection) -> str:
        if left:
            raise left.pop(0)
        return "done"

    return job


@pytest.fixture
def connections(url: str) -> Connections:
    made = Connections(parse_address(url), patience=30)
    made.ready = True
    return made


@pytest.mark.parametrize("clock", [[moved()], [moved(), moved(), moved()]], ids=["once", "thrice"])
async def test_a_clock_that_was_moved_counts_for_no_attempt(connections: Connections, clock: list[Exception]) -> None:
    assert await connections.use(failing(lost(), lost(), lost(), *clock)) == "done"
    connections.close()


async def test_what_is_lost_again_and_again_is_unavailable(connections: Connections) -> None:
    with pytest.raises(StoreUnavailable):
        await connections.use(failing(*(lost() for _ in range(4))))
    connections.close()


async def test_a_clock_that_never_rests_is_unavailable(connections: Connections) -> None:
    with pytest.raises(StoreUnavailable):
        await connections.use(failing(*(moved() for _ in range(99))))
    connections.close()
