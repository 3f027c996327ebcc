"""Runs that this process cannot bring to their end."""

import asyncio
from dataclasses import replace

import pytest

from facade.domain.events import RunFinished
from facade.domain.limits import Limits
from facade.domain.parameters import TurnParameters
from facade.domain.records import Batch
from facade.edge.executor import Executor
from facade.edge.metrics import FacadeMetrics
from tests.facade.test_failing_writes import Others, mesh_of
from tests.facade.test_journal import RUN
from threadmesh.errors import Internal, MeshError, Unavailable
from threadmesh.telemetry.metrics import new_registry


class Unwritable(Others):
    """A store that takes no end of a run; `cancelled` are those it was asked to stop while it was not `away`."""

    def __init__(self, error: MeshError, *, endless: bool = False) -> None:
        super().__init__(endless=endless)
        self._error = error
        self.away = 0
        self.cancelled: list[str] = []

    async def finish(self, batch: Batch, finished: RunFinished) -> None:
        raise self._error

    async def cancel(self, run_id: str) -> None:
        if self.away:
            self.away -= 1
            raise Unavailable(peer="context")
        self.cancelled.append(run_id)

    async def take_over(self, *, patience: float) -> None:
        await asyncio.sleep(patience)


@pytest.mark.parametrize(("error", "stopped"), [(Unavailable(peer="context"), []), (Internal(), [RUN.id])])
async def test_a_run_is_left_to_others_where_only_the_store_was_away(error: MeshError, stopped: list[str]) -> None:
    others = Unwritable(error)
    over = asyncio.Event()
    run = replace(RUN, epoch=1, next_sequence=0, parameters_json=TurnParameters().to_json())
    async with asyncio.timeout(10), Executor(mesh_of(others), Limits(), FacadeMetrics(new_registry())) as executor:
        executor.start(run, on_end=over.set)
        await over.wait()

    assert others.order[0] == "model"
    assert others.cancelled == stopped


async def test_a_run_that_was_stopped_here_is_left_to_nobody_who_would_go_on_with_it() -> None:
    others = Unwritable(Unavailable(peer="context"), endless=True)
    over = asyncio.Event()
    run = replace(RUN, epoch=1, next_sequence=0, parameters_json=TurnParameters().to_json())
    async with asyncio.timeout(10), Executor(mesh_of(others), Limits(), FacadeMetrics(new_registry())) as executor:
        executor.start(run, on_end=over.set)
        await others.spoken.wait()
        executor.cancel(run)
        await over.wait()

    assert others.cancelled == [RUN.id, RUN.id], "at once, and when its end could not be written"


async def test_a_stop_waits_for_a_store_that_is_away() -> None:
    others = Unwritable(Internal(), endless=True)
    others.away = 3
    run = replace(RUN, epoch=1, next_sequence=0, parameters_json=TurnParameters().to_json())
    async with asyncio.timeout(10), Executor(mesh_of(others), Limits(), FacadeMetrics(new_registry())) as executor:
        executor.start(run)
        await others.spoken.wait()
        executor.cancel(run)

    assert others.cancelled == [RUN.id, RUN.id]
