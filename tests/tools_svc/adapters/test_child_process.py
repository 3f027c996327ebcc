import asyncio
import hashlib
import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from threadmesh.errors import ToolServerUnavailable
from tools_svc.adapters import child_process
from tools_svc.adapters.server_config import NICE, Confinement, StdioServer

STUBBORN = "import signal, sys; signal.signal(15, signal.SIG_IGN); print('up', flush=True); signal.pause()"
FAMILY = (
    "import subprocess, sys;"
    "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']);"
    "print(child.pid, flush=True); child.wait()"
)
PARENT = f"""
import asyncio, os
from tools_svc.adapters import child_process
from tools_svc.adapters.server_config import StdioServer

async def main():
    code = "import signal; print('up', flush=True); signal.pause()"
    server = StdioServer(command={sys.executable!r}, args=("-c", code))
    process = await child_process.start(server)
    await process.stdout.read(1_000)
    print(process.pid, flush=True)
    await process.wait()

asyncio.run(main())
"""


def _server(code: str) -> StdioServer:
    return StdioServer(command=sys.executable, args=("-c", code))


@asynccontextmanager
async def _started(code: str, **changed: Any) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await child_process.start(replace(_server(code), **changed))
    try:
        yield process
    finally:
        await child_process.stop(process)


async def _first_line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(20):
        return (await process.stdout.read(1_000)).decode().strip()


def _alive(pid: int) -> bool:
    """Whether a process runs; one that has died and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _wait_for_the_end(pid: int) -> None:
    """Wait for a process that is not our child, without asking again and again."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([handle], [], [], 20)[0]
    finally:
        os.close(handle)


async def test_a_server_that_ignores_every_request_to_end_is_ended() -> None:
    async with _started(STUBBORN) as process:
        assert await _first_line(process) == "up"

    assert process.returncode == -signal.SIGKILL


async def test_a_server_is_ended_even_if_whoever_ends_it_is_cancelled() -> None:
    async with _started(STUBBORN) as process:
        await _first_line(process)
        stopping = asyncio.create_task(child_process.stop(process))
        await asyncio.wait({stopping}, timeout=0)
        stopping.cancel()
        await asyncio.wait({stopping})

        assert stopping.cancelled()
        assert process.returncode == -signal.SIGKILL


async def test_a_server_takes_its_children_with_it() -> None:
    async with _started(FAMILY) as process:
        grandchild = int(await _first_line(process))
        assert _alive(grandchild)

    _wait_for_the_end(grandchild)
    assert not _alive(grandchild)


async def test_a_server_dies_with_the_process_that_started_it() -> None:
    """Also when that one is killed and can clean up nothing."""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, stdout=asyncio.subprocess.PIPE)
    server = int(await _first_line(parent))
    assert _alive(server)
    parent.kill()
    await parent.communicate()

    _wait_for_the_end(server)
    assert not _alive(server)


async def test_a_server_can_gain_no_privileges() -> None:
    async with _started("print(open('/proc/self/status').read().partition('NoNewPrivs:')[2].split()[0])") as process:
        assert await _first_line(process) == "1"


async def test_what_a_server_writes_to_its_errors_is_logged_in_bounded_lines() -> None:
    code = "import sys; sys.stderr.write('hello\\n' + 'x' * 100_000 + '\\n\\n'); sys.stderr.write('bye\\n')"
    with capture_logs() as logs:
        async with _started(code) as process, asyncio.timeout(20):
            await child_process.log_errors("noisy", process)

    lines = [entry["line"] for entry in logs if entry["event"] == "tool_server.stderr"]
    assert [lines[0], lines[-1]] == ["hello", "bye"]
    assert len(lines) == 3
    assert max(map(len, lines)) <= 2_000
    assert {entry["server"] for entry in logs} == {"noisy"}


async def test_a_command_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(ToolServerUnavailable, match="not installed"):
        await child_process.start(StdioServer(command="no-such-command-anywhere"))


def test_a_server_inherits_little_and_gets_what_is_configured() -> None:
    ours = {"PATH": "/bin", "HOME": "/h", "LC_ALL": "C", "LD_PRELOAD": "evil.so", "AWS_SECRET": "s", "TOKEN": "t"}

    given = child_process.environment({"KEY": "${env:TOKEN}", "PATH": "/own"}, ours)

    assert given == {"PATH": "/own", "HOME": "/h", "LC_ALL": "C", "KEY": "t"}


@pytest.mark.parametrize("nice", [0, NICE, 19])
async def test_a_server_yields_the_cpu_by_as_much_as_it_shall(nice: int) -> None:
    async with _started("import os; print(os.getpriority(os.PRIO_PROCESS, 0), flush=True)", nice=nice) as process:
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert int(await _first_line(process)) == min(own + nice, 19)


PYTHON = "/usr/bin/python3"
MEMORY = """
import sys
try:
    bytearray(400 * 1024 * 1024)
except MemoryError:
    sys.stdout.write("refused")
"""


async def test_a_server_gets_no_more_memory_than_it_may() -> None:
    async with _started(MEMORY, confinement=Confinement(memory_mb=200)) as process:
        assert await _first_line(process) == "refused"


async def test_addresses_that_a_server_only_reserves_cost_none_of_its_memory() -> None:
    """As Node.js and the JVM do by the gigabyte."""
    code = "import mmap; mmap.mmap(-1, 2**32, prot=0); print('up', flush=True)"
    async with _started(code, confinement=Confinement(memory_mb=200)) as process:
        assert await _first_line(process) == "up"


async def test_a_server_may_open_so_many_files_and_start_so_many_processes() -> None:
    code = "from resource import *; print(getrlimit(RLIMIT_NOFILE), getrlimit(RLIMIT_NPROC), flush=True)"
    async with _started(code, confinement=Confinement(open_files=64, processes=32)) as process:
        assert await _first_line(process) == "(64, 64) (32, 32)"


async def test_a_limit_above_the_systems_is_the_systems() -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    code = "from resource import *; print(getrlimit(RLIMIT_NOFILE)[1], flush=True)"
    async with _started(code, confinement=Confinement(open_files=most + 1)) as process:
        assert await _first_line(process) == str(most)


async def test_a_command_is_started_only_while_its_file_is_the_one_that_was_meant(tmp_path: Path) -> None:
    command = tmp_path / "tool"
    command.write_text("#!/bin/sh\necho up\n")
    command.chmod(0o755)
    meant = Confinement(sha256=hashlib.sha256(command.read_bytes()).hexdigest())
    async with _started("", command=str(command), confinement=meant) as process:
        assert await _first_line(process) == "up"

    command.write_text("#!/bin/sh\necho evil\n")
    with pytest.raises(ToolServerUnavailable, match="SHA-256"), capture_logs() as logs:
        await child_process.start(StdioServer(command=str(command), confinement=meant))
    assert [entry["event"] for entry in logs] == ["tool_server.command_changed"]


NETWORK = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
socket.create_connection(listener.getsockname(), 5)
try:
    socket.create_connection(("127.0.0.1", PORT), 5)
except OSError as error:
    print("alone", type(error).__name__, [name for _, name in socket.if_nameindex()], flush=True)
"""


async def test_a_server_without_a_network_reaches_itself_and_nobody_else() -> None:
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as ours:
        code = NETWORK.replace("PORT", str(ours.sockets[0].getsockname()[1]))
        async with _started(code, confinement=Confinement(network=False)) as process:
            line = await _first_line(process)
            assert process.stderr is not None
            if not line and b"no network namespace" in await process.stderr.read(1_000):
                pytest.skip("this system lets nobody make a network namespace")

    assert line.startswith("alone ConnectionRefusedError ['lo'")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a server as another user")
@pytest.mark.skipif(not Path(PYTHON).exists(), reason="there is no Python that each user may run")
async def test_a_server_may_be_another_user_and_still_dies_with_the_process_that_started_it() -> None:
    code = (
        "import ctypes, os; signal = ctypes.c_int(); ctypes.CDLL(None).prctl(2, ctypes.byref(signal));"
        "print(os.getresuid(), os.getresgid(), os.getgroups(), os.environ['HOME'], signal.value, flush=True)"
    )
    async with _started(code, command=PYTHON, confinement=Confinement(user=54_321)) as process:
        assert await _first_line(process) == f"{(54_321,) * 3} {(54_321,) * 3} [] / 9"


async def test_a_server_is_not_started_as_a_user_that_there_is_not() -> None:
    other = StdioServer(command="true", confinement=Confinement(user="no-such-user"))
    with pytest.raises(ToolServerUnavailable, match="no user no-such-user"):
        await child_process.start(other)


def test_no_server_crashes_before_it_begins_beside_grpc() -> None:
    command = (sys.executable, "-m", "tests.tools_svc.adapters.starting_children", "200")
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)

    assert found.stdout == "0"
