"""The supervisor of a mesh with its lock and state file, in the foreground or by itself."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from os import getpid
from pathlib import Path

from threadmesh.cli import state
from threadmesh.cli.exits import exit_status
from threadmesh.cli.plan import Plan
from threadmesh.cli.processes import ProcessId
from threadmesh.cli.supervisor import RestartPolicy, Runner, Supervisor
from threadmesh.cli.unit_logs import rotate
from threadmesh.errors import MeshError


@contextmanager
def supervised(
    plan: Plan, *, detached: bool, notice: Callable[[str], None], policy: RestartPolicy | None = None
) -> Iterator[Supervisor]:
    """Give a supervisor whose processes are on file until the block ends; raises `AlreadyRunning`."""
    began = datetime.now(UTC)
    with state.locked(plan.data_directory):
        for program in plan.programs:
            rotate(program.log)

        def changed() -> None:
            state.write_state(plan.data_directory, _state(plan, supervisor, began=began, detached=detached))

        supervisor = Supervisor(
            plan.programs, stop_seconds=plan.stop_seconds, changed=changed, notice=notice, policy=policy
        )
        changed()
        try:
            yield supervisor
        finally:
            state.remove_state(plan.data_directory)


@contextmanager
def stopped_by_signals(supervisor: Supervisor) -> Iterator[None]:
    """Make SIGTERM, SIGINT and SIGHUP stop the supervisor, twice at once."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, supervisor.stop)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def start_detached(plan: Plan, log: Path) -> subprocess.Popen[bytes]:
    """Start a supervisor that outlives this process and its terminal; its words go to `log`."""
    rotate(log)
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "threadmesh.cli.supervise"],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    assert process.stdin
    with suppress(BrokenPipeError), process.stdin as pipe:  # it ended already; its log says why
        pipe.write(plan.model_dump_json().encode())
    return process


def main() -> None:
    """Supervise the plan on stdin, as `start_detached` sends it; ends with the exit status of the error, if any."""
    plan = Plan.model_validate_json(sys.stdin.buffer.read())
    try:
        asyncio.run(_supervise(plan))
    except MeshError as error:
        sys.stderr.write(f"{error.message}\n")
        sys.exit(exit_status(error))


async def _supervise(plan: Plan) -> None:
    with supervised(plan, detached=True, notice=_log) as supervisor, stopped_by_signals(supervisor):
        await supervisor.run()


def _log(line: str) -> None:
    """Write a notice as the units write theirs; what stands plainly after it in the log is the supervisor's error."""
    entry = {"event": line, "unit": "supervisor", "level": "warning", "timestamp": datetime.now(UTC).isoformat()}
    with suppress(OSError):
        sys.stderr.write(json.dumps(entry) + "\n")


def _state(plan: Plan, supervisor: Supervisor, *, began: datetime, detached: bool) -> state.MeshState:
    own = ProcessId.of(getpid())
    assert own
    return state.MeshState(
        supervisor=_on_file(own),
        detached=detached,
        start_time=began,
        model=plan.model,
        units=tuple(map(_unit_state, supervisor.runners)),
        certificates=plan.certificates,
    )


def _unit_state(runner: Runner) -> state.UnitState:
    program = runner.program
    return state.UnitState(
        name=program.unit,
        address=program.address,
        metrics_url=program.metrics_url,
        probe=program.probe,
        log=program.log,
        process=_on_file(runner.process) if runner.process else None,
        restarts=runner.restarts,
    )


def _on_file(process: ProcessId) -> state.Process:
    return state.Process(pid=process.pid, start_ticks=process.start_ticks)


if __name__ == "__main__":
    main()
