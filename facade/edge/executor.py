"""Where runs are answered: in the background of this process, apart from the requests that asked for them."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Self

import structlog

from facade.domain.events import Run, RunState
from facade.domain.limits import END_SECONDS, Limits, Mesh
from facade.domain.run_turn import Signals, run_turn
from facade.edge.late_results import LateResults
from facade.edge.metrics import FacadeMetrics
from threadmesh.errors import MeshError, RunAlreadyFinished, StaleEpoch, Unavailable
from threadmesh.retry import persist
from threadmesh.rpc import deadline
from threadmesh.telemetry.logs import bound_ids

log = structlog.get_logger()

_LOOKING_SECONDS = 10.0
"""How long it is waited for a run without a writer before it is asked again."""
_PAUSE_SECONDS = 1.0
_BROKEN_OFF = {RunState.FAILED, RunState.CANCELLED}
"""How turns end that may leave calls without an end."""


class Executor:
    """Answers runs, its own and those whose writers are gone.

    Leaving it as a context manager gives those up to other processes that are still being answered.
    """

    def __init__(self, mesh: Mesh, limits: Limits, metrics: FacadeMetrics, *, renew_seconds: float = 1.5) -> None:
        self._mesh = mesh
        self._limits = limits
        self._metrics = metrics
        self._renew_seconds = renew_seconds
        self._late = LateResults(mesh, characters=limits.result_characters)
        self._tasks: set[asyncio.Task[None]] = set()
        self._signals: dict[str, Signals] = {}
        self._draining = False

    async def __aenter__(self) -> Self:
        self._late.begin()
        self._looking = asyncio.create_task(self._look_for_lost_runs(), name="look for lost runs")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._looking.cancel()
        self._leave()
        await asyncio.gather(self._looking, *self._tasks, return_exceptions=True)
        await self._late.end()

    def drain(self, *, seconds: float) -> None:
        """Take no more runs over; those that are answered here get some time to end, and are then handed over.

        Their readers, who are connected to this process for a moment longer, go on reading what others write.
        """
        if not self._draining:
            self._draining = True
            log.info("unit.draining", runs=len(self._signals))
            self._looking.cancel()
            asyncio.get_running_loop().call_later(seconds, self._leave)

    def _leave(self) -> None:
        for signals in self._signals.values():
            signals.leave.set()

    async def ping(self) -> None:
        """Raise `Unavailable` while this process is about to stop."""
        if self._draining:
            raise Unavailable("This process is about to stop.")

    def start(self, run: Run, *, on_end: Callable[[], object] = lambda: None) -> None:
        """Answer a run in the background, once it is its turn in its thread; `on_end` is called when that is over."""
        self._spawn(self._answer(run, claim=not run.epoch), f"run {run.id}").add_done_callback(lambda _: on_end())

    def cancel(self, run: Run, *, calls: bool = False) -> None:
        """Stop a run: at once where it is answered here, and by asking for it wherever it waits or is answered.

        Its `calls` are told to stop, too, if somebody wants that: who only leaves has not said so.
        """
        if signals := self._signals.get(run.id):
            if calls:
                signals.calls.set()
            signals.stop.set()
        self._spawn(self._cancel(run), f"cancel {run.id}")

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _look_for_lost_runs(self) -> None:
        """Go on with the runs whose writers are gone, for ever."""
        while True:
            try:
                if run := await self._mesh.context.take_over(patience=_LOOKING_SECONDS):
                    log.info("run.taken_over", run_id=run.id, thread_id=run.thread_id, epoch=run.epoch)
                    self._spawn(self._answer(run, claim=False), f"run {run.id}")
            except MeshError:
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _answer(self, run: Run, *, claim: bool) -> None:
        began = time.monotonic()
        outcome = "lost"
        signals = self._signals[run.id] = Signals()
        with bound_ids(run_id=run.id, thread_id=run.thread_id), deadline.within(self._limits.seconds + END_SECONDS):
            try:
                outcome = (await self._turn(run, signals, claim=claim)).value
            except* RunAlreadyFinished:
                outcome = RunState.CANCELLED.value
            except* StaleEpoch:
                log.warning("turn.taken_over")
            except* MeshError as errors:
                log.warning("turn.lost", errors=[str(error) for error in errors.exceptions])
                if signals.stop.is_set() or not _may_go_on(errors):
                    await self._cancel(run)
            except* Exception as errors:
                outcome = "defect"
                log.error("turn.defect", exc_info=errors)
                await self._cancel(run)
            finally:
                self._signals.pop(run.id, None)
                seconds = time.monotonic() - began
                self._metrics.turn_seconds.labels(outcome).observe(seconds)
                log.info("turn.ended", outcome=outcome, seconds=round(seconds, 4))
        if outcome in _BROKEN_OFF:
            self._late.follow(run.id)

    async def _turn(self, run: Run, signals: Signals, *, claim: bool) -> RunState:
        claimed = await self._claimed(run, signals) if claim else run
        if claimed is None:
            return RunState.QUEUED
        return await run_turn(
            self._mesh, claimed, limits=self._limits, renew_seconds=self._renew_seconds, signals=signals
        )

    async def _claimed(self, run: Run, signals: Signals) -> Run | None:
        """Wait for the run's turn in its thread; None where this process is to leave it to others before."""
        claiming = asyncio.ensure_future(self._mesh.context.claim(run.id))
        leaving = asyncio.ensure_future(signals.leave.wait())
        try:
            await asyncio.wait([claiming, leaving], return_when=asyncio.FIRST_COMPLETED)
            return claiming.result() if claiming.done() else None
        finally:
            claiming.cancel()
            leaving.cancel()
            await asyncio.gather(claiming, leaving, return_exceptions=True)

    async def _cancel(self, run: Run) -> None:
        """Ask the store to have the run stopped, by whoever writes it; a short outage is waited out."""
        try:
            await persist(
                lambda: self._mesh.context.cancel(run.id),
                seconds=self._limits.return_seconds,
                budget=self._mesh.retries.writes,
            )
        except MeshError as error:
            log.info("cancel.failed", run_id=run.id, reason=error.reason)


def _may_go_on(errors: BaseExceptionGroup[MeshError]) -> bool:
    """Say whether it was only the store that was away: whoever takes the run over goes on where its log ends."""
    return errors.subgroup(lambda error: isinstance(error, MeshError) and not error.retryable) is None
