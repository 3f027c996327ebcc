"""What the facade may rely on in the input of a run that waits: it is whole and there once, whenever it is read."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from context_svc.app import app as context_app
from context_svc.settings import ContextSettings
from facade.adapters.context_client import ContextClient
from facade.adapters.said_until import said_until
from facade.adapters.threads_client import ThreadsClient
from facade.domain.events import Run
from facade.domain.records import NewItem, Said
from facade.domain.retries import Retries
from tests.contracts.test_facade_ports import ENDED, batch, claimed, new_run
from tests.turn.mesh import served
from threadmesh.api.context.v1.runs_service_pb2_grpc import RunsServiceStub
from threadmesh.api.context.v1.threads_service_pb2_grpc import ThreadsServiceStub
from threadmesh.clock import SystemClock
from threadmesh.conversation import Role, message
from threadmesh.errors import NotFound
from threadmesh.rpc.channel import MeshChannel, connect

YES = NewItem(message=message(Role.ASSISTANT, "yes"))


@pytest.fixture
async def channel() -> AsyncIterator[MeshChannel]:
    async with AsyncExitStack() as stack:
        port = await served(stack, context_app, ContextSettings(store="memory:"))
        yield await stack.enter_async_context(connect(f"127.0.0.1:{port}"))


@pytest.fixture
def context(channel: MeshChannel) -> ContextClient:
    return ContextClient(channel, owner="test", claim_seconds=10, retries=Retries.by(SystemClock()))


class Interrupted:
    """A stub, with something that happens behind the answer of a method and before the caller has it."""

    def __init__(self, stub: Any, method: str, happens: Callable[[], Awaitable[object]]) -> None:
        self._stub, self._method, self._happens = stub, method, happens

    def __getattr__(self, name: str) -> Any:
        if name != self._method:
            return getattr(self._stub, name)

        async def answered(*asked: Any, **options: Any) -> Any:
            answer = await getattr(self._stub, name)(*asked, **options)
            await self._happens()
            return answer

        return answered


async def asked(context: ContextClient, *texts: str) -> Run:
    new = replace(new_run("k"), input=[message(Role.USER, text) for text in texts])
    return (await context.start(new))[0]


async def ended(context: ContextClient, run: Run, *items: NewItem) -> None:
    async with context.writer() as writer:
        await writer.finish(batch(run, items=items), ENDED)


def words(said: Sequence[Said]) -> list[str]:
    return [each.message.text for each in said]


def places(said: Sequence[Said], run: Run) -> list[int | None]:
    return [each.place for each in said if each.run_id == run.id]


async def test_input_that_waits_stands_behind_what_was_said_so_far(context: ContextClient) -> None:
    first = await claimed(context, "k")
    run = await asked(context, "one", "two")
    waiting = await context.said_until(run)
    await ended(context, first, YES)
    behind = await context.said_until(run)
    run = await context.claim(run.id)
    await ended(context, run, YES)
    entered = await context.said_until(run)

    assert words(waiting) == ["hello", "one", "two"]
    assert words(behind) == ["hello", "yes", "one", "two"]
    assert words(entered) == ["hello", "yes", "one", "two", "yes"]
    assert places(waiting, run) == places(behind, run) == [0, 1]
    assert places(entered, run) == [0, 1, None]
    assert [each.id for each in behind] == [each.id for each in entered[:4]]


@pytest.mark.parametrize("method", ["ListWaitingInput", "ListItems"])
@pytest.mark.parametrize("size", [1, 600_000])
async def test_input_that_enters_while_it_is_read_is_there_once(
    context: ContextClient, channel: MeshChannel, method: str, size: int
) -> None:
    first = await claimed(context, "k")
    texts = ["one" * size, "two" * size]
    run = await asked(context, *texts)
    behind = await asked(context, "behind")

    async def enters() -> None:
        if not (await context.run(run.id)).epoch:
            await ended(context, first, YES)
            await ended(context, await context.claim(run.id), YES)
            await context.claim(behind.id)

    stubs: list[Any] = [Interrupted(stub(channel), method, enters) for stub in (RunsServiceStub, ThreadsServiceStub)]
    said = await said_until(run, runs=stubs[0], threads=stubs[1])

    assert (await context.run(run.id)).epoch == 1
    assert [word for word in words(said) if word != "yes"] == ["hello", *texts]
    assert places(said, run)[:2] == [0, 1]


@pytest.mark.parametrize("method", ["ListWaitingInput", "ListItems"])
async def test_what_a_run_ahead_is_asked_is_there_once_as_well(
    context: ContextClient, channel: MeshChannel, method: str
) -> None:
    first = await claimed(context, "k")
    ahead, run = await asked(context, "one", "two"), await asked(context, "three")
    await asked(context, "four")
    before = await context.said_until(run)

    async def enters() -> None:
        if not (await context.run(ahead.id)).epoch:
            await ended(context, first, YES)
            await context.claim(ahead.id)

    stubs: list[Any] = [Interrupted(stub(channel), method, enters) for stub in (RunsServiceStub, ThreadsServiceStub)]
    said = await said_until(run, runs=stubs[0], threads=stubs[1])

    assert words(before) == ["hello", "one", "two", "three"]
    assert [word for word in words(said) if word != "yes"] == words(before)
    assert places(said, ahead) == [0, 1]
    assert words(await context.said_until(run)) == ["hello", "yes", "one", "two", "three"]


async def test_a_run_that_ended_while_it_waited_has_been_asked_behind_what_was_said_before(
    context: ContextClient,
) -> None:
    first = await claimed(context, "k")
    ahead, run, later = [await asked(context, text) for text in ("one", "never mind", "later")]
    await context.cancel(run.id)
    at_once = await context.said_until(await context.run(run.id))
    await ended(context, first, YES)
    for each in (ahead, later):
        await ended(context, await context.claim(each.id), YES)

    assert words(at_once) == ["hello", "one", "never mind"]
    assert [(each.id, each.place) for each in await context.said_until(await context.run(run.id))] == [
        (each.id, each.place) for each in at_once
    ]
    assert words(await context.said_until(await context.run(later.id)))[2:] == ["one", "yes", "later", "yes"]


async def test_with_its_thread_goes_the_input_of_a_run(context: ContextClient, channel: MeshChannel) -> None:
    first = await claimed(context, "k")
    run = await asked(context, "never mind")
    await context.cancel(run.id)
    await ended(context, first)
    run = await context.run(run.id)
    await ThreadsClient(channel).delete(run.thread_id, tenant="")

    with pytest.raises(NotFound):
        await context.said_until(run)
