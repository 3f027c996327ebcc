"""Keeps the programs of a mesh running: starts them, starts crashed ones again, stops them in the reverse order."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from threadmesh.cli.exits import UnitFailed
from threadmesh.cli.plan import Program
from threadmesh.cli.processes import ProcessId
from threadmesh.cli.unit_logs import last_words
from threadmesh.clock import Clock, SystemClock
from threadmesh.errors import MeshError
from threadmesh.settings import CONFIGURATION_EXIT_STATUS, ConfigurationError

_LEASH = Path(__file__).with_name("leash.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """When a program that ended by itself is started again; all in seconds.

    A program that ran for `settled_seconds` has earned a clean record; after `attempts` shorter lives in a row it is
    given up.
    """

    first_delay: float = 0.5
    longest_delay: float = 10.0
    settled_seconds: float = 20.0
    attempts: int = 5

    def delay(self, short_lives: int) -> float | None:
        """Give the pause before the next start; None to give up."""
        if short_lives >= self.attempts:
            return None
        return min(self.longest_delay, self.first_delay * 2.0 ** max(0, short_lives - 1))


class Runner:
    """One program and its process, while it has one."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.process: ProcessId | None = None
        self.restarts = 0
        self._child: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the program in a process group of its own, tied to this process's life; raises `UnitFailed`."""
        with self.program.log.open("ab") as log:
            self._child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(_LEASH), str(os.getpid()), *self.program.command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.program.environment,
                process_group=0,
            )
        self.process = ProcessId.of(self._child.pid)

    async def wait(self) -> int:
        """Wait for the program's end; gives its exit status, negative for the signal that ended it."""
        assert self._child
        status = await self._child.wait()
        self.process = None
        return status

    async def stop(self, *, seconds: float, hurry: asyncio.Event) -> None:
        """Ask the program to end, wait, and kill it with all its children after `seconds` or when `hurry` is set."""
        child, process = self._child, self.process
        if child is None or process is None or child.returncode is not None:
            return
        process.send(signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await _either(child.wait(), hurry.wait())
        if child.returncode is None:
            process.kill_group()
            await child.wait()


class Supervisor:
    """Runs programs until it is told to stop or one of them cannot run.

    `changed` is called whenever a process begins or ends, `notice` with a line for people.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        *,
        stop_seconds: float,
        changed: Callable[[], None],
        notice: Callable[[str], None],
        policy: RestartPolicy | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.runners = tuple(map(Runner, programs))
        self._stop_seconds = stop_seconds
        self._changed = changed
        self._notice = notice
        self._policy = policy or RestartPolicy()
        self._clock = clock or SystemClock()
        self._ended = asyncio.Event()
        self._hurry = asyncio.Event()
        self._failure: MeshError | None = None

    def stop(self) -> None:
        """End `run`: gracefully at the first call, at once at the second."""
        if self._ended.is_set():
            self._hurry.set()
        self._ended.set()

    async def run(self) -> None:
        """Start all programs and keep them running until `stop`; they have ended when it returns or raises.

        Raises `ConfigurationError` when a program says that its configuration is wrong, and `UnitFailed` when one
        ends soon after every start.
        """
        async with asyncio.TaskGroup() as group:
            for runner in self.runners:
                await self._start(runner)
                group.create_task(self._keep(runner), name=runner.program.unit)
            try:
                await self._ended.wait()
            finally:
                self._ended.set()
                await self._stop_all()
        if self._failure:
            raise self._failure

    async def _keep(self, runner: Runner) -> None:
        short_lives = 0
        while True:
            began = self._clock.monotonic()
            status = await runner.wait()
            if self._ended.is_set():
                return
            self._changed()
            settled = self._clock.monotonic() - began >= self._policy.settled_seconds
            short_lives = 1 if settled else short_lives + 1
            delay = self._policy.delay(short_lives)
            if status == CONFIGURATION_EXIT_STATUS or delay is None:
                self._fail(runner, status)
                return
            self._notice(f"{runner.program.unit} {ending(status)}; starting it again in {delay:g} s")
            if await self._ends_within(delay):
                return
            runner.restarts += 1
            await self._start(runner)
            if self._ended.is_set():  # while it was starting, where `_stop_all` could not see it
                await self._stop(runner)

    async def _start(self, runner: Runner) -> None:
        await runner.start()
        self._changed()

    async def _ends_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        return self._ended.is_set()

    def _fail(self, runner: Runner, status: int) -> None:
        words = last_words(runner.program.log) or "it left no word"
        if status == CONFIGURATION_EXIT_STATUS:
            self._failure = self._failure or ConfigurationError(words)
        else:
            again = f" again and again (last: {ending(status)})"
            name, log = runner.program.unit, runner.program.log
            self._failure = self._failure or UnitFailed(f"{name} ended{again}: {words}; its log is {log}")
        self._ended.set()

    async def _stop_all(self) -> None:
        for runner in reversed(self.runners):
            await self._stop(runner)

    async def _stop(self, runner: Runner) -> None:
        await runner.stop(seconds=self._stop_seconds, hurry=self._hurry)


async def _either(*waits: Awaitable[object]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def ending(status: int) -> str:
    """Say how a process ended."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
