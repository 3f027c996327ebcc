"""Waits in the background for results that come after their turn."""

import asyncio
from contextlib import suppress

import structlog

from facade.domain.late_results import has_unknown, take_late_results
from facade.domain.limits import Mesh
from threadmesh.errors import MeshError

log = structlog.get_logger()

_AGAIN_SECONDS = 5.0
"""How long a service that is away is left alone."""
_KEPT_SECONDS = 24 * 3_600.0
"""How long results are kept for whoever asks for them."""
_MOST_WAITED_FOR = 256
"""Runs that are waited for at once; of more, persons say what came of them."""


class LateResults:
    """Follows runs whose turns ended before their calls did, from `begin` to `end`."""

    def __init__(self, mesh: Mesh, *, characters: int, again_seconds: float = _AGAIN_SECONDS) -> None:
        self._mesh = mesh
        self._characters = characters
        self._again_seconds = again_seconds
        self._waiting: dict[str, asyncio.Task[None]] = {}

    def begin(self) -> None:
        """Look in the background what a process that is gone was waiting for."""
        self._looking = asyncio.create_task(self._look_back(), name="look for late results")

    async def end(self) -> None:
        """Wait no longer."""
        tasks = [self._looking, *self._waiting.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def follow(self, run_id: str) -> None:
        """Wait for the results of a run that has ended, if any may come."""
        if run_id not in self._waiting and len(self._waiting) < _MOST_WAITED_FOR:
            task = asyncio.create_task(self._follow(run_id), name=f"late results of {run_id}")
            self._waiting[run_id] = task
            task.add_done_callback(lambda _: self._waiting.pop(run_id, None))

    async def _look_back(self) -> None:
        """Follow what a process that is gone was following."""
        while True:
            try:
                for run_id in await self._mesh.tools.runs_of_tasks():
                    # One after the other: most have nothing to wait for.
                    if await has_unknown(run_id, self._mesh.context):
                        self.follow(run_id)
            except MeshError as error:
                if not error.retryable:
                    log.warning("late_results.refused", reason=error.reason)
                    return
                await asyncio.sleep(self._again_seconds)
            else:
                return

    async def _follow(self, run_id: str) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_KEPT_SECONDS):
                while True:
                    if await self._followed(run_id):
                        return
                    await asyncio.sleep(self._again_seconds)

    async def _followed(self, run_id: str) -> bool:
        """Follow a run to the end of its calls; False where a service was away."""
        try:
            if await has_unknown(run_id, self._mesh.context):
                log.info("late_results.awaited", run_id=run_id)
                await take_late_results(
                    run_id, tools=self._mesh.tools, context=self._mesh.context, characters=self._characters
                )
        except MeshError as error:
            log.info("late_results.broken", run_id=run_id, reason=error.reason)
            return not error.retryable
        return True
