"""context_svc dies while it rewrites what it keeps: in a migration, and while it compacts the log of an ended run."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import grpc
import pytest

from tests.chaos.history import check
from tests.chaos.reader import Reader
from tests.chaos.stores import store
from tests.chaos.units import SECONDS, Unit, Units, mesh_of_units
from tests.e2e.mesh import free_ports
from threadmesh.api.context.v1 import threads_service_pb2 as threads
from threadmesh.api.context.v1.threads_service_pb2_grpc import ThreadsServiceStub
from threadmesh.crash_points import VARIABLE

STORES = os.environ.get("CHAOS_STORES", "sqlite").split(",")
WITH_MIGRATIONS = ("sqlite", "postgres")


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Units]:
    with mesh_of_units(tmp_path_factory.mktemp("upkeep")) as started:
        started.tools_are_ready()
        yield started


@pytest.mark.parametrize("ask", ["count for me", "act NAME"])
def test_a_log_that_was_being_compacted_reads_as_before(units: Units, ask: str) -> None:
    units["context"].start("ctx.mid_compaction")
    name = ask.partition(" ")[0]
    reader = Reader(
        urls=[units.url()],
        body={
            "model": "scripted",
            "stream": True,
            "messages": [{"role": "user", "content": ask.replace("NAME", name)}],
            "metadata": {"tools": "all", "thread_key": f"upkeep:{name}"},
        },
        key=name,
    )
    reader.read()
    process = units["context"].process
    assert process is not None
    died = process.wait(SECONDS)
    units["context"].start()
    units.models_are_ready()

    assert died == -signal.SIGKILL, "the log was being compacted"
    check(units, reader, facade="facade")


@pytest.mark.parametrize("kind", [each for each in STORES if each in WITH_MIGRATIONS])
def test_a_migration_that_was_cut_off_is_done_again(kind: str, tmp_path: Path) -> None:
    """The first one makes the tables; SQLite's second one finds a thread in them, written before it began."""
    port, metrics = free_ports(2)
    with store(kind) as place:
        environment = {
            "CONTEXT_STORE": place or f"sqlite:{tmp_path / 'context.db'}",
            "CONTEXT_PORT": str(port),
            "CONTEXT_METRICS_PORT": str(metrics),
        }
        log = tmp_path / "context.log"
        unit = Unit(name="context", module="context_svc", environment=environment, port=port, log=log)
        try:
            died = [_cut_off(environment)]
            if kind == "sqlite":
                died.append(_cut_off(environment, 2))
                with closing(sqlite3.connect(tmp_path / "context.db")) as connection, connection:
                    connection.execute("INSERT INTO threads VALUES ('thread_1', '', 'mine', '{}', 1, 1, 0, 0, '', 0)")
                died.append(_cut_off(environment))
            unit.start()
            kept = _threads(f"127.0.0.1:{port}")
            unit.start("ctx.mid_migration")
            again = _threads(f"127.0.0.1:{port}")
        finally:
            unit.end()

    assert set(died) == {-signal.SIGKILL}
    assert kept == again, "no migration is done twice"
    assert kept == (["mine"] if kind == "sqlite" else [])


def _cut_off(environment: Mapping[str, str], nth: int = 1) -> int:
    """Let context_svc die in its nth migration from now; gives its exit status."""
    changed = {**os.environ, **environment, VARIABLE: f"ctx.mid_migration:{nth}"}
    return subprocess.run([sys.executable, "-m", "context_svc"], env=changed, timeout=SECONDS, check=False).returncode


def _threads(target: str) -> list[str]:
    with grpc.insecure_channel(target) as channel:
        found = ThreadsServiceStub(channel).ListThreads(
            threads.ListThreadsRequest(), wait_for_ready=True, timeout=SECONDS
        )
    return [thread.key for thread in found.threads]
