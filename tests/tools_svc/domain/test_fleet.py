import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from tests.tools_svc.domain.given import watching
from threadmesh.conversation import Text
from tools_svc.adapters.memory_source import MemorySource, MemoryTool, Report
from tools_svc.domain.call import Invocation, ToolOutput
from tools_svc.domain.fleet import Fleet, Member
from tools_svc.domain.policy import ServerPolicy
from tools_svc.domain.tool import OfferedTool

CALL = Invocation(tool="t", arguments={}, timeout_seconds=30, call_id="c", run_id="r")


class _Harbour:
    """A fleet whose servers, `{name: seconds a call may take}`, the test changes."""

    def __init__(self) -> None:
        self.wanted: asyncio.Queue[Mapping[str, float]] = asyncio.Queue()
        self.watcher = watching()
        self.fleet: Fleet[float] = Fleet(self._build, self.watcher)
        self.built: list[float] = []
        self.release = asyncio.Event()
        self.ended = asyncio.Event()

    def _build(self, seconds: float) -> Member:
        self.built.append(seconds)
        tool = MemoryTool(offer=OfferedTool(name="t"), run=self._wait)
        return Member(
            source=MemorySource("s" if seconds != 1 else "other", {"t": tool}),
            policy=ServerPolicy(timeout_seconds=seconds),
            run=self._keep,
        )

    async def _wait(self, _: Invocation, __: Report) -> ToolOutput:
        await self.release.wait()
        return ToolOutput(parts=(Text(text="done"),))

    async def _keep(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def states(self) -> AsyncGenerator[Mapping[str, float], None]:
        while True:
            yield await self.wanted.get()

    async def shown(self, *names: str) -> None:
        async with asyncio.timeout(10):
            async for _, catalogue in self.watcher.states():
                if {server.name for server in catalogue.servers} == set(names):
                    return


@pytest.fixture
async def harbour() -> AsyncIterator[_Harbour]:
    async with _running() as running:
        yield running


@asynccontextmanager
async def _running() -> AsyncIterator[_Harbour]:
    harbour = _Harbour()
    task = asyncio.create_task(harbour.fleet.run(harbour.states()))
    try:
        yield harbour
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_has_not_changed_is_left_alone(harbour: _Harbour) -> None:
    harbour.wanted.put_nowait({"s": 30})
    await harbour.shown("s")
    harbour.wanted.put_nowait({"s": 30, "other": 1})
    await harbour.shown("s", "other")

    assert harbour.built == [30, 1]
    assert not harbour.ended.is_set()


async def test_a_changed_source_is_replaced(harbour: _Harbour) -> None:
    harbour.wanted.put_nowait({"s": 30})
    await harbour.shown("s")
    before = harbour.fleet.sources["s"]
    harbour.wanted.put_nowait({"s": 20})

    async with asyncio.timeout(10):
        await harbour.ended.wait()
    await harbour.watcher.settled()
    assert harbour.fleet.sources["s"] is not before
    assert harbour.watcher.catalogue.find("s__t").tool.timeout_seconds == 20


async def test_a_call_under_way_ends_well_before_its_removed_source_does(harbour: _Harbour) -> None:
    harbour.wanted.put_nowait({"s": 30})
    await harbour.shown("s")
    calling = harbour.fleet.sources["s"].call(CALL)
    await anext(calling)
    harbour.wanted.put_nowait({})
    await harbour.shown()

    assert not harbour.fleet.sources
    assert not harbour.ended.is_set()
    harbour.release.set()
    assert [update async for update in calling] == [ToolOutput(parts=(Text(text="done"),))]
    async with asyncio.timeout(10):
        await harbour.ended.wait()


async def test_a_removed_source_waits_for_its_calls_no_longer_than_they_may_take(harbour: _Harbour) -> None:
    harbour.wanted.put_nowait({"s": 0.05})
    await harbour.shown("s")
    calling = harbour.fleet.sources["s"].call(CALL)
    await anext(calling)
    harbour.wanted.put_nowait({})

    async with asyncio.timeout(10):
        await harbour.ended.wait()
    await calling.aclose()
