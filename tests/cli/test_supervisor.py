import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.cli.roll import Roll
from threadmesh.cli.exits import UnitFailed
from threadmesh.cli.plan import Program
from threadmesh.cli.supervisor import RestartPolicy, Supervisor
from threadmesh.settings import ConfigurationError

QUICK = RestartPolicy(first_delay=0.01, longest_delay=0.02, settled_seconds=3600, attempts=3)


@asynccontextmanager
async def running(
    programs: Sequence[Program], *, stop_seconds: float = 30, notices: list[str] | None = None
) -> AsyncIterator[tuple[Supervisor, asyncio.Future[None]]]:
    supervisor = Supervisor(
        programs,
        stop_seconds=stop_seconds,
        changed=lambda: None,
        notice=(notices if notices is not None else []).append,
        policy=QUICK,
    )
    run = asyncio.ensure_future(supervisor.run())
    try:
        yield supervisor, run
    finally:
        supervisor.stop()
        await asyncio.gather(run, return_exceptions=True)


async def test_all_programs_are_started_and_stopped_in_the_reverse_order(roll: Roll) -> None:
    async with running([roll.program("first"), roll.program("second"), roll.program("third")]) as (supervisor, run):
        assert sorted(await roll.nexts(3)) == ["first began", "second began", "third began"]

        supervisor.stop()
        await run

        assert await roll.nexts(3) == ["third ended", "second ended", "first ended"]


async def test_a_crashed_program_is_started_again(roll: Roll) -> None:
    notices: list[str] = []
    async with running([roll.program("unit")], notices=notices) as (supervisor, _):
        await roll.next()
        process = supervisor.runners[0].process
        assert process

        process.send(signal.SIGKILL)

        assert await roll.nexts(2) == ["unit ended", "unit began"]
        assert supervisor.runners[0].restarts == 1
        assert notices == ["unit was ended by SIGKILL; starting it again in 0.01 s"]


async def test_a_program_that_ends_at_every_start_is_given_up_and_the_others_are_stopped(roll: Roll) -> None:
    async with running([roll.program("good"), roll.program("bad", "crash")]) as (supervisor, run):
        with pytest.raises(
            UnitFailed, match=r"bad ended again and again .*exited with status 1.*engine\.broken.*bad\.log"
        ):
            await run

        assert supervisor.runners[1].restarts == QUICK.attempts - 1
        assert supervisor.runners[0].process is None


async def test_a_wrong_configuration_is_told_and_never_tried_again(roll: Roll) -> None:
    async with running([roll.program("good"), roll.program("tools", "misconfigured")]) as (supervisor, run):
        with pytest.raises(ConfigurationError, match="TOOLS_COLOUR: no such setting"):
            await run

        assert supervisor.runners[1].restarts == 0


async def test_a_program_that_ignores_sigterm_is_killed_after_its_time(roll: Roll) -> None:
    async with running([roll.program("unit", "stubborn")], stop_seconds=0.1) as (supervisor, run):
        await roll.next()

        supervisor.stop()
        await run

        assert await roll.next() == "unit ended"


async def test_a_second_stop_kills_at_once(roll: Roll) -> None:
    async with running([roll.program("unit", "stubborn")], stop_seconds=3600) as (supervisor, run):
        await roll.next()

        supervisor.stop()
        supervisor.stop()
        await run

        assert await roll.next() == "unit ended"


async def test_a_program_runs_in_a_process_group_of_its_own(roll: Roll) -> None:
    async with running([roll.program("unit")]) as (supervisor, _):
        await roll.next()
        process = supervisor.runners[0].process
        assert process

        assert os.getpgid(process.pid) == process.pid


async def test_what_a_program_writes_is_in_its_log(roll: Roll, tmp_path: Path) -> None:
    async with running([roll.program("bad", "crash")]) as (_, run):
        with pytest.raises(UnitFailed):
            await run

    lines = (tmp_path / "bad.log").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["engine.broken"] * QUICK.attempts


def test_pauses_between_starts_grow_up_to_a_limit_and_end() -> None:
    policy = RestartPolicy(first_delay=1, longest_delay=3, attempts=5)

    assert [policy.delay(lives) for lives in range(1, 6)] == [1, 2, 3, 3, None]
