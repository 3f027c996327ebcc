"""The unit as it starts: settings to services."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from context_svc.app import app
from context_svc.settings import ContextSettings
from tests.context_svc.given import postgres_server
from tests.servers.valkey import ValkeyServer
from threadmesh.api.context.v1 import threads_service_pb2 as pb
from threadmesh.api.context.v1.threads_service_pb2_grpc import ThreadsServiceStub
from threadmesh.settings import ConfigurationError
from threadmesh.testing.loopback import channel_for


@pytest.fixture(autouse=True)
def data_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("THREADMESH_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def test_the_store_is_a_file_in_the_data_directory_unless_said_otherwise(data_directory: Path) -> None:
    assert ContextSettings.load({}).store == f"sqlite:{data_directory}/context.db"


@pytest.mark.parametrize(
    "store", ["", "sqlite:", "postgres:", "mysql://somewhere", "context.db", "memory:x", "redis:somewhere"]
)
def test_a_store_that_nobody_knows_is_refused(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    monkeypatch.setenv("CONTEXT_STORE", store)

    with pytest.raises(ConfigurationError, match="CONTEXT_STORE"):
        ContextSettings.load()


async def test_a_wrong_rule_stops_the_start_with_one_line() -> None:
    settings = ContextSettings(store="memory:", retention="a max_items=5, b max_age=never")

    with pytest.raises(ConfigurationError) as caught:
        async with app(settings, CollectorRegistry()):
            pass

    assert caught.value.message.startswith("CONTEXT_RETENTION: rule 2 (`b max_age=never`): max_age must be")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("store", "shown"),
    [
        ("postgres://mesh:pass@word@db:5432/mesh", "postgres://mesh:***@db:5432/mesh"),
        ("postgres://mesh@db/mesh?password=word&schema=one", "postgres://mesh@db/mesh?password=***&schema=one"),
        ("postgres://mesh@db:5432/mesh", "postgres://mesh@db:5432/mesh"),
        ("redis:redis://mesh:a:b/c@host:6379/0", "redis:redis://mesh:***@host:6379/0"),
        ("redis:rediss://:word@host:6379/0", "redis:rediss://:***@host:6379/0"),
        ("redis:unix:///run/valkey.sock?password=word", "redis:unix:///run/valkey.sock?password=***"),
        ("sqlite:/data/a:b@c.db", "sqlite:/data/a:b@c.db"),
    ],
)
def test_the_settings_in_the_log_show_no_password(store: str, shown: str) -> None:
    assert ContextSettings(store=store).effective()["store"] == shown


async def test_threads_are_there_when_the_unit_is_started_again(data_directory: Path) -> None:
    answers = []
    for _ in range(2):
        async with app(ContextSettings(), CollectorRegistry()) as unit, channel_for(*unit.services) as channel:
            await unit.ping()
            threads = ThreadsServiceStub(channel)
            answers.append(await threads.ResolveThread(pb.ResolveThreadRequest(key="k"), timeout=30))

    assert [answer.created for answer in answers] == [True, False]
    assert answers[0].thread == answers[1].thread
    assert (data_directory / "context.db").exists()


def test_the_memory_store_needs_no_file(data_directory: Path) -> None:
    asyncio.run(started_in_memory())

    assert not data_directory.exists()


async def started_in_memory() -> None:
    async with app(ContextSettings(store="memory:"), CollectorRegistry()) as unit:
        await unit.ping()


@pytest.fixture(params=["postgres", "redis"])
def shared(request: pytest.FixtureRequest) -> Iterator[str]:
    """A store on a server, as `CONTEXT_STORE` names it, that nobody has used."""
    if request.param == "postgres":
        yield f"postgres:{postgres_server().url()}"
        return
    with ValkeyServer() as server:
        yield f"redis:{server.url}"


async def test_the_unit_works_with_a_server_that_keeps_its_threads(shared: str) -> None:
    answers = []
    for _ in range(2):
        async with (
            app(ContextSettings(store=shared), CollectorRegistry()) as unit,
            channel_for(*unit.services) as channel,
        ):
            await unit.ping()
            threads = ThreadsServiceStub(channel)
            answers.append(await threads.ResolveThread(pb.ResolveThreadRequest(key="k"), timeout=30))

    assert [answer.created for answer in answers] == [True, False]
    assert answers[0].thread == answers[1].thread


@pytest.mark.parametrize("kind", ["postgres", "redis"])
async def test_a_missing_driver_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setitem(sys.modules, f"context_svc.adapters.{kind}_store", None)
    places = {"postgres": "postgres://mesh@nowhere/mesh", "redis": "redis:redis://nowhere"}

    with pytest.raises(ConfigurationError, match=rf"threadmesh\[{kind}\]"):
        async with app(ContextSettings(store=places[kind]), CollectorRegistry()):
            pass


async def test_every_metric_has_a_name_of_this_unit_and_a_help_text() -> None:
    registry = CollectorRegistry()
    async with app(ContextSettings(store="memory:"), registry):
        text = generate_latest(registry).decode()

    names = [line.split()[2] for line in text.splitlines() if line.startswith("# HELP")]
    assert names
    assert all(name.startswith("threadmesh_context_") for name in names)
    assert not [line for line in text.splitlines() if line.startswith("# HELP") and len(line.split()) < 4]
