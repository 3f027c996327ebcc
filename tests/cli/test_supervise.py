import asyncio
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.roll import Roll
from threadmesh.cli.down import down
from threadmesh.cli.exits import AlreadyRunning
from threadmesh.cli.plan import Plan, Program
from threadmesh.cli.state import LOCK, STATE, MeshState, locked, prepare, read_state, require_idle
from threadmesh.cli.supervise import start_detached
from threadmesh.cli.unit_logs import last_event


def plan_of(folder: Path, *programs: Program, stop_seconds: float = 30) -> Plan:
    return Plan(
        programs=programs, data_directory=folder, stop_seconds=stop_seconds, model="small.gguf", needs_key=False
    )


@contextmanager
def detached(plan: Plan) -> Iterator[subprocess.Popen[bytes]]:
    prepare(plan.data_directory)
    supervisor = start_detached(plan, plan.logs / "supervisor.log")
    try:
        yield supervisor
    finally:
        supervisor.terminate()
        supervisor.wait()


async def stop(folder: Path, *, seconds: float = 30) -> str:
    return await asyncio.to_thread(down, folder, seconds=seconds)


async def noted(folder: Path, holds: Callable[[MeshState], bool] = lambda _: True) -> MeshState:
    """Wait until every unit is on file with its process, which comes just after it began, and the condition holds."""
    async with asyncio.timeout(30):
        while True:
            state = read_state(folder)
            if state and all(unit.process for unit in state.units) and holds(state):
                return state
            await asyncio.sleep(0.01)  # a file has no event to wait for


async def forgotten(folder: Path) -> None:
    """Wait until no process on file is left; a process is gone a moment after its connections are."""
    async with asyncio.timeout(30):
        while read_state(folder):  # another's child has no event to wait for
            await asyncio.sleep(0.01)


async def test_a_running_mesh_is_on_file_and_forgotten_when_it_ends(roll: Roll, tmp_path: Path) -> None:
    with detached(plan_of(tmp_path, roll.program("context"), roll.program("facade"))) as supervisor:
        await roll.nexts(2)

        state = await noted(tmp_path)
        assert state.supervisor.pid == supervisor.pid
        assert state.detached
        assert state.model == "small.gguf"
        assert [unit.name for unit in state.units] == ["context", "facade"]

        assert await stop(tmp_path) == "The mesh has stopped."
        assert await roll.nexts(2) == ["facade ended", "context ended"]
        assert not (tmp_path / STATE).exists()
        assert supervisor.wait() == 0


async def test_a_restarted_unit_is_on_file_with_its_new_process(roll: Roll, tmp_path: Path) -> None:
    plan = plan_of(tmp_path, roll.program("context"))
    with detached(plan):
        await roll.next()
        before = await noted(tmp_path)
        assert before.units[0].process

        before.units[0].process.id.send(signal.SIGKILL)
        await roll.nexts(2)

        after = await noted(tmp_path, lambda state: state.units[0].process != before.units[0].process)
        assert after.units[0].restarts == 1
        assert "context was ended by SIGKILL" in last_event(plan.logs / "supervisor.log")


async def test_a_second_mesh_on_one_data_directory_is_refused(roll: Roll, tmp_path: Path) -> None:
    with detached(plan_of(tmp_path, roll.program("facade"))) as supervisor:
        await roll.next()

        with pytest.raises(AlreadyRunning, match=rf"already runs on .* at http://127.0.0.1:1 \(pid {supervisor.pid}\)"):
            require_idle(tmp_path)


async def test_units_never_outlive_a_killed_supervisor(roll: Roll, tmp_path: Path) -> None:
    with detached(plan_of(tmp_path, roll.program("context"), roll.program("facade"))) as supervisor:
        await roll.nexts(2)
        await noted(tmp_path)

        supervisor.kill()

        assert sorted(await roll.nexts(2)) == ["context ended", "facade ended"]
        supervisor.wait()
        await forgotten(tmp_path)


async def test_units_that_resist_the_end_of_their_supervisor_block_a_start_and_down_ends_them(
    roll: Roll, tmp_path: Path
) -> None:
    with detached(plan_of(tmp_path, roll.program("context", "stubborn"))) as supervisor:
        await roll.next()
        await noted(tmp_path)
        supervisor.kill()
        supervisor.wait()

        with pytest.raises(AlreadyRunning, match="Units of an earlier mesh still run"):
            require_idle(tmp_path)

        assert "was killed" in await stop(tmp_path, seconds=0.1)
        assert await roll.next() == "context ended"
        await forgotten(tmp_path)
        require_idle(tmp_path)


async def test_a_mesh_that_does_not_stop_in_time_is_killed(roll: Roll, tmp_path: Path) -> None:
    with detached(plan_of(tmp_path, roll.program("context", "stubborn"), stop_seconds=3600)) as supervisor:
        await roll.next()
        await noted(tmp_path)

        assert "was killed" in await stop(tmp_path, seconds=0.1)

        assert await roll.next() == "context ended"
        assert supervisor.wait() == -signal.SIGKILL


async def test_the_log_of_the_start_before_is_kept_aside(roll: Roll, tmp_path: Path) -> None:
    program = roll.program("context")
    program.log.write_text("earlier\n")
    with detached(plan_of(tmp_path, program)):
        await roll.next()

    assert (tmp_path / "context.log.1").read_text() == "earlier\n"
    assert program.log.read_text() == ""


async def test_a_supervisor_whose_unit_is_misconfigured_ends_with_78_and_the_reason(roll: Roll, tmp_path: Path) -> None:
    plan = plan_of(tmp_path, roll.program("tools", "misconfigured"))
    with detached(plan) as supervisor:
        assert await asyncio.to_thread(supervisor.wait) == 78

    assert (plan.logs / "supervisor.log").read_text().strip().endswith("TOOLS_COLOUR: no such setting")


def test_stopping_what_does_not_run_is_no_error(tmp_path: Path) -> None:
    assert down(tmp_path, seconds=1) == f"Nothing is running on {tmp_path}."


def test_a_lock_left_by_a_dead_mesh_does_not_block(tmp_path: Path) -> None:
    (tmp_path / LOCK).touch()
    (tmp_path / STATE).write_text("{ half of a fi")

    with locked(tmp_path):
        assert read_state(tmp_path) is None
