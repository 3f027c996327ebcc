import asyncio
import json
import sys

from tests.cli.conftest import CommandLine
from tests.cli.servers import serving, tools_service
from threadmesh.cli.up import Wishes
from threadmesh.cli.worker import worker_program


async def test_tasks_are_listed_page_by_page_without_steering_the_terminal(threadmesh: CommandLine) -> None:
    async with serving(tools_service()) as target:
        ran = await asyncio.to_thread(threadmesh, "tasks", "list", "--target", target)

    _, first, second = ran.out.splitlines()
    assert ran.status == 0
    assert first.split()[1:7] == ["c1", "s__long", "claimed,", "stopping", "1/2", "[31mhalf"]
    assert second.split()[1:5] == ["c2", "s__long", "unknown", "-"]


async def test_a_state_keeps_the_tasks_in_it(threadmesh: CommandLine) -> None:
    async with serving(tools_service()) as target:
        ran = await asyncio.to_thread(threadmesh, "tasks", "list", "--state", "finished", "--json", "--target", target)

    assert [task["call"] for task in json.loads(ran.out)] == ["c2"]


async def test_a_task_is_stopped_unless_it_has_ended(threadmesh: CommandLine) -> None:
    async with serving(tools_service()) as target:
        running = await asyncio.to_thread(threadmesh, "tasks", "cancel", "r", "c1", "--target", target)
        ended = await asyncio.to_thread(threadmesh, "tasks", "cancel", "r", "c2", "--target", target)
        absent = await asyncio.to_thread(threadmesh, "tasks", "cancel", "r", "c3", "--target", target)

    assert (running.status, running.out) == (0, "c1 is being stopped.\n")
    assert (ended.status, ended.out) == (0, "c2 had ended before.\n")
    assert absent.status == 1


def test_a_worker_gets_the_settings_of_tools_svc() -> None:
    environment = {"TOOLS_TASK_RUNNER": "celery", "THREADMESH_DATA_DIR": "/srv/mesh"}

    command, given = worker_program(Wishes(), environment=environment)

    assert command == [sys.executable, "-m", "tools_svc.worker"]
    assert (given["TOOLS_TASK_RUNNER"], given["THREADMESH_DATA_DIR"]) == ("celery", "/srv/mesh")
