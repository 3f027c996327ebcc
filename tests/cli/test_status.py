import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.cli.conftest import CommandLine
from tests.cli.servers import serving, threads_service, tools_service
from threadmesh.api.context.v1 import threads_service_pb2 as threads_pb
from threadmesh.cli.exits import NotRunning
from threadmesh.cli.health import Condition, ask
from threadmesh.cli.locate import locate
from threadmesh.cli.ports import free_port
from threadmesh.cli.status import duration, mesh_status
from threadmesh.cli.units import Probe


@pytest.fixture(autouse=True)
def _nothing_on_the_usual_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    for unit in ("INFERENCE", "TOOLS", "CONTEXT", "FACADE"):
        monkeypatch.setenv(f"{unit}_PORT", str(free_port("127.0.0.1")))


def test_a_mesh_that_is_not_there_is_down_and_ends_with_3(threadmesh: CommandLine) -> None:
    ran = threadmesh("status", "--json")

    body = json.loads(ran.out)
    assert ran.status == 3
    assert body["serving"] is False
    assert [unit["state"] for unit in body["units"]] == ["down"] * 4
    assert body["models"] is body["tool_servers"] is body["threads"] is None


async def test_what_serves_is_asked_for_what_it_has(threadmesh: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = [threads_pb.Thread(id=str(number)) for number in range(5)]
    async with AsyncExitStack() as stack:
        monkeypatch.setenv("FACADE_TOOLS_TARGET", await stack.enter_async_context(serving(tools_service())))
        monkeypatch.setenv("FACADE_CONTEXT_TARGET", await stack.enter_async_context(serving(threads_service(threads))))
        ran = await asyncio.to_thread(threadmesh, "status")

    assert ran.status == 3
    assert "demo (ready, 2 tools), gone (unavailable, 0 tools)" in ran.out
    assert "threads   5" in ran.out
    assert ran.out.count("serving") == 2
    assert ran.out.count("down") == 2


async def test_health_tells_a_unit_that_starts_from_one_that_is_down() -> None:
    address = f"127.0.0.1:{free_port('127.0.0.1')}"

    assert (await ask(address, Probe.GRPC)).condition is Condition.STARTING
    assert (await ask(address, Probe.HTTP, running=False)).condition is Condition.DOWN


async def test_a_port_that_speaks_another_protocol_does_not_serve() -> None:
    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example\r\n")
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

        assert (await ask(address, Probe.HTTP)).condition is Condition.NOT_SERVING
        assert (await ask(address, Probe.GRPC)).condition is Condition.NOT_SERVING


async def test_a_facade_says_what_it_waits_for() -> None:
    body = b'{"status": "not ready", "units": {"context": "ok", "tools": "no answer in time"}}'

    async def not_ready(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 503 Busy\r\nConnection: close\r\n\r\n" + body)
        writer.close()

    async with await asyncio.start_server(not_ready, "127.0.0.1", 0) as server:
        health = await ask(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", Probe.HTTP)

    assert health.condition is Condition.NOT_SERVING
    assert health.detail == "tools: no answer in time"


async def test_a_unit_of_the_kit_is_serving_once_it_pings() -> None:
    async with serving(tools_service()) as address, asyncio.timeout(30):
        while not (await ask(address, Probe.GRPC)).serving:
            pass


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0s"), (65, "1m 5s"), (3600, "1h 0m"), (90_061, "1d 1h"), (59, "59s")]
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_command_line_goes_before_the_environment_which_goes_before_the_usual_ports(tmp_path: Path) -> None:
    home = {"XDG_DATA_HOME": str(tmp_path)}
    environment = home | {"FACADE_TOOLS_TARGET": "a:1", "THREADMESH_URL": "http://b/", "THREADMESH_API_KEY": "k"}

    found = locate(environment=environment)
    assert found.addresses["tools"] == "a:1"
    assert found.addresses["context"] == "127.0.0.1:50053"
    assert found.url == "http://b"
    assert found.key == "k"
    assert locate(environment=environment, target="c:2", url="http://d").addresses["tools"] == "c:2"
    assert locate(environment=environment, target="c:2", url="http://d").url == "http://d"
    assert locate(environment=home | {"FACADE_PORT": "0"}).url == "http://127.0.0.1:8080"
    assert locate(environment=home | {"FACADE_PORT": "81"}).url == "http://127.0.0.1:81"


def test_a_named_directory_without_a_mesh_is_not_looked_for_at_the_usual_ports(tmp_path: Path) -> None:
    environment = {"THREADMESH_DATA_DIR": str(tmp_path)}

    with pytest.raises(NotRunning):
        locate(environment=environment)
    with pytest.raises(NotRunning):
        locate(data_dir=tmp_path, environment={})
    assert not locate(environment=environment | {"THREADMESH_URL": "http://b"}).absent


async def test_a_mesh_that_is_absent_is_down_whatever_runs_elsewhere(tmp_path: Path) -> None:
    located = locate(environment={"THREADMESH_DATA_DIR": str(tmp_path)}, required=False)

    status = await mesh_status(located)

    assert {unit.state for unit in status.units} == {"down"}
