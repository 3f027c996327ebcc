"""Long tools in real processes that are killed: tools_svc itself, and Celery's workers on two brokers."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.chaos.units import Unit
from tests.context_svc.given import postgres_server, valkey_server
from tests.e2e.mesh import free_ports
from tests.tools_svc.given import call, text
from threadmesh.api.conversation.v1 import events_pb2 as events
from threadmesh.api.conversation.v1.events_pb2 import CallFinished
from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.api.tools.v1.tools_service_pb2_grpc import ToolsServiceStub
from threadmesh.rpc.channel import connect

if TYPE_CHECKING:
    from threadmesh.api.tools.v1.tools_service_pb2_grpc import ToolsServiceAsyncStub

LONG_TOOLS = Path(__file__).parents[1] / "servers" / "long_tools.py"
SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """tools_svc and whatever carries its tasks, each a process; `victim` is the one that has a task in its hands."""

    directory: Path
    tools: Unit
    workers: tuple[Unit, ...]

    @property
    def victim(self) -> Unit:
        return self.workers[0] if self.workers else self.tools

    @property
    def ledger(self) -> list[str]:
        file = self.directory / "ledger"
        return file.read_text().split() if file.exists() else []

    def open_gate(self) -> None:
        (self.directory / "gate").touch()

    def ask(self, tool: str, *, resumed: bool = False, run_id: str = "r") -> pb.ExecuteToolsRequest:
        wanted = call(f"long__{tool}", directory=str(self.directory))
        return pb.ExecuteToolsRequest(calls=[wanted], run_id=run_id, epoch=1, resumed=resumed)


def _broker(kind: str, directory: Path) -> str:
    return (
        f"filesystem://{directory / 'broker'}" if kind == "filesystem" else f"redis+socket://{valkey_server().socket}"
    )


@contextmanager
def house(directory: Path, kind: str, *, store: str = "") -> Iterator[House]:
    """Start the processes: tools_svc alone (`inline`), or with a worker on a broker."""
    servers = directory / "servers.json"
    tools = {name: {"queue": True, "timeout_seconds": 600} for name in ("unsafe", "repeatable")}
    servers.write_text(json.dumps({"mcpServers": {"long": {"python": str(LONG_TOOLS), "tools": tools}}}))
    port, metrics, *others = free_ports(4)
    environment = {
        "TOOLS_SERVERS_FILE": str(servers),
        "TOOLS_STATE_DIR": str(directory / "state"),
        "TOOLS_PORT": str(port),
        "TOOLS_METRICS_PORT": str(metrics),
        "TOOLS_TASK_LEASE_SECONDS": "1",
        "TOOLS_TASK_STORE": store,
        "TOOLS_DRAIN_SECONDS": "0.2",
    }
    if kind != "inline":
        environment |= {"TOOLS_TASK_RUNNER": "celery", "TOOLS_TASK_BROKER": _broker(kind, directory)}
    service = Unit(name="tools", module="tools_svc", environment=environment, port=port, log=directory / "tools.log")
    workers = () if kind == "inline" else tuple(_worker(directory, environment, each) for each in others)
    built = House(directory=directory, tools=service, workers=workers)
    try:
        service.start()
        for each in workers[:1]:
            each.start()
        yield built
    finally:
        for each in (service, *workers):
            each.end()


def _worker(directory: Path, environment: dict[str, str], port: int) -> Unit:
    own = {**environment, "TOOLS_WORKER_METRICS_PORT": str(port)}
    log = directory / f"worker-{port}.log"
    return Unit(name="worker", module="tools_svc.worker", environment=own, port=port, log=log)


@asynccontextmanager
async def reached(home: House) -> AsyncIterator["ToolsServiceAsyncStub"]:
    """Give a stub once the tools can be called."""
    async with asyncio.timeout(SECONDS), connect(f"127.0.0.1:{home.tools.port}") as channel:
        stub = ToolsServiceStub(channel)
        async for state in stub.WatchTools(pb.WatchToolsRequest(), wait_for_ready=True):
            if len(state.catalogue.tools) == 2:
                break
        yield stub


async def progressed(stub: "ToolsServiceAsyncStub", request: pb.ExecuteToolsRequest) -> None:
    """Ask for a call and leave when its progress has come."""
    async for event in stub.ExecuteTools(request):
        if event.HasField("progress"):
            return
    raise AssertionError("it ended without progress")


async def finished(stub: "ToolsServiceAsyncStub", request: pb.ExecuteToolsRequest) -> CallFinished:
    """Ask for a call and give its end."""
    ends = [event.finished async for event in stub.ExecuteTools(request) if event.HasField("finished")]
    assert len(ends) == 1
    return ends[0]


KINDS = ["inline", "filesystem", "redis"]


_SELDOM = {("inline", "repeatable"), ("filesystem", "unsafe"), ("redis", "repeatable")}


@pytest.mark.parametrize(
    ("kind", "tool"),
    [
        pytest.param(kind, tool, marks=pytest.mark.thorough if (kind, tool) in _SELDOM else ())
        for kind in KINDS
        for tool in ("repeatable", "unsafe")
    ],
)
async def test_a_process_that_is_killed_in_the_middle_of_a_task(tmp_path: Path, kind: str, tool: str) -> None:
    """A task that may be repeated goes out again; any other ends as UNKNOWN and is never sent twice."""
    with house(tmp_path, kind) as home:
        async with reached(home) as stub:
            await progressed(stub, home.ask(tool))
        home.victim.end(signal.SIGKILL)
        home.victim.start()
        home.open_gate()
        async with reached(home) as stub:
            ended = await finished(stub, home.ask(tool, resumed=True))
            again = await finished(stub, home.ask(tool))

    assert ended == again
    if tool == "unsafe":
        assert (ended.outcome, len(home.ledger)) == (events.CALL_OUTCOME_UNKNOWN, 1)
    else:
        assert (ended.outcome, text(ended)) == (events.CALL_OUTCOME_SUCCEEDED, "finished")
        assert len(home.ledger) == 2


@pytest.mark.parametrize("kind", KINDS)
async def test_a_task_is_listed_and_stopped(tmp_path: Path, kind: str) -> None:
    with house(tmp_path, kind) as home:
        async with reached(home) as stub:
            await progressed(stub, home.ask("unsafe"))
            [running] = (await stub.ListTasks(pb.ListTasksRequest(states=[pb.TASK_STATE_CLAIMED]))).tasks
            stopped = await stub.CancelCall(pb.CancelCallRequest(run_id="r", call_id="call"))
            ended = await finished(stub, home.ask("unsafe"))
            waiting = await stub.ListTasks(pb.ListTasksRequest(states=[pb.TASK_STATE_QUEUED, pb.TASK_STATE_CLAIMED]))
            [over] = (await stub.ListTasks(pb.ListTasksRequest(run_id="r"))).tasks

    assert (running.name, running.attempt, running.progress.progress) == ("long__unsafe", 1, 1)
    assert running.owner
    assert stopped.cancelled
    assert ended.outcome == over.outcome == events.CALL_OUTCOME_UNKNOWN
    assert ended.failure.reason == "CANCELLED"
    assert not waiting.tasks


async def test_a_worker_that_is_stopped_hands_its_task_to_another(tmp_path: Path) -> None:
    """On PostgreSQL, which the processes share by its address alone."""
    with house(tmp_path, "filesystem", store=postgres_server().url()) as home:
        async with reached(home) as stub:
            await progressed(stub, home.ask("repeatable"))
            status = home.workers[0].end(signal.SIGTERM)
            home.workers[1].start()
            home.open_gate()
            ended = await finished(stub, home.ask("repeatable"))

    assert status == 0
    assert (ended.outcome, len(home.ledger)) == (events.CALL_OUTCOME_SUCCEEDED, 2)


async def test_tools_svc_may_go_and_come_while_a_worker_works(tmp_path: Path) -> None:
    with house(tmp_path, "filesystem") as home:
        async with reached(home) as stub:
            await progressed(stub, home.ask("unsafe"))
        home.tools.end(signal.SIGKILL)
        home.open_gate()
        home.tools.start()
        async with reached(home) as stub:
            ended = await finished(stub, home.ask("unsafe", resumed=True))

    assert (ended.outcome, home.ledger) == (events.CALL_OUTCOME_SUCCEEDED, ["done"])


@pytest.mark.parametrize("tool", ["repeatable", "unsafe"])
async def test_a_service_that_is_stopped_gives_its_tasks_back(tmp_path: Path, tool: str) -> None:
    with house(tmp_path, "inline") as home:
        async with reached(home) as stub:
            await progressed(stub, home.ask(tool))
        assert home.tools.end(signal.SIGTERM) == 0
        home.open_gate()
        home.tools.start()
        async with reached(home) as stub:
            ended = await finished(stub, home.ask(tool, resumed=True))

    expected = events.CALL_OUTCOME_UNKNOWN if tool == "unsafe" else events.CALL_OUTCOME_SUCCEEDED
    assert (ended.outcome, len(home.ledger)) == (expected, 1 if tool == "unsafe" else 2)


def test_a_worker_whose_configuration_is_wrong_says_so_and_ends_with_78(tmp_path: Path) -> None:
    wrong = {"TOOLS_TASK_RUNNER": "inline", "TOOLS_WORKER_METRICS_PORT": "0", "TOOLS_STATE_DIR": str(tmp_path)}
    bad_store = {**wrong, "TOOLS_TASK_RUNNER": "celery", "TOOLS_TASK_STORE": "postgresql://host:port/db"}
    in_memory = {**bad_store, "TOOLS_TASK_STORE": "memory:"}
    for environment in (wrong, bad_store, in_memory):
        ended = subprocess.run(
            [sys.executable, "-m", "tools_svc.worker"],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

        assert ended.returncode == 78
        assert ended.stderr.splitlines()[-1].startswith("worker: configuration: TOOLS_TASK_")
