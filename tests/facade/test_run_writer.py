"""The writes of all runs of a process share one stream, and each message waits only for who may wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import pytest

from facade.adapters.run_writer import Appender
from threadmesh.api.context.v1 import runs_service_pb2 as pb
from threadmesh.api.context.v1 import runs_service_pb2_grpc as rpc
from threadmesh.errors import Unavailable
from threadmesh.rpc.server import Service
from threadmesh.testing.loopback import channel_for


class Noting(rpc.RunsServiceServicer):
    """Acknowledges every write and notes which runs came together; `ends` closes the stream before an answer."""

    def __init__(self) -> None:
        self.messages: list[set[str]] = []
        self.streams = 0
        self.ends = 0
        self.closed = asyncio.Event()

    async def AppendToRuns(self, request_iterator: Any, context: Any) -> AsyncIterator[pb.AppendToRunsResponse]:
        self.streams += 1
        try:
            async for request in request_iterator:
                if self.ends:
                    self.ends -= 1
                    return
                self.messages.append({write.run_id for write in request.writes})
                done = [pb.AppendEventsResponse(run_id=write.run_id, next_sequence=1) for write in request.writes]
                yield pb.AppendToRunsResponse(outcomes=[pb.AppendOutcome(appended=each) for each in done])
        finally:
            self.closed.set()


@pytest.fixture
def servicer() -> Noting:
    return Noting()  # type: ignore[abstract]  # the tests need one of its methods


@asynccontextmanager
async def served(servicer: Noting, *, apart: float, unused: float = 60.0) -> AsyncIterator[Appender]:
    name = pb.DESCRIPTOR.services_by_name["RunsService"].full_name
    async with channel_for(Service(servicer=servicer, add=rpc.add_RunsServiceServicer_to_server, name=name)) as channel:
        yield Appender(rpc.RunsServiceStub(channel), patience=0.2, apart=apart, unused=unused)


@pytest.fixture
async def appender(servicer: Noting) -> AsyncIterator[Appender]:
    async with served(servicer, apart=0) as appender:
        yield appender


def write(run: str) -> pb.AppendEventsRequest:
    return pb.AppendEventsRequest(run_id=run, epoch=1)


async def test_patient_writes_of_all_runs_go_together(appender: Appender, servicer: Noting) -> None:
    with ExitStack() as runs:
        for _ in range(3):
            runs.enter_context(appender.used())

        async def late(run: str) -> None:
            for _ in range(10):
                await asyncio.sleep(0)
            await appender.append(write(run), patient=True)

        for _ in range(5):
            await asyncio.gather(
                appender.append(write("a"), patient=True), late("b"), appender.append(write("c"), patient=True)
            )

    assert servicer.messages == [{"a", "b", "c"}] * 5
    assert servicer.streams == 1


async def test_a_write_in_a_hurry_takes_along_who_waits_and_waits_for_nobody(
    appender: Appender, servicer: Noting
) -> None:
    with ExitStack() as runs:
        for _ in range(100):
            runs.enter_context(appender.used())
        async with asyncio.timeout(10):
            await asyncio.gather(appender.append(write("a"), patient=True), appender.append(write("b")))
            await appender.append(write("c"))

    assert servicer.messages == [{"a", "b"}, {"c"}]


async def test_a_patient_write_does_not_wait_for_runs_that_have_nothing_to_say(
    appender: Appender, servicer: Noting
) -> None:
    with appender.used(), appender.used():
        async with asyncio.timeout(10):
            await appender.append(write("a"), patient=True)

    assert servicer.messages == [{"a"}]


async def test_a_stream_that_breaks_fails_who_waits_and_is_opened_again(appender: Appender, servicer: Noting) -> None:
    servicer.ends = 1
    with appender.used():
        answers = await asyncio.gather(
            *(appender.append(write(run)) for run in "ab"),
            return_exceptions=True,
        )
        assert [type(answer) for answer in answers] == [Unavailable, Unavailable]

        assert (await appender.append(write("a"))).next_sequence == 1

    assert servicer.streams == 2


async def test_a_writer_that_leaves_takes_nobody_with_it(appender: Appender, servicer: Noting) -> None:
    with appender.used(), appender.used():
        leaving = asyncio.create_task(appender.append(write("a"), patient=True))
        staying = asyncio.create_task(appender.append(write("b"), patient=True))
        await asyncio.sleep(0)
        leaving.cancel()

        async with asyncio.timeout(10):
            assert (await staying).run_id == "b"
    assert leaving.cancelled()


async def test_patient_messages_keep_their_distance(servicer: Noting) -> None:
    loop = asyncio.get_running_loop()
    async with served(servicer, apart=0.05) as appender, asyncio.timeout(10):
        with appender.used():
            began = loop.time()
            await appender.append(write("a"), patient=True)
            await appender.append(write("b"), patient=True)

            assert loop.time() >= began + 0.05


async def test_a_write_in_a_hurry_shortens_the_distance(servicer: Noting) -> None:
    async with served(servicer, apart=60) as appender, asyncio.timeout(10):
        with appender.used():
            await appender.append(write("a"))
            waiting = asyncio.create_task(appender.append(write("b"), patient=True))
            await asyncio.sleep(0.01)
            await appender.append(write("c"))
            await waiting

    assert servicer.messages == [{"a"}, {"b", "c"}]


async def test_the_stream_stays_open_for_the_next_run(appender: Appender, servicer: Noting) -> None:
    for run in "abc":
        with appender.used():
            await appender.append(write(run))

    assert servicer.messages == [{"a"}, {"b"}, {"c"}]
    assert servicer.streams == 1


async def test_a_stream_that_nobody_uses_is_closed(servicer: Noting) -> None:
    async with served(servicer, apart=0, unused=0) as appender, asyncio.timeout(10):
        with appender.used():
            await appender.append(write("a"))
        await servicer.closed.wait()
        with appender.used():
            await appender.append(write("b"))

    assert servicer.streams == 2
