"""Tool servers as child processes: started with little, watched, and surely ended."""

import asyncio
import hashlib
import os
import shutil
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import structlog

from threadmesh.errors import ToolServerUnavailable
from tools_svc.adapters.accounts import Account, find_account, is_ours, may_become
from tools_svc.adapters.framing import Framer, Oversized
from tools_svc.adapters.secrets import expand
from tools_svc.adapters.server_config import StdioServer

log = structlog.get_logger()

_LAUNCHER = str(Path(__file__).with_name("launcher.py"))
_INHERITED = ("PATH", "HOME", "LANG", "TERM", "USER")
_LINE_BYTES = 2_000
_CHUNK_BYTES = 64 * 1024
_EOF_SECONDS = 0.5
_TERM_SECONDS = 2.0
_POLL_SECONDS = 0.01
_READ_AHEAD_BYTES = 1
"""Nothing is read that nobody asks for: a server that says more waits, and what it has said is then read at once."""


def environment(configured: Mapping[str, str], inherited: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Give a server's whole environment: the little that programs need to run, and what is configured for it."""
    few = {name: value for name, value in inherited.items() if name in _INHERITED or name.startswith("LC_")}
    return few | {name: expand(value, inherited) for name, value in configured.items()}


async def start(server: StdioServer) -> Process:
    """Start a server in a session of its own, to die with this process; raises `ToolServerUnavailable`."""
    account = _account(server)
    env = environment(server.env, {**os.environ, **_home(account)})
    path = _find(server.command, env)
    if wanted := server.confinement.sha256:
        await asyncio.to_thread(_verify, server.command, path, wanted)
    try:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", _LAUNCHER, str(os.getpid()), _options(server, account), path),
            *(server.command, *server.args),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=env,
            cwd=server.cwd,
            start_new_session=True,
            limit=_READ_AHEAD_BYTES,
        )
    except OSError as error:
        raise ToolServerUnavailable(f"The command {server.command} cannot be started: {error.strerror}.") from error


def _find(command: str, env: Mapping[str, str]) -> str:
    """Give the absolute path of a command's file."""
    found = shutil.which(command, path=env.get("PATH"))
    if found is None:
        raise ToolServerUnavailable(f"The command {command} is not installed.")
    return str(Path.cwd() / found)


def _account(server: StdioServer) -> Account | None:
    """Give the user that a server becomes; None when it stays ours."""
    user = server.confinement.user
    if user is None:
        return None
    account = find_account(user)
    if account is None:
        raise ToolServerUnavailable(f"There is no user {user} to start the command {server.command} as.")
    if not may_become(account):
        raise ToolServerUnavailable(f"Only root can start the command {server.command} as another user.")
    return None if is_ours(account) else account


def _home(account: Account | None) -> dict[str, str]:
    return {"HOME": account.home, "USER": account.name} if account else {}


def _verify(command: str, path: str, wanted: str) -> None:
    """Return if the command's file is the one that was meant; takes seconds for each gigabyte."""
    try:
        with Path(path).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ToolServerUnavailable(f"The command {command} cannot be read: {error.strerror}.") from error
    if found != wanted:
        log.error("tool_server.command_changed", command=path, sha256=found, wanted=wanted)
        raise ToolServerUnavailable(f"The command {command} has not the SHA-256 that the servers file says.")


def _options(server: StdioServer, account: Account | None) -> str:
    """Give the options of the launcher."""
    confinement = server.confinement
    numbers: dict[str, object] = {
        "nice": server.nice,
        "data": None if confinement.memory_mb is None else confinement.memory_mb * 1024 * 1024,
        "files": confinement.open_files,
        "processes": confinement.processes,
        "network": None if confinement.network else 0,
    }
    if account:
        numbers |= {"uid": account.uid, "gid": account.gid, "groups": "+".join(map(str, account.groups))}
    return ",".join(f"{name}={number}" for name, number in numbers.items() if number is not None)


async def stop(process: Process) -> None:
    """End a server and all its descendants: its input ends, then SIGTERM, then SIGKILL; takes at most 9 s.

    It is carried through even if this task is cancelled meanwhile, and the cancellation goes on only then.
    """
    stopping = asyncio.ensure_future(_stop(process))
    cancelled = False
    while not stopping.done():
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError


async def _stop(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    if not await exited(process, _EOF_SECONDS):
        _signal(process, signal.SIGTERM)
        await exited(process, _TERM_SECONDS)
    # Also when it ended by itself: children that it left behind are of its group.
    _signal(process, signal.SIGKILL)
    await exited(process, _TERM_SECONDS)
    await _close(process)


async def log_errors(name: str, process: Process) -> None:
    """Put what the server writes to its standard error into our log, line by line, cut to 2 kB."""
    assert process.stderr is not None
    framer = Framer(_LINE_BYTES)
    while chunk := await process.stderr.read(_CHUNK_BYTES):
        for line in framer.feed(chunk):
            text = line.head if isinstance(line, Oversized) else line
            if text.strip():
                log.info("tool_server.stderr", server=name, line=text.decode(errors="replace").rstrip())


async def _close(process: Process) -> None:
    """Read the ended server's streams to their end, so that nothing of it stays open."""
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        # Whoever reads the stream already, reads it to its end.
        with suppress(TimeoutError, RuntimeError):
            async with asyncio.timeout(_TERM_SECONDS):
                while await stream.read(_CHUNK_BYTES):
                    pass


async def exited(process: Process, seconds: float) -> bool:
    """Wait for the server's end for at most so many seconds; False when it still runs."""
    # Not `process.wait()`: that waits for the ends of pipes too, which a grandchild may hold open.
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while process.returncode is None:  # noqa: ASYNC110  # nothing else tells of the exit alone
                await asyncio.sleep(_POLL_SECONDS)
    return process.returncode is not None


def _signal(process: Process, number: signal.Signals) -> None:
    # The child leads a session of its own, so its pid is the group's, also after it has been reaped.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
