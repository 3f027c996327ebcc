"""Runs that have called tools and wait for an engine that refuses them: a place that is left is theirs at once."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, cast

from facade.domain.asking import Asking
from facade.domain.events import ModelEvent, ModelFinished, ModelStarted
from facade.domain.journal import Journal
from facade.domain.limits import Limits, Mesh
from facade.domain.parameters import TurnParameters
from facade.domain.ports import Generation, Model
from facade.domain.progress import Progress
from facade.domain.records import Window
from facade.domain.retries import Retries
from tests.facade.test_journal import RUN
from tests.facade.test_outages_of_tools import NOBODY, Kept
from tests.threadmesh.virtual_time import LoopClock, in_virtual_time
from threadmesh.conversation import FinishReason
from threadmesh.errors import Overloaded

MODEL = Model(name="m", backend="b", context_tokens=1000, ready=True)
WINDOW = Window(messages=(), tokens=0, omitted_items=0)


class OneAtATime:
    """An `Inference` whose answers take a while, and which refuses who comes meanwhile."""

    def __init__(self, *, seconds: float) -> None:
        self._seconds = seconds
        self._busy = False

    async def generate(self, generation: Generation) -> AsyncGenerator[ModelEvent, None]:
        if self._busy:
            raise Overloaded
        self._busy = True
        yield ModelStarted(model="m", backend="b")
        await asyncio.sleep(self._seconds)
        self._busy = False
        yield ModelFinished(reason=FinishReason.STOP)


class Read:
    """A `Context` whose threads are empty."""

    async def window(self, *_: Any, **__: Any) -> Window:
        return WINDOW


async def answered(mesh: Mesh, *, in_round: int) -> bool:
    """Ask for an answer; says whether there was one."""
    journal = Journal(cast(Any, Kept()), RUN)
    try:
        await Asking(mesh, RUN, Limits(), TurnParameters(), Progress(round=in_round)).ask(MODEL, {}, journal)
    except Overloaded:
        return False
    return True


def test_an_answer_that_ends_lets_one_begin_that_waits_for_its_place() -> None:
    """Thirty runs wait for two or three seconds, in which there is time for fifteen answers, and new requests come."""

    async def main() -> None:
        inference = cast(Any, OneAtATime(seconds=0.2))
        mesh = Mesh(inference=inference, tools=NOBODY, context=cast(Any, Read()), retries=Retries.by(LoopClock()))
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(answered(mesh, in_round=1)) for _ in range(30)]
            for _ in range(100):
                await asyncio.sleep(0.03)
                group.create_task(answered(mesh, in_round=0))
        assert sum(each.result() for each in waiting) >= 10

    in_virtual_time(main())
