from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from context_svc.adapters.postgres_store import PostgresStore, postgres_store
from tests.context_svc.given import FakeTime, postgres_server
from tests.servers.postgres import PostgresServer
from threadmesh.testing.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "context.db"


@pytest.fixture
def server() -> PostgresServer:
    return postgres_server()


@pytest.fixture
def url(server: PostgresServer) -> str:
    """The address of a PostgreSQL schema that nobody has used."""
    return server.url()


@pytest.fixture
async def store(url: str, clock: FakeClock) -> AsyncIterator[PostgresStore]:
    async with postgres_store(url, FakeTime(clock)) as opened:
        yield opened
