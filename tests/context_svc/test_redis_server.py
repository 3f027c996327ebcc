"""What a Redis store asks of its server: that it keeps what it acknowledged, and the time."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from context_svc.adapters.redis_store import RedisStore, redis_store
from context_svc.domain.change import Change, Scope, State
from context_svc.domain.delete import delete
from context_svc.domain.expire import expire
from tests.context_svc.given import GivenTime, appended, finished, queued, running, started
from tests.servers.valkey import ValkeyServer
from threadmesh.errors import StoreUnavailable
from threadmesh.settings import ConfigurationError
from threadmesh.testing.clock import FakeClock


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as started_server:
        yield started_server


@pytest.fixture
async def store(server: ValkeyServer, clock: FakeClock) -> AsyncIterator[RedisStore]:
    async with redis_store(server.url, GivenTime(clock)) as opened:
        yield opened


async def back(store: RedisStore) -> float:
    """Give after how many seconds the store takes writes again."""
    began = time.monotonic()
    async with asyncio.timeout(30):
        while True:
            try:
                await store.ping()
            except StoreUnavailable:
                await asyncio.sleep(0.01)  # between questions to a server that refuses connections
            else:
                return time.monotonic() - began


# What is not safe


UNSAFE = [
    ({"appendonly": "no"}, "appendonly yes"),
    ({"appendfsync": "no"}, "appendfsync always"),
    ({"maxmemory_policy": "allkeys-lru"}, "maxmemory-policy noeviction"),
]


@pytest.mark.parametrize(("settings", "remedy"), UNSAFE)
async def test_a_server_that_can_lose_what_it_acknowledged_is_refused(settings: dict[str, str], remedy: str) -> None:
    """A8."""
    with ValkeyServer(**settings) as server:
        with pytest.raises(ConfigurationError, match=remedy) as caught:
            await opened_once(server)
        assert "CONTEXT_ALLOW_UNSAFE_STORE" in caught.value.message
        assert "\n" not in caught.value.message

        with structlog.testing.capture_logs() as lines:
            await opened_once(server, allow_unsafe=True)
        assert [line["event"] for line in lines] == ["store.unsafe"]
        assert remedy in lines[0]["why"]


@pytest.mark.parametrize("settings", [{"appendfsync": "everysec"}, {"no_appendfsync_on_rewrite": "yes"}])
async def test_a_server_that_does_not_wait_for_the_disk_is_waited_for(
    settings: dict[str, str], clock: FakeClock
) -> None:
    with ValkeyServer(**settings) as server:
        async with redis_store(server.url, GivenTime(clock)) as store:
            await appended(store, await running(store, clock, "k"), b"a")
        with server.client() as client:
            assert int(client.info("commandstats")["cmdstat_waitaof"]["calls"]) >= 3


async def test_a_replica_and_a_cluster_are_refused() -> None:
    for settings, word in (({"replicaof": "127.0.0.1 1"}, "replica"), ({"cluster_enabled": "yes"}, "cluster")):
        with ValkeyServer(**settings) as server, pytest.raises(ConfigurationError, match=word):
            await opened_once(server, allow_unsafe=True)


async def test_wrong_credentials_are_refused_at_once_and_not_shown() -> None:
    with ValkeyServer() as server:
        with server.client() as client:
            client.config_set("requirepass", "right")
        for url in (server.url, server.url.replace("//", "//:wrong-password@")):
            with pytest.raises(ConfigurationError, match="credentials") as caught:
                async with redis_store(url):
                    pass
            assert "wrong-password" not in caught.value.message


USER = "on >password ~threadmesh:* &threadmesh:* +@all -@dangerous +info +config|get"
STORES_PAGE = Path(__file__).parents[2] / "docs" / "stores.md"


async def test_a_user_of_its_own_may_be_kept_from_everything_else(server: ValkeyServer, clock: FakeClock) -> None:
    assert f"ACL SETUSER mesh {USER}`" in STORES_PAGE.read_text()
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "mesh", *USER.split())
    async with redis_store(server.url.replace("//", "//mesh:password@"), GivenTime(clock)) as store:
        run = await appended(store, await running(store, clock, "k"), b"a")
        assert len((await store.log(run.id, after=-1)).events) == 1
        async with redis_store(server.url, GivenTime(clock)) as other, asyncio.timeout(30):
            with store.changes(run.id) as changes:
                await changes.wait(0)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(changes.wait(60))
                    await appended(other, run, b"b")
        await delete((await finished(store, await store.run(run.id))).thread_id, store=store)


async def test_a_server_that_does_not_tell_its_settings_is_refused(server: ValkeyServer) -> None:
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "mesh", *USER.replace("+config|get", "").split())

    with pytest.raises(ConfigurationError, match="does not say"):
        async with redis_store(server.url.replace("//", "//mesh:password@")):
            pass


async def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="CONTEXT_STORE"):
        async with redis_store("http://somewhere"):
            pass


def test_a_unit_with_an_unsafe_server_ends_with_one_line_and_status_78() -> None:
    """A42."""
    with ValkeyServer(appendonly="no") as server:
        chosen = {"CONTEXT_STORE": f"redis:{server.url}", "CONTEXT_PORT": "0", "CONTEXT_METRICS_PORT": "0"}
        ended = subprocess.run(
            [sys.executable, "-m", "context_svc"],
            env={**os.environ, **chosen},
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
        )

    assert ended.returncode == 78
    assert [line for line in ended.stderr.splitlines() if line.startswith("context_svc: configuration:")] == [
        ended.stderr.splitlines()[-1]
    ]
    assert "appendonly yes" in ended.stderr


async def test_a_server_that_became_unsafe_is_not_written_to(server: ValkeyServer, store: RedisStore) -> None:
    await queued(store, "k")
    server.kill()
    server.start(appendfsync="no")

    with pytest.raises(StoreUnavailable, match="appendfsync"):
        await queued(store, "k")


async def test_data_of_a_later_version_is_refused(server: ValkeyServer, clock: FakeClock) -> None:
    """A5."""
    async with redis_store(server.url, GivenTime(clock)) as store:
        await queued(store)
    with server.client() as client:
        client.hset("threadmesh:meta", "schema", 999)

    with pytest.raises(ConfigurationError, match="later version"):
        await opened_once(server)


async def opened_once(server: ValkeyServer, *, allow_unsafe: bool = False) -> None:
    async with redis_store(server.url, allow_unsafe=allow_unsafe) as store:
        await store.ping()


# Time


@asynccontextmanager
async def timed(server: ValkeyServer, machine: FakeClock) -> AsyncIterator[RedisStore]:
    """The store with the server's time, seen from a machine whose clock is the test's."""
    async with redis_store(server.url, seconds=machine.monotonic) as opened:
        yield opened


async def steady(store: RedisStore) -> float:
    def asked(state: State) -> tuple[Change, float]:
        return Change(), state.now.steady

    return await store.change(Scope(), asked)


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_jump_of_the_servers_clock_moves_no_lease(server: ValkeyServer, hours: int) -> None:
    """A43. To jump, the machine's clock goes on while the server's stands still, or the other way round."""
    machine = FakeClock()
    async with timed(server, machine) as store, timed(server, machine) as other:
        before = [await steady(each) for each in (store, other)]
        machine.advance(hours * 3600)
        after = [await steady(each) for each in (store, other)]
        again = [await steady(each) for each in (store, other)]

    for seen in (after, again):
        assert [now - then for now, then in zip(seen, before, strict=True)] == pytest.approx([hours * 3600] * 2, abs=2)


async def test_a_clock_that_was_set_back_while_nobody_looked_goes_on_from_the_last_change(
    server: ValkeyServer, clock: FakeClock
) -> None:
    async with redis_store(server.url) as store:
        await queued(store, "k")
        before = await steady(store)
    with server.client() as client:
        client.hincrby("threadmesh:meta", "correction", -3_600_000_000)

    async with redis_store(server.url) as store:
        assert await steady(store) == pytest.approx(before, abs=5)


async def test_a_restart_of_the_server_gives_open_runs_a_new_lease(
    server: ValkeyServer, store: RedisStore, clock: FakeClock
) -> None:
    run = await running(store, clock, "k")
    server.kill()
    clock.advance(60)
    server.start()
    await back(store)

    assert await expire(store) == ()
    assert (await store.run(run.id)).lease_until == 65.0
    clock.advance(9)
    assert [each.id for each in await expire(store)] == [run.id]


async def test_the_time_is_the_servers_for_every_process(server: ValkeyServer) -> None:
    async with redis_store(server.url) as store, redis_store(server.url) as other:
        run = (await started(store, thread_key="k")).run
        assert 0 <= await steady(other) - (run.lease_until - 5) < 5
        with server.client() as client:
            assert abs(client.time()[0] - run.create_time.timestamp()) < 5
