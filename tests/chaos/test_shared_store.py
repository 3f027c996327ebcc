"""Two context_svc share a store: what one of them was told stands when it is gone, and the other one goes on."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from tests.chaos.stores import WITH_SERVER, store
from tests.chaos.units import SECONDS, Unit
from tests.e2e.mesh import free_ports
from tests.wire.context.given import appended, finished, running, text, watched, writing
from threadmesh.api.context.v1 import runs_service_pb2 as pb
from threadmesh.api.context.v1.runs_service_pb2_grpc import RunsServiceStub
from threadmesh.errors import StaleEpoch, Unavailable

if TYPE_CHECKING:
    from threadmesh.api.context.v1.runs_service_pb2_grpc import RunsServiceAsyncStub as Runs

STORES = [each for each in os.environ.get("CHAOS_STORES", "postgres,redis").split(",") if each in WITH_SERVER]
LEASE_SECONDS = 5.0
TAKEOVER_SECONDS = 10.0


@pytest.fixture(scope="module", params=STORES)
def units(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Unit]]:
    directory: Path = tmp_path_factory.mktemp("shared")
    with store(request.param) as place:
        started = [_unit(f"context-{number}", place, directory) for number in range(2)]
        try:
            for unit in started:
                unit.start()
            yield started
        finally:
            for unit in started:
                unit.end()


def _unit(name: str, place: str, directory: Path) -> Unit:
    port, metrics = free_ports(2)
    environment = {"CONTEXT_STORE": place, "CONTEXT_PORT": str(port), "CONTEXT_METRICS_PORT": str(metrics)}
    return Unit(name=name, module="context_svc", environment=environment, port=port, log=directory / f"{name}.log")


@asynccontextmanager
async def reached(units: list[Unit]) -> AsyncIterator["list[Runs]"]:
    """Give the service of each unit."""
    async with AsyncExitStack() as stack:
        targets = [f"127.0.0.1:{unit.port}" for unit in units]
        channels = [await stack.enter_async_context(grpc.aio.insecure_channel(target)) for target in targets]
        yield [RunsServiceStub(channel) for channel in channels]


async def taken_over(runs: "Runs") -> pb.Run:
    """Give the next run without a writer."""
    async with asyncio.timeout(SECONDS):
        while True:
            answer = await runs.TakeOverRun(pb.TakeOverRunRequest(owner="facade-2"), timeout=SECONDS)
            if answer.HasField("run"):
                return answer.run


@pytest.mark.parametrize("crash", ["", "ctx.before_commit:6", "ctx.after_commit:6"])
async def test_a_run_is_taken_over_from_a_process_that_died(units: list[Unit], crash: str) -> None:
    """A1, A19: everything acknowledged is in the other process's log, once, and the writer of before is fenced."""
    units[0].start(crash)
    async with reached(units) as (one, other):
        run = await running(one, thread_key=f"died:{crash}")
        acknowledged = await _written_until_it_dies(units[0], one, run)
        began = time.monotonic()
        taken = await taken_over(other)
        took = time.monotonic() - began
    units[0].start()
    async with reached(units) as (one, other):
        with pytest.raises(StaleEpoch):
            await appended(one, [writing(run, taken.next_sequence, text("late"))])
        await finished(other, taken, taken.next_sequence)
        seen = [await watched(runs, run) for runs in (one, other)]

    assert (taken.id, taken.epoch) == (run.id, run.epoch + 1)
    assert took < TAKEOVER_SECONDS
    assert (acknowledged < 8) == bool(crash), "the point was reached"
    assert acknowledged <= taken.next_sequence <= acknowledged + 1
    assert seen[0] == seen[1]
    assert [event.text_delta.text for event in seen[0][:-1]] == [str(each) for each in range(taken.next_sequence)]
    assert seen[0][-1].HasField("run_finished")


async def _written_until_it_dies(unit: Unit, runs: "Runs", run: pb.Run) -> int:
    """Append numbers until the process has died: by itself, or killed behind the eighth. Gives how many it took."""
    process = unit.process
    assert process is not None
    for number in range(9):
        if number == 8:
            process.kill()
        try:
            await appended(runs, [writing(run, number, text(str(number)))])
        except Unavailable:
            break
    assert process.wait(SECONDS) == -signal.SIGKILL
    return number


async def test_a_run_is_handed_over_from_one_process_to_another_at_once(units: list[Unit]) -> None:
    """Whoever waits at the other process for a run has it long before its lease would have run out."""
    async with reached(units) as (one, other):
        run = await running(one, thread_key="handed over")
        await appended(one, [writing(run, 0, text("0"))])
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(taken_over(other))
            await one.GetRun(pb.GetRunRequest(run_id=run.id), timeout=SECONDS)
            began = time.monotonic()
            await one.HandOverRun(pb.HandOverRunRequest(run_id=run.id, epoch=run.epoch), timeout=SECONDS)
        took = time.monotonic() - began
        taken = waiting.result()
        await appended(other, [writing(taken, 1, text("1"))])
        await finished(other, taken, 2)

        assert (taken.id, taken.epoch, taken.next_sequence) == (run.id, run.epoch + 1, 1)
        assert took < LEASE_SECONDS / 2
        assert [event.text_delta.text for event in (await watched(one, run))[:2]] == ["0", "1"]
