"""The answering of a run by this process: its turn, its lease, and how it is told to stop."""

import asyncio
from dataclasses import dataclass, field

from facade.domain.events import Run, RunState
from facade.domain.journal import Journal
from facade.domain.limits import Limits, Mesh
from facade.domain.ports import Context
from facade.domain.progress import Progress, progress_of
from facade.domain.turn import Turn
from threadmesh.errors import MeshError


@dataclass(frozen=True, slots=True)
class Signals:
    """What somebody of this process tells a turn: to `stop` its run, or to `leave` it to other processes.

    Where a run is stopped by somebody who does not want its `calls` either, that is said before.
    """

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    calls: asyncio.Event = field(default_factory=asyncio.Event)
    leave: asyncio.Event = field(default_factory=asyncio.Event)


async def run_turn(mesh: Mesh, run: Run, *, limits: Limits, renew_seconds: float, signals: Signals) -> RunState:
    """Answer a run that this process is the writer of, from where it is; gives how it ended, RUNNING if it was left.

    Stops at once when `signals` say so, soon when somebody asks for that in the store, and when another process has
    taken the run over. Raises an exception group of what kept the run from being finished.
    """
    async with mesh.context.writer() as writer, asyncio.TaskGroup() as group:
        journal = Journal(writer, run)
        progress = progress_of(*await mesh.context.record(run)) if run.epoch > 1 else Progress()
        turn = Turn(mesh, journal, limits, progress)
        running = group.create_task(turn.run(), name=f"turn {run.id}")
        helpers = [
            group.create_task(journal.write_pending()),
            group.create_task(_stop_when_asked(mesh.context, journal, turn, running, renew_seconds)),
            group.create_task(_stop_when_told(signals, turn, running)),
            group.create_task(_leave_when_told(signals.leave, turn, running)),
        ]
        await asyncio.wait([running])
        for helper in helpers:
            helper.cancel()
    if running.cancelled():
        return RunState.RUNNING if turn.leaving else RunState.CANCELLED
    return running.result()


async def _stop_when_told(signals: Signals, turn: Turn, running: asyncio.Task[RunState]) -> None:
    await signals.stop.wait()
    turn.unwanted = signals.calls.is_set()
    running.cancel()


async def _leave_when_told(leave: asyncio.Event, turn: Turn, running: asyncio.Task[RunState]) -> None:
    await leave.wait()
    turn.leaving = True
    running.cancel()


async def _stop_when_asked(
    context: Context, journal: Journal, turn: Turn, running: asyncio.Task[RunState], seconds: float
) -> None:
    """Renew the lease whenever nothing was written for a while; a write renews it too, and tells the same."""
    if journal.run.cancel_requested:
        journal.cancel_requested.set()
    while not journal.cancel_requested.is_set():
        writes = journal.writes
        try:
            async with asyncio.timeout(seconds):
                await journal.cancel_requested.wait()
        except TimeoutError:
            if journal.writes == writes and await _is_to_stop(context, journal.run):
                break
    turn.unwanted = True
    running.cancel()


async def _is_to_stop(context: Context, run: Run) -> bool:
    """Renew the lease; if it cannot be renewed, the next write tells whether the run is still this process's."""
    try:
        return await context.renew(run)
    except MeshError as error:
        if not error.retryable:
            raise
        return False
