"""Where runs are answered: in the background of this process, apart from the requests that asked for them."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Self

import structlog

from facade.domain.events import Run, RunState
from facade.domain.turn import END_SECONDS, Limits, Mesh, run_turn
from facade.edge.metrics import FacadeMetrics
from threadmesh.errors import MeshError, RunAlreadyFinished
from threadmesh.rpc import deadline
from threadmesh.telemetry.logs import bound_ids

log = structlog.get_logger()


class Executor:
    """Answers runs; leaving it as a context manager stops those that are still being answered, each with its end."""

    def __init__(self, mesh: Mesh, limits: Limits, metrics: FacadeMetrics, *, renew_seconds: float = 1.5) -> None:
        self._mesh = mesh
        self._limits = limits
        self._metrics = metrics
        self._renew_seconds = renew_seconds
        self._tasks: set[asyncio.Task[None]] = set()
        self._stops: dict[str, asyncio.Event] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def start(self, run: Run) -> None:
        """Answer a run in the background."""
        self._spawn(self._answer(run), f"run {run.id}")

    def cancel(self, run: Run) -> None:
        """Stop a run: at once where it is answered here, and by asking for it wherever it waits or is answered."""
        if stop := self._stops.get(run.id):
            stop.set()
        self._spawn(self._cancel(run), f"cancel {run.id}")

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, run: Run) -> None:
        began = time.monotonic()
        outcome = "lost"
        limit = self._limits.seconds + END_SECONDS
        stop = self._stops[run.id] = asyncio.Event()
        with bound_ids(run_id=run.id, thread_id=run.thread_id), deadline.within(limit):
            try:
                state = await run_turn(
                    self._mesh, run.id, limits=self._limits, renew_seconds=self._renew_seconds, stop=stop
                )
                outcome = state.value
            except* RunAlreadyFinished:
                outcome = RunState.CANCELLED.value
            except* MeshError as errors:
                log.warning("turn.lost", errors=[str(error) for error in errors.exceptions])
                await self._cancel(run)
            except* Exception as errors:
                outcome = "defect"
                log.error("turn.defect", exc_info=errors)
                await self._cancel(run)
            finally:
                del self._stops[run.id]
                seconds = time.monotonic() - began
                self._metrics.turn_seconds.labels(outcome).observe(seconds)
                log.info("turn.ended", outcome=outcome, seconds=round(seconds, 4))

    async def _cancel(self, run: Run) -> None:
        try:
            await self._mesh.context.cancel(run.id)
        except MeshError as error:
            log.info("cancel.failed", run_id=run.id, reason=error.reason)
