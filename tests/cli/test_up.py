import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import CommandLine
from threadmesh.cli.ports import free_port
from threadmesh.cli.state import read_state

ROOT = Path(__file__).parents[2]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@asynccontextmanager
async def small_mesh(*words: str, **environment: str) -> AsyncIterator[Process]:
    """Run `small_mesh.py` in a process of its own, ended at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.cli.small_mesh", *words),
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ended(process: Process) -> tuple[int | None, str, str]:
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def until_line(process: Process, text: str) -> None:
    assert process.stdout
    async with asyncio.timeout(60):
        while text not in (line := (await process.stdout.readline()).decode()):
            assert line, "the mesh ended before it was ready"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_mesh_in_the_foreground_serves_until_it_is_stopped(data: Path, number: signal.Signals) -> None:
    async with small_mesh("foreground") as process:
        await until_line(process, "threadmesh down")
        state = read_state(data)
        assert state
        assert not state.detached

        process.send_signal(number)

        status, _, err = await ended(process)
        assert status == 0
        assert err.splitlines()[-1] == "The mesh has stopped."
        assert not any(unit.process and unit.process.id.alive for unit in state.units)


async def test_a_detached_mesh_is_found_by_the_other_commands(
    threadmesh: CommandLine, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for absent in ("TOOLS_PORT", "INFERENCE_PORT"):
        monkeypatch.setenv(absent, str(free_port("127.0.0.1")))
    async with small_mesh("detached") as process:
        status, out, err = await ended(process)
        try:
            assert status == 0, err
            assert "/v1/chat/completions" in out
            assert "context: serving" in err

            shown = await asyncio.to_thread(threadmesh, "status", "--json")
            units = {unit["name"]: unit for unit in json.loads(shown.out)["units"]}
            state = read_state(data)
            assert state
            assert units["context"]["state"] == units["facade"]["state"] == "serving"
            assert units["tools"]["state"] == "down"
            assert units["context"]["pid"] == next(unit.process.pid for unit in state.units if unit.process)
        finally:
            stopped = await asyncio.to_thread(threadmesh, "down")

    assert stopped.out == "The mesh has stopped.\n"
    assert (await asyncio.to_thread(threadmesh, "down")).out == f"Nothing is running on {data}.\n"


async def test_a_second_start_says_that_the_mesh_runs(threadmesh: CommandLine, data: Path) -> None:
    async with small_mesh("detached") as first:
        try:
            assert (await ended(first))[0] == 0
            running = read_state(data)
            async with small_mesh("detached") as second:
                status, _, err = await ended(second)

            assert status == 1
            assert "already runs on" in err
            assert read_state(data) == running
        finally:
            await asyncio.to_thread(threadmesh, "down")


async def test_a_busy_port_is_told_before_anything_starts(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        async with small_mesh("foreground", FACADE_PORT=port) as process:
            status, _, err = await ended(process)

    assert status == 1
    assert f"port {port}, which facade needs, is in use by pid {os.getpid()}" in err
    assert list((data / "logs").iterdir()) == []


@pytest.mark.parametrize("mode", ["foreground", "detached"])
async def test_a_setting_that_a_unit_refuses_is_led_back_to_its_line(tmp_path: Path, mode: str) -> None:
    config = tmp_path / "threadmesh.toml"
    config.write_text("[context]\n\ncolour = 1\n")
    async with small_mesh(mode, str(config)) as process:
        status, _, err = await ended(process)

    assert status == 78
    assert f"{config}:3: context.colour: context: configuration: CONTEXT_COLOUR: no such setting" in err


def test_an_unusable_data_directory_ends_with_78(threadmesh: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    ran = threadmesh("up", "--data-dir", str(tmp_path / "file" / "data"))

    assert ran.status == 78
    assert "--data-dir" in ran.err
    assert len(ran.err.splitlines()) == 1


def test_a_wrong_file_ends_with_78(threadmesh: CommandLine, tmp_path: Path) -> None:
    config = tmp_path / "threadmesh.toml"
    config.write_text("[mesh]\ncolour = 1\n")

    ran = threadmesh("up", "--config", str(config))

    assert ran.status == 78
    assert (
        ran.err == f"error: {config}:2: mesh.colour: no such key; there are data_dir, log_level, stop_seconds, mtls\n"
    )
